"""Asynchronous inference: read the request from S3, invoke the endpoint, and write the response to S3."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.hosting_interface import Hosting, Invocation
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.types import S3Uri

__all__ = ["AsyncInference"]

_log = logging.getLogger(__name__)
_PREFIX = "x-amzn-sagemaker-"
_MAX_INPUT = 1 << 30  # bytes of an input object, the limit of AWS


class AsyncInference:
    """The queue of InvokeEndpointAsync requests. Requests that wait when the host stops are lost.

    Args:
        hosting: Runs the endpoints.
        config: Function from an EndpointName to its AsyncInferenceConfig and number of instances; None if the endpoint
            does not exist or has no such configuration.
        make_s3_client: Factory of a boto3 client for S3, called for the first request.
    """

    def __init__(
        self,
        hosting: Hosting,
        config: Callable[[str], tuple[Mapping[str, Any], int] | None],
        make_s3_client: Callable[[], Any],
    ) -> None:
        self._hosting = hosting
        self._config = config
        self._make_s3_client = make_s3_client
        self._s3: Any = None
        self._limits: dict[str, tuple[int, asyncio.Semaphore]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Put a request into the queue.

        Args:
            endpoint: EndpointName.
            headers: Request headers by lower-case name.
            body: The payload; empty if the header InputLocation names an object.

        Returns:
            InferenceId, OutputLocation and, if the endpoint has an S3FailurePath, FailureLocation.

        Raises:
            ApiError: The endpoint is not asynchronous, or the request does not have exactly one payload.
        """
        found = self._config(endpoint)
        if found is None:
            raise ApiError("ValidationError", f"Endpoint {endpoint} is not an asynchronous inference endpoint.")
        config, instances = found
        source = headers.get(f"{_PREFIX}inputlocation")
        try:
            input_uri = None if source is None else S3Uri.parse(source)
        except InvalidInputError as error:
            raise ApiError("ValidationError", f"InputLocation: {error.message}") from error
        if (input_uri is None) == (not body):
            raise ApiError("ValidationError", "Exactly one of InputLocation and Body is required.")
        ttl = _seconds(headers, "RequestTTLSeconds", 21_600)
        timeout = _seconds(headers, "InvocationTimeoutSeconds", 900)
        inference_id = headers.get(f"{_PREFIX}inference-id") or str(uuid.uuid4())
        output = config["OutputConfig"]
        extension = headers.get(f"{_PREFIX}s3outputpathextension", "")
        filename = headers.get(f"{_PREFIX}filename", f"{uuid.uuid4()}.out")
        path = "/".join(filter(None, (output["S3OutputPath"].rstrip("/"), extension.strip("/"))))
        response = {"InferenceId": inference_id, "OutputLocation": f"{path}/{filename}"}
        if failures := output.get("S3FailurePath"):
            response["FailureLocation"] = f"{failures.rstrip('/')}/{uuid.uuid4()}-error.out"
        if self._s3 is None:
            self._s3 = self._make_s3_client()
        sent = {key: value for key, value in headers.items() if key.startswith(_PREFIX) or key == "accept"}
        sent["content-type"] = headers.get(f"{_PREFIX}content-type", "application/octet-stream")
        sent["accept"] = headers.get(f"{_PREFIX}accept", "*/*")
        concurrency = config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", 4) * instances
        task = asyncio.get_running_loop().create_task(
            self._process(self._limit(endpoint, concurrency), endpoint, input_uri, body, sent, response, ttl, timeout),
            name=f"async {endpoint}",
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return response

    async def close(self) -> None:
        """Cancel the requests that wait or run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._s3 is not None:
            self._s3.close()

    def _limit(self, endpoint: str, concurrency: int) -> asyncio.Semaphore:
        known = self._limits.get(endpoint)
        if known is None or known[0] != concurrency:
            known = self._limits[endpoint] = (concurrency, asyncio.Semaphore(concurrency))
        return known[1]

    async def _process(
        self,
        limit: asyncio.Semaphore,
        endpoint: str,
        input_uri: S3Uri | None,
        body: bytes,
        headers: Mapping[str, str],
        accepted: Mapping[str, str],
        ttl: float,
        timeout: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        accepted_at = loop.time()
        async with limit:
            try:
                if loop.time() - accepted_at > ttl:
                    raise TimeoutError(f"The request waited longer than RequestTTLSeconds ({ttl:g}).")
                payload = body if input_uri is None else await asyncio.to_thread(self._read, input_uri)
                invocation = Invocation(
                    endpoint=endpoint,
                    body=payload,
                    headers=headers,
                    request_id=accepted["InferenceId"],
                    max_payload=_MAX_INPUT,
                )
                try:
                    async with asyncio.timeout(timeout):
                        response = await self._hosting.invoke(invocation)
                except TimeoutError:
                    text = f"The model took longer than InvocationTimeoutSeconds ({timeout:g})."
                    raise TimeoutError(text) from None
                status, content = response.status, response.body
                kind = response.headers.get("Content-Type", "application/octet-stream")
                if not kind.isascii() or not kind.isprintable():
                    text = "The content type of the model's response has characters that are not printable ASCII."
                    status, content, kind = 424, text.encode(), "text/plain"
                if response.drop:
                    status, content = 500, b'{"message": "The connection to the container was dropped."}'
            except Exception as error:  # noqa: BLE001 - no caller waits; the error is written to FailureLocation
                status, content, kind = 500, str(error).encode(), "text/plain"
            target = accepted["OutputLocation"] if status < 300 else accepted.get("FailureLocation")
            if target is None:
                _log.warning("asynchronous inference %s failed: %s", accepted["InferenceId"], content[:500])
                return
            try:
                await asyncio.to_thread(self._write, S3Uri.parse(target), content, kind)
            except Exception:  # noqa: BLE001 - no caller waits; the error is logged
                _log.exception("cannot write the response of asynchronous inference %s", accepted["InferenceId"])

    def _read(self, uri: S3Uri) -> bytes:
        found = self._s3.get_object(Bucket=uri.bucket, Key=uri.key)
        with found["Body"] as stream:
            if found["ContentLength"] > _MAX_INPUT:
                text = f"The input object has {found['ContentLength']} bytes; the limit is {_MAX_INPUT} bytes."
                raise ApiError("ValidationError", text)
            content: bytes = stream.read()
        return content

    def _write(self, uri: S3Uri, content: bytes, kind: str) -> None:
        self._s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=content, ContentType=kind)


def _seconds(headers: Mapping[str, str], member: str, default: int) -> float:
    text = headers.get(f"{_PREFIX}{member.lower()}", str(default))
    if not text.isdecimal():
        raise ApiError("ValidationError", f"{member} must be a whole number of seconds, not {text!r}.")
    return float(text)
