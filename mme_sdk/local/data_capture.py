"""Data capture: requests and answers of an endpoint as JSON lines in S3, in the layout that Model Monitor reads."""

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
_WAITING = 64 << 20  # bytes of invocations that are not in S3 yet; AWS too captures_data no more when its disk fills


@attrs.frozen
class _File:
    """Where records go; one object for all that wait."""

    bucket: str
    folder: str
    key_id: str | None


@attrs.frozen
class _Event:
    """What a record is made of."""

    config: Mapping[str, Any]
    invocation: Invocation
    answer: InvocationResponse
    now: datetime

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return 2048 + len(self.invocation.body) + len(self.answer.body)


class DataCapture:
    """Captures invocations of all endpoints of one host.

    A record is written while the next ones come: each object holds what has come during the write before it.

    Args:
        s3: Makes a boto3 client of S3, when the first record needs one.
        rng: Decides which requests are captured.
        now: The time of a record.
    """

    def __init__(
        self,
        s3: Callable[[], Any],
        rng: random.Random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._make_s3 = s3
        self._rng = rng
        self._now = now
        self._s3: Any = None
        self._pending: dict[_File, list[_Event]] = {}
        self._waiting = 0
        self._writer: asyncio.Task[None] | None = None

    def take(self, config: Mapping[str, Any], variant: str, invocation: Invocation, answer: InvocationResponse) -> None:
        """Capture one good answer with its request, if it is in the sample.

        Args:
            config: DataCaptureConfig of the endpoint.
            variant: VariantName.
            invocation: The request.
            answer: The answer.
        """
        if self._rng.random() * 100 >= config["InitialSamplingPercentage"]:
            return
        event = _Event(config, invocation, answer, self._now())
        if self._waiting + event.size > _WAITING:
            _log.warning("an invocation of %s is not captured: S3 is too slow", invocation.endpoint)
            return
        place = S3Uri.parse(config["DestinationS3Uri"])
        folder = "/".join(
            filter(None, (place.key.strip("/"), invocation.endpoint, variant, f"{event.now:%Y/%m/%d/%H}"))
        )
        self._pending.setdefault(_File(place.bucket, folder, config.get("KmsKeyId")), []).append(event)
        self._waiting += event.size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="data capture")

    async def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            await self._writer
        if self._s3 is not None:
            self._s3.close()

    async def _write(self) -> None:
        while self._pending:
            file, events = next(iter(self._pending.items()))
            del self._pending[file]
            try:
                await asyncio.to_thread(functools.partial(self._put, file, events, self._now()))
            except Exception as error:  # noqa: BLE001 - S3 may be gone, or the bucket; the invocation has been answered
                _log.warning("%d captured invocations cannot be stored in s3://%s: %s", len(events), file.bucket, error)
            self._waiting -= sum(one.size for one in events)

    def _put(self, file: _File, events: list[_Event], now: datetime) -> None:
        """Write an object; in another thread, since a large body takes long to encode."""
        lines = [json.dumps(_record(one), separators=(",", ":")).encode() + b"\n" for one in events]
        if self._s3 is None:
            self._s3 = self._make_s3()
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": file.key_id} if file.key_id else {}
        key = f"{file.folder}/{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        self._s3.put_object(Bucket=file.bucket, Key=key, Body=b"".join(lines), **encryption)


def _record(event: _Event) -> dict[str, Any]:
    """One record.

    The format: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
    """
    config, invocation, answer = event.config, event.invocation, event.answer
    modes = {one["CaptureMode"] for one in config["CaptureOptions"]}
    kinds = config.get("CaptureContentTypeHeader", {})
    captured = {}
    if modes & {"Input", "InputAndOutput"}:
        kind = invocation.headers.get("content-type")
        captured["endpointInput"] = _payload(kinds, "INPUT", kind, invocation.body)
    if modes & {"Output", "InputAndOutput"}:
        kind = answer.headers.get("Content-Type")
        captured["endpointOutput"] = _payload(kinds, "OUTPUT", kind, answer.body)
    about: dict[str, Any] = {"eventId": str(uuid.uuid4())}
    attributes = invocation.headers.get(f"{_PREFIX}custom-attributes")
    given = {
        "customAttributes": None if attributes is None else [attributes],
        "inferenceId": invocation.headers.get(f"{_PREFIX}inference-id"),
        "inferenceTime": f"{event.now:%Y-%m-%dT%H:%M:%SZ}",
    }
    about |= {name: value for name, value in given.items() if value is not None}
    return {"captureData": captured, "eventMetadata": about, "eventVersion": "0"}


def _payload(kinds: Mapping[str, Any], mode: str, kind: str | None, body: bytes) -> dict[str, str]:
    """A body as a text, in base64 where its content type is not listed as CSV or JSON."""
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
