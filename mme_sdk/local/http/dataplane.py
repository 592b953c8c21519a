"""SageMaker Runtime over HTTP: InvokeEndpoint, with a streamed answer, and asynchronous."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from aiohttp import web

from mme_sdk.local.async_inference import AsyncInference
from mme_sdk.local.hosting_interface import Hosting, HostingError, Invocation, InvocationResponse
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.event_stream import encode_exception, encode_payload_part

__all__ = ["ConnectionDropped", "DataPlane"]

_PATH = re.compile(r"/endpoints/([^/?]+)/(invocations|invocations-response-stream|async-invocations)(?:\?.*)?")
_OPERATIONS = {
    "invocations": "InvokeEndpoint",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
    "async-invocations": "InvokeEndpointAsync",
}
_PREFIX = "x-amzn-sagemaker-"
_ASYNC_LIMIT = 128_000  # the service model's; a larger payload is an object in S3


class ConnectionDropped(Exception):
    """A fault: no answer, the connection is closed."""


class DataPlane:
    """Answers invocations.

    Args:
        hosting: Runs the models.
        queue: Asynchronous inference.
    """

    def __init__(self, hosting: Hosting, queue: AsyncInference) -> None:
        self._hosting = hosting
        self._queue = queue

    @staticmethod
    def match(method: str, raw_path: str) -> tuple[str, str] | None:
        """Operation and endpoint of a request; None where it is no invocation."""
        found = _PATH.fullmatch(raw_path) if method == "POST" else None
        return None if found is None else (_OPERATIONS[found[2]], unquote(found[1]))

    def limit(self, operation: str) -> int:
        """The largest body of an operation, bytes."""
        return _ASYNC_LIMIT if operation == "InvokeEndpointAsync" else self._hosting.max_payload

    async def answer(
        self,
        request: web.BaseRequest,
        operation: str,
        endpoint: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
    ) -> web.StreamResponse:
        """Answer one invocation.

        Raises:
            ConnectionDropped: The connection is to be closed instead.
            ApiError: It makes no sense.
        """
        if operation == "InvokeEndpointAsync":
            accepted = self._queue.accept(endpoint, headers, body)
            shown = {
                f"{_PREFIX}{key}": accepted[key] for key in ("OutputLocation", "FailureLocation") if key in accepted
            }
            content = json.dumps({"InferenceId": accepted["InferenceId"]}).encode()
            return web.Response(
                status=202,
                body=content,
                headers={"Content-Type": "application/json", "x-amzn-RequestId": request_id, **shown},
            )
        stream = operation == "InvokeEndpointWithResponseStream"
        if stream and f"{_PREFIX}accept" in headers:
            headers = {**headers, "accept": headers[f"{_PREFIX}accept"]}
        invocation = Invocation(endpoint=endpoint, body=body, headers=headers, request_id=request_id, stream=stream)
        answer = await self._hosting.invoke(invocation)
        if answer.drop:
            raise ConnectionDropped
        said = {"x-amzn-RequestId": request_id, **answer.headers}
        if wrong := [name for name, value in said.items() if not value.isascii() or not value.isprintable()]:
            if answer.chunks is not None:
                await answer.chunks.aclose()
            text = f"The model's answer has a header {wrong[0]} with other characters than printable ASCII."
            raise ApiError("ModelError", text, status=424)
        if stream and answer.status < 300:
            return await _streamed(request, answer, said)
        return web.Response(status=answer.status, body=answer.body, headers=said)


async def _streamed(
    request: web.BaseRequest, answer: InvocationResponse, headers: dict[str, str]
) -> web.StreamResponse:
    kind = headers.pop("Content-Type", "application/octet-stream")
    headers |= {"Content-Type": "application/vnd.amazon.eventstream", f"{_PREFIX}content-type": kind}
    response = web.StreamResponse(status=answer.status, headers=headers)
    try:
        await response.prepare(request)
        if answer.body:
            await response.write(encode_payload_part(answer.body))
        if answer.chunks is not None:
            try:
                async for chunk in answer.chunks:
                    await response.write(encode_payload_part(chunk))
            except HostingError as error:
                body = json.dumps({"Message": str(error), "ErrorCode": "ModelInvocationTimeExceeded"}).encode()
                await response.write(encode_exception("ModelStreamError", body))
        await response.write_eof()
    finally:
        if answer.chunks is not None:
            await answer.chunks.aclose()
    return response
