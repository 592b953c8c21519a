"""Asynchronous inference: the request waits in S3, the answer appears in S3."""

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
_LARGEST = 1 << 30  # AWS's limit for an input object


class AsyncInference:
    """Works on InvokeEndpointAsync requests; those that wait when the host ends are lost.

    Args:
        hosting: Answers invocations.
        config: AsyncInferenceConfig of an endpoint and its instances; None where it has none or does not exist.
        s3: Makes a boto3 client of S3, when the first request needs one.
    """

    def __init__(
        self, hosting: Hosting, config: Callable[[str], tuple[Mapping[str, Any], int] | None], s3: Callable[[], Any]
    ) -> None:
        self._hosting = hosting
        self._config = config
        self._make_s3 = s3
        self._s3: Any = None
        self._gates: dict[str, tuple[int, asyncio.Semaphore]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Take a request and answer at once.

        Args:
            endpoint: EndpointName.
            headers: Request headers by lower-case name.
            body: The payload, where it is not in S3.

        Returns:
            InferenceId, OutputLocation and, where the endpoint has one, FailureLocation.

        Raises:
            ApiError: No asynchronous endpoint, or no place of the payload.
        """
        found = self._config(endpoint)
        if found is None:
            raise ApiError("ValidationError", f"Endpoint {endpoint} is not an asynchronous inference endpoint.")
        config, instances = found
        source = headers.get(f"{_PREFIX}inputlocation")
        try:
            place = None if source is None else S3Uri.parse(source)
        except InvalidInputError as error:
            raise ApiError("ValidationError", f"InputLocation: {error.message}") from error
        if (place is None) == (not body):
            raise ApiError("ValidationError", "Exactly one of InputLocation and Body is needed.")
        queued = _seconds(headers, "RequestTTLSeconds", 21_600)
        running = _seconds(headers, "InvocationTimeoutSeconds", 900)
        name = headers.get(f"{_PREFIX}inference-id") or str(uuid.uuid4())
        where = config["OutputConfig"]
        extension = headers.get(f"{_PREFIX}s3outputpathextension", "")
        filename = headers.get(f"{_PREFIX}filename", f"{uuid.uuid4()}.out")
        path = "/".join(filter(None, (where["S3OutputPath"].rstrip("/"), extension.strip("/"))))
        answer = {"InferenceId": name, "OutputLocation": f"{path}/{filename}"}
        if failures := where.get("S3FailurePath"):
            answer["FailureLocation"] = f"{failures.rstrip('/')}/{uuid.uuid4()}-error.out"
        if self._s3 is None:
            self._s3 = self._make_s3()
        asked = {key: value for key, value in headers.items() if key.startswith(_PREFIX) or key == "accept"}
        asked["content-type"] = headers.get(f"{_PREFIX}content-type", "application/octet-stream")
        asked["accept"] = headers.get(f"{_PREFIX}accept", "*/*")
        width = config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", 4) * instances
        task = asyncio.get_running_loop().create_task(
            self._work(self._gate(endpoint, width), endpoint, place, body, asked, answer, queued, running),
            name=f"async {endpoint}",
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer

    async def close(self) -> None:
        """Give up what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._s3 is not None:
            self._s3.close()

    def _gate(self, endpoint: str, width: int) -> asyncio.Semaphore:
        kept = self._gates.get(endpoint)
        if kept is None or kept[0] != width:
            kept = self._gates[endpoint] = (width, asyncio.Semaphore(width))
        return kept[1]

    async def _work(
        self,
        gate: asyncio.Semaphore,
        endpoint: str,
        place: S3Uri | None,
        body: bytes,
        headers: Mapping[str, str],
        answer: Mapping[str, str],
        queued: float,
        running: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with gate:
            try:
                if loop.time() - asked > queued:
                    raise TimeoutError(f"The request waited longer than RequestTTLSeconds ({queued:g}).")
                payload = body if place is None else await asyncio.to_thread(self._read, place)
                invocation = Invocation(
                    endpoint=endpoint,
                    body=payload,
                    headers=headers,
                    request_id=answer["InferenceId"],
                    max_payload=_LARGEST,
                )
                try:
                    async with asyncio.timeout(running):
                        said = await self._hosting.invoke(invocation)
                except TimeoutError:
                    text = f"The model took longer than InvocationTimeoutSeconds ({running:g})."
                    raise TimeoutError(text) from None
                status, content = said.status, said.body
                kind = said.headers.get("Content-Type", "application/octet-stream")
                if not kind.isascii() or not kind.isprintable():
                    text = "The model's answer has a content type with other characters than printable ASCII."
                    status, content, kind = 424, text.encode(), "text/plain"
                if said.drop:
                    status, content = 500, b'{"message": "The connection to the container was dropped."}'
            except Exception as error:  # noqa: BLE001 - nobody waits for it: it is written down where failures go
                status, content, kind = 500, str(error).encode(), "text/plain"
            target = answer["OutputLocation"] if status < 300 else answer.get("FailureLocation")
            if target is None:
                _log.warning("asynchronous inference %s failed: %s", answer["InferenceId"], content[:500])
                return
            try:
                await asyncio.to_thread(self._write, S3Uri.parse(target), content, kind)
            except Exception:  # noqa: BLE001 - S3 may be gone, or the bucket; there is nobody to tell
                _log.exception("the answer of asynchronous inference %s cannot be stored", answer["InferenceId"])

    def _read(self, place: S3Uri) -> bytes:
        found = self._s3.get_object(Bucket=place.bucket, Key=place.key)
        with found["Body"] as stream:
            if found["ContentLength"] > _LARGEST:
                text = f"The input object has {found['ContentLength']} bytes; the limit is {_LARGEST} bytes."
                raise ApiError("ValidationError", text)
            content: bytes = stream.read()
        return content

    def _write(self, place: S3Uri, content: bytes, kind: str) -> None:
        self._s3.put_object(Bucket=place.bucket, Key=place.key, Body=content, ContentType=kind)


def _seconds(headers: Mapping[str, str], member: str, default: int) -> float:
    text = headers.get(f"{_PREFIX}{member.lower()}", str(default))
    if not text.isdecimal():
        raise ApiError("ValidationError", f"{member} must be a whole number of seconds, not {text!r}.")
    return float(text)
