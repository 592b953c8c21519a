"""Data capture: write requests and responses to S3 as JSON lines, in the format that Model Monitor reads."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import logging
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from mme_sdk.local.hosting_interface import Invocation, InvocationResponse
from mme_sdk.types import S3Uri

__all__ = ["DataCapture"]

_log = logging.getLogger(__name__)
_PREFIX = "x-amzn-sagemaker-"
_MAX_PENDING = 64 << 20  # bytes of captured invocations that are not written yet


@attrs.frozen
class _Destination:
    """Folder of the S3 objects that hold the records, and the key that encrypts them."""

    bucket: str
    folder: str
    key_id: str | None


@attrs.frozen
class _Capture:
    """A captured invocation."""

    config: Mapping[str, Any]
    invocation: Invocation
    response: InvocationResponse
    at: datetime

    @property
    def size(self) -> int:
        """Estimated memory in bytes."""
        return 2048 + len(self.invocation.body) + len(self.response.body)


class DataCapture:
    """Captures invocations of all endpoints of one host.

    Records are written in the background. An object holds the records that arrived while the previous one was written.

    Args:
        make_s3_client: Factory of a boto3 client for S3, called for the first record.
        rng: Random numbers that select the captured requests.
        now: Function that returns the current time.
    """

    def __init__(
        self,
        make_s3_client: Callable[[], Any],
        rng: random.Random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._make_s3_client = make_s3_client
        self._rng = rng
        self._now = now
        self._s3: Any = None
        self._pending: dict[_Destination, list[_Capture]] = {}
        self._pending_bytes = 0
        self._writer: asyncio.Task[None] | None = None

    def capture(
        self, config: Mapping[str, Any], variant: str, invocation: Invocation, response: InvocationResponse
    ) -> None:
        """Capture a successful response with its request, if the sample includes it.

        Args:
            config: DataCaptureConfig of the endpoint.
            variant: VariantName.
            invocation: The request.
            response: The response.
        """
        if self._rng.random() * 100 >= config["InitialSamplingPercentage"]:
            return
        capture = _Capture(config, invocation, response, self._now())
        if self._pending_bytes + capture.size > _MAX_PENDING:
            _log.warning("an invocation of %s is not captured: S3 is too slow", invocation.endpoint)
            return
        uri = S3Uri.parse(config["DestinationS3Uri"])
        folder = "/".join(filter(None, (uri.key.strip("/"), invocation.endpoint, variant, f"{capture.at:%Y/%m/%d/%H}")))
        self._pending.setdefault(_Destination(uri.bucket, folder, config.get("KmsKeyId")), []).append(capture)
        self._pending_bytes += capture.size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="data capture")

    async def close(self) -> None:
        """Write the pending records."""
        if self._writer is not None:
            await self._writer
        if self._s3 is not None:
            self._s3.close()

    async def _write(self) -> None:
        while self._pending:
            destination, captures = next(iter(self._pending.items()))
            del self._pending[destination]
            try:
                await asyncio.to_thread(functools.partial(self._put, destination, captures, self._now()))
            except Exception as error:  # noqa: BLE001 - no caller waits; the error is logged
                _log.warning("cannot write %d records to s3://%s: %s", len(captures), destination.bucket, error)
            self._pending_bytes -= sum(one.size for one in captures)

    def _put(self, destination: _Destination, captures: list[_Capture], now: datetime) -> None:
        """Write an object. Runs in a worker thread, because a large body takes long to encode."""
        lines = [json.dumps(_record(one), separators=(",", ":")).encode() + b"\n" for one in captures]
        if self._s3 is None:
            self._s3 = self._make_s3_client()
        key_id = destination.key_id
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id} if key_id else {}
        key = f"{destination.folder}/{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        self._s3.put_object(Bucket=destination.bucket, Key=key, Body=b"".join(lines), **encryption)


def _record(capture: _Capture) -> dict[str, Any]:
    """Return a record.

    Format: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
    """
    config, invocation, response = capture.config, capture.invocation, capture.response
    modes = {one["CaptureMode"] for one in config["CaptureOptions"]}
    kinds = config.get("CaptureContentTypeHeader", {})
    captured = {}
    if modes & {"Input", "InputAndOutput"}:
        kind = invocation.headers.get("content-type")
        captured["endpointInput"] = _payload(kinds, "INPUT", kind, invocation.body)
    if modes & {"Output", "InputAndOutput"}:
        kind = response.headers.get("Content-Type")
        captured["endpointOutput"] = _payload(kinds, "OUTPUT", kind, response.body)
    metadata: dict[str, Any] = {"eventId": str(uuid.uuid4())}
    attributes = invocation.headers.get(f"{_PREFIX}custom-attributes")
    optional = {
        "customAttributes": None if attributes is None else [attributes],
        "inferenceId": invocation.headers.get(f"{_PREFIX}inference-id"),
        "inferenceTime": f"{capture.at:%Y-%m-%dT%H:%M:%SZ}",
    }
    metadata |= {name: value for name, value in optional.items() if value is not None}
    return {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}


def _payload(kinds: Mapping[str, Any], mode: str, kind: str | None, body: bytes) -> dict[str, str]:
    """Return a body as text if its content type is listed as CSV or JSON, else in base64."""
    media = (kind or "").partition(";")[0].strip().lower()
    encoding, data = "BASE64", ""
    for name, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if media in [one.lower() for one in kinds.get(member, [])]:
            encoding = name
    try:
        data = body.decode() if encoding != "BASE64" else ""
    except UnicodeDecodeError:
        encoding = "BASE64"
    if encoding == "BASE64":
        data = base64.b64encode(body).decode()
    observed = {} if kind is None else {"observedContentType": kind}
    return {**observed, "mode": mode, "data": data, "encoding": encoding}
