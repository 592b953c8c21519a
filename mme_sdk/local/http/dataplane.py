"""SageMaker Runtime over HTTP: InvokeEndpoint, InvokeEndpointWithResponseStream and InvokeEndpointAsync."""

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
from mme_sdk.local.wire.fields import check_headers_supported
from mme_sdk.local.wire.service_model import load_service_model

__all__ = ["ConnectionDropped", "DataPlane", "invocation_params"]

_PATH = re.compile(r"/endpoints/([^/?]+)/(invocations|invocations-response-stream|async-invocations)(?:\?.*)?")
_OPERATIONS = {
    "invocations": "InvokeEndpoint",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
    "async-invocations": "InvokeEndpointAsync",
}
_SERVICE = "sagemaker-runtime"
_PREFIX = "x-amzn-sagemaker-"
_ASYNC_LIMIT = 128_000  # from the service model; a larger payload is an object in S3


class ConnectionDropped(Exception):
    """Raised by an injected fault: the server closes the connection without a response."""


class DataPlane:
    """The invocation operations.

    Args:
        hosting: Runs the models.
        async_inference: Queue of asynchronous requests.
    """

    def __init__(self, hosting: Hosting, async_inference: AsyncInference) -> None:
        self._hosting = hosting
        self._async_inference = async_inference
        model = load_service_model(_SERVICE)
        self._shapes = {name: model.operation_model(name).input_shape for name in _OPERATIONS.values()}

    @staticmethod
    def match(method: str, raw_path: str) -> tuple[str, str] | None:
        """Return the operation and the endpoint name of a request; None if it is not an invocation."""
        found = _PATH.fullmatch(raw_path) if method == "POST" else None
        return None if found is None else (_OPERATIONS[found[2]], unquote(found[1]))

    def max_body(self, operation: str) -> int:
        """Return the largest body of an operation in bytes."""
        return _ASYNC_LIMIT if operation == "InvokeEndpointAsync" else self._hosting.max_payload

    async def handle(
        self,
        request: web.BaseRequest,
        operation: str,
        endpoint: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
    ) -> web.StreamResponse:
        """Return the response to an invocation.

        Raises:
            ConnectionDropped: The connection must be closed without a response.
            ApiError: The request or the model's response is invalid.
        """
        check_headers_supported(_SERVICE, self._shapes[operation], headers, code="ValidationError")
        if operation == "InvokeEndpointAsync":
            return self._enqueue(endpoint, headers, body, request_id)
        stream = operation == "InvokeEndpointWithResponseStream"
        if stream and f"{_PREFIX}accept" in headers:
            headers = {**headers, "accept": headers[f"{_PREFIX}accept"]}
        invocation = Invocation(endpoint=endpoint, body=body, headers=headers, request_id=request_id, stream=stream)
        response = await self._hosting.invoke(invocation)
        if response.drop:
            raise ConnectionDropped
        sent = {"x-amzn-RequestId": request_id, **response.headers}
        if wrong := [name for name, value in sent.items() if not value.isascii() or not value.isprintable()]:
            if response.chunks is not None:
                await response.chunks.aclose()
            text = f"The header {wrong[0]} of the model's response has characters that are not printable ASCII."
            raise ApiError("ModelError", text, status=424)
        if stream and response.status < 300:
            return await _send_stream(request, response, sent)
        return web.Response(status=response.status, body=response.body, headers=sent)

    def _enqueue(self, endpoint: str, headers: Mapping[str, str], body: bytes, request_id: str) -> web.Response:
        accepted = self._async_inference.accept(endpoint, headers, body)
        locations = {
            f"{_PREFIX}{key}": accepted[key] for key in ("OutputLocation", "FailureLocation") if key in accepted
        }
        return web.Response(
            status=202,
            body=json.dumps({"InferenceId": accepted["InferenceId"]}).encode(),
            headers={"Content-Type": "application/json", "x-amzn-RequestId": request_id, **locations},
        )


def invocation_params(endpoint: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of an invocation that policies can name.

    Args:
        endpoint: EndpointName.
        headers: Header values by lower-case name.
    """
    named = {"TargetModel": f"{_PREFIX}target-model", "TargetContainerHostname": f"{_PREFIX}target-container-hostname"}
    return {"EndpointName": endpoint} | {name: headers[header] for name, header in named.items() if header in headers}


async def _send_stream(
    request: web.BaseRequest, response: InvocationResponse, headers: dict[str, str]
) -> web.StreamResponse:
    content_type = headers.pop("Content-Type", "application/octet-stream")
    headers |= {"Content-Type": "application/vnd.amazon.eventstream", f"{_PREFIX}content-type": content_type}
    sent = web.StreamResponse(status=response.status, headers=headers)
    try:
        await sent.prepare(request)
        if response.body:
            await sent.write(encode_payload_part(response.body))
        if response.chunks is not None:
            try:
                async for chunk in response.chunks:
                    await sent.write(encode_payload_part(chunk))
            except HostingError as error:
                body = json.dumps({"Message": str(error), "ErrorCode": "ModelInvocationTimeExceeded"}).encode()
                await sent.write(encode_exception("ModelStreamError", body))
        await sent.write_eof()
    finally:
        if response.chunks is not None:
            await response.chunks.aclose()
    return sent
