"""Asynchronous inference: read the request from S3, invoke the endpoint, and write the response to S3."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.async_queue import QueuedRequest, RequestQueue
from mme_sdk.local.hosting_interface import AsyncEndpoint, Hosting, Invocation, InvocationResponse
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.types import S3Uri

__all__ = ["AsyncInference"]

_log = logging.getLogger(__name__)
_PREFIX = "x-amzn-sagemaker-"
_MAX_INPUT = 1 << 30  # bytes of an input object, the limit of AWS
_DEFAULT_TYPE = "application/octet-stream"


@attrs.frozen
class _Answer:
    status: int
    content: bytes
    content_type: str


class AsyncInference:
    """The queues of InvokeEndpointAsync requests. Requests that wait when the host stops are lost.

    A request waits while every instance processes as many requests as MaxConcurrentInvocationsPerInstance allows, and
    while the endpoint has no instance.

    Args:
        hosting: Runs the endpoints.
        endpoint: Function from an EndpointName to the asynchronous endpoint; None if the endpoint does not exist or is
            not asynchronous.
        endpoints: Function that returns the names of all asynchronous endpoints.
        make_s3_client: Factory of a boto3 client for S3, called for the first request.
        measure: Function that records a CloudWatch value: `measure(metric, endpoint, variant, value)`.
        minute: Seconds that a minute of the metrics lasts, default 60.
    """

    def __init__(
        self,
        hosting: Hosting,
        endpoint: Callable[[str], AsyncEndpoint | None],
        endpoints: Callable[[], Iterable[str]],
        make_s3_client: Callable[[], Any],
        measure: Callable[[str, str, str | None, float], None],
        minute: float = 60.0,
    ) -> None:
        self._hosting = hosting
        self._endpoint = endpoint
        self._endpoints = endpoints
        self._make_s3_client = make_s3_client
        self._measure = measure
        self._minute = minute
        self._s3: Any = None
        self._queues: dict[str, RequestQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Measure the queues twice a minute until cancelled, so that a late value leaves no minute without one."""
        while True:
            await asyncio.sleep(self._minute / 2)
            self.measure_queues()

    def measure_queues(self) -> None:
        """Record the metrics of every queue.

        Source: https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
        """
        now = asyncio.get_running_loop().time()
        for name in self._endpoints():
            endpoint, queue = self._endpoint(name), self._queues.get(name, RequestQueue())
            if endpoint is None:
                continue
            age = 0.0 if queue.oldest is None else now - queue.oldest
            self._measure("ApproximateBacklogSize", name, None, queue.backlog)
            # An endpoint without instances is measured as if it had one, so that target tracking can add the first.
            self._measure("ApproximateBacklogSizePerInstance", name, None, queue.backlog / max(1, endpoint.instances))
            self._measure("ApproximateAgeOfOldestRequest", name, None, age)
            without_capacity = queue.backlog > 0 and endpoint.instances == 0
            self._measure("HasBacklogWithoutCapacity", name, None, int(without_capacity))

    def dispatch(self, name: str) -> None:
        """Start the waiting requests for which an endpoint has instances; call it when the endpoint has changed."""
        queue = self._queues.get(name)
        if queue is not None:
            queue.start(self._capacity(name))
            if not queue.backlog:
                del self._queues[name]

    def _capacity(self, name: str) -> float:
        endpoint = self._endpoint(name)
        if endpoint is None:  # it was deleted: the invocation fails, and the failure is written to S3
            return math.inf
        return endpoint.max_concurrency * endpoint.instances

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
        found = self._endpoint(endpoint)
        if found is None:
            raise ApiError("ValidationError", f"Endpoint {endpoint} is not an asynchronous inference endpoint.")
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
        output = found.config["OutputConfig"]
        extension = headers.get(f"{_PREFIX}s3outputpathextension", "")
        filename = headers.get(f"{_PREFIX}filename", f"{uuid.uuid4()}.out")
        path = "/".join(filter(None, (output["S3OutputPath"].rstrip("/"), extension.strip("/"))))
        response = {"InferenceId": inference_id, "OutputLocation": f"{path}/{filename}"}
        if failures := output.get("S3FailurePath"):
            response["FailureLocation"] = f"{failures.rstrip('/')}/{uuid.uuid4()}-error.out"
        if self._s3 is None:
            self._s3 = self._make_s3_client()
        sent = {key: value for key, value in headers.items() if key.startswith(_PREFIX) or key == "accept"}
        if content_type := headers.get(f"{_PREFIX}content-type"):
            sent["content-type"] = content_type
        sent["accept"] = headers.get(f"{_PREFIX}accept", "*/*")
        loop = asyncio.get_running_loop()
        request = QueuedRequest(
            endpoint=endpoint,
            input_uri=input_uri,
            body=body,
            headers=sent,
            accepted=response,
            ttl=ttl,
            timeout=timeout,
            accepted_at=loop.time(),
        )
        queue = self._queues.setdefault(endpoint, RequestQueue())
        queue.put(request)
        task = loop.create_task(self._process(queue, request), name=f"async {endpoint}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.dispatch(endpoint)
        return response

    async def close(self) -> None:
        """Cancel the requests that wait or run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._s3 is not None:
            self._s3.close()

    async def _process(self, queue: RequestQueue, request: QueuedRequest) -> None:
        try:
            answer = None
            while answer is None:
                answer = await self._answer(queue, request)
            await self._finish(request, answer)
        finally:
            queue.remove(request)
            self.dispatch(request.endpoint)

    async def _answer(self, queue: RequestQueue, request: QueuedRequest) -> _Answer | None:
        """Wait for an instance and invoke it. Return None if the endpoint has lost its last instance by then."""
        try:
            try:
                async with asyncio.timeout_at(request.accepted_at + request.ttl):
                    await request.started.wait()
            except TimeoutError:
                if not request.started.is_set():
                    self._count(request, "ExpiredRequests")
                    text = f"The request waited longer than RequestTTLSeconds ({request.ttl:g})."
                    raise TimeoutError(text) from None
            waited = asyncio.get_running_loop().time() - request.accepted_at
            body, content_type = await self._payload(request)
            try:
                async with asyncio.timeout(request.timeout):
                    response = await self._hosting.invoke(
                        Invocation(
                            endpoint=request.endpoint,
                            body=body,
                            headers={"content-type": content_type, **request.headers},
                            request_id=request.accepted["InferenceId"],
                            max_payload=_MAX_INPUT,
                            asynchronous=True,
                        )
                    )
            except TimeoutError:
                text = f"The model took longer than InvocationTimeoutSeconds ({request.timeout:g})."
                raise TimeoutError(text) from None
            if response.status == 503 and self._capacity(request.endpoint) == 0:
                queue.put(request, first=True)
                return None
            self._record(request, "TimeInBacklog", 1e3 * waited)
            self._count(request, "InvocationsProcessed")
            return _checked(response)
        except Exception as error:  # noqa: BLE001 - no caller waits; the error is written to FailureLocation
            return _Answer(500, str(error).encode(), "text/plain")

    async def _payload(self, request: QueuedRequest) -> tuple[bytes, str]:
        if request.input_uri is None:
            return request.body, _DEFAULT_TYPE
        began = time.monotonic()
        try:
            payload = await asyncio.to_thread(self._read, request.input_uri)
        except Exception:
            self._count(request, "RequestDownloadFailures")
            raise
        self._record(request, "RequestDownloadLatency", 1e6 * (time.monotonic() - began))
        return payload

    async def _finish(self, request: QueuedRequest, answer: _Answer) -> None:
        """Write an answer to S3."""
        accepted = request.accepted
        if answer.status >= 300:
            self._count(request, "InvocationFailures")
        target = accepted["OutputLocation"] if answer.status < 300 else accepted.get("FailureLocation")
        if target is None:
            _log.warning("asynchronous inference %s failed: %s", accepted["InferenceId"], answer.content[:500])
        else:
            began = time.monotonic()
            try:
                await asyncio.to_thread(self._write, S3Uri.parse(target), answer.content, answer.content_type)
            except Exception:  # noqa: BLE001 - no caller waits; the error is logged
                _log.exception("cannot write the response of asynchronous inference %s", accepted["InferenceId"])
                self._count(request, "ResponseUploadFailures")
            else:
                self._record(request, "ResponseUploadLatency", 1e6 * (time.monotonic() - began))
        total = asyncio.get_running_loop().time() - request.accepted_at
        self._record(request, "TotalProcessingTime", 1e3 * total)

    def _count(self, request: QueuedRequest, metric: str) -> None:
        self._record(request, metric, 1)

    def _record(self, request: QueuedRequest, metric: str, value: float) -> None:
        """Record a metric of the variant; an endpoint that was deleted has none."""
        endpoint = self._endpoint(request.endpoint)
        if endpoint is not None:
            self._measure(metric, request.endpoint, endpoint.variant, value)

    def _read(self, uri: S3Uri) -> tuple[bytes, str]:
        """Return the content of an object and its Content-Type."""
        found = self._s3.get_object(Bucket=uri.bucket, Key=uri.key)
        with found["Body"] as stream:
            if found["ContentLength"] > _MAX_INPUT:
                text = f"The input object has {found['ContentLength']} bytes; the limit is {_MAX_INPUT} bytes."
                raise ApiError("ValidationError", text)
            return stream.read(), found.get("ContentType") or _DEFAULT_TYPE

    def _write(self, uri: S3Uri, content: bytes, kind: str) -> None:
        self._s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=content, ContentType=kind)


def _checked(response: InvocationResponse) -> _Answer:
    if response.drop:
        return _Answer(500, b'{"message": "The connection to the container was dropped."}', "application/json")
    kind = response.headers.get("Content-Type", _DEFAULT_TYPE)
    if not kind.isascii() or not kind.isprintable():
        text = "The content type of the model's response has characters that are not printable ASCII."
        return _Answer(424, text.encode(), "text/plain")
    return _Answer(response.status, response.body, kind)


def _seconds(headers: Mapping[str, str], member: str, default: int) -> float:
    text = headers.get(f"{_PREFIX}{member.lower()}", str(default))
    if not text.isdecimal():
        raise ApiError("ValidationError", f"{member} must be a whole number of seconds, not {text!r}.")
    return float(text)
