"""What an answer of InvokeEndpoint means: pure, and shared by every transport.

Codes and texts are those of the service model of botocore and of AWS's documentation of multi-model endpoints.
"""

from __future__ import annotations

import json
import re
import time
from enum import Enum
from typing import Any

import attrs

from mme_sdk.aws.error_codes import DENIED, THROTTLES
from mme_sdk.aws.signature_errors import explain_refusal
from mme_sdk.errors import (
    AccessDeniedError,
    ConfigurationError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    ModelError,
    ModelInputError,
    ModelMemoryError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelServerError,
    PayloadTooLargeError,
    ServiceError,
    ThrottledError,
)
from mme_sdk.runtime.transport_interface import InvokeAnswer

__all__ = ["ErrorFields", "Meaning", "error_fields", "error_of", "failed_to_load", "meaning_of"]

_ABSENT_ENDPOINT = re.compile(r"Endpoint \S+ of account \S+ not found")
_LOADING = re.compile(r"\b(?:load|loads|loaded|loading|workers?|model_fn|initiali[sz]\w*)\b", re.IGNORECASE)
_FAULTY = frozenset({500, 502, 503, 504, 530})


class Meaning(Enum):
    """What to do about an answer that is no success."""

    COLD = "cold"
    """The model is loading: come back when it is loaded."""
    THROTTLED = "throttled"
    """Too many requests: come back later, and slower."""
    FAULTY = "faulty"
    """SageMaker or the way to it failed."""
    BUSY = "busy"
    """The container had no worker or no memory for it just now."""
    FINAL = "final"
    """The same request would meet the same answer."""


@attrs.frozen(kw_only=True)
class ErrorFields:
    """An error answer, taken apart.

    Attributes:
        status: HTTP status.
        code: Error code, without namespace; empty where the answer names none.
        message: The service's text; the start of the body where it is not JSON.
        request_id: AWS request id.
        retry_after: Seconds of a `Retry-After` header.
        original_status: `OriginalStatusCode` of a ModelError.
        original_message: `OriginalMessage` of a ModelError.
        log_stream: `LogStreamArn` of a ModelError.
        date: `Date` header.
        body: All fields of a JSON body.
    """

    status: int
    code: str
    message: str
    request_id: str | None = None
    retry_after: float | None = None
    original_status: int | None = None
    original_message: str | None = None
    log_stream: str | None = None
    date: str | None = None
    body: dict[str, Any] = attrs.field(factory=dict, repr=False)


def error_fields(answer: InvokeAnswer) -> ErrorFields:
    """Take an error answer apart.

    Args:
        answer: An answer whose status is no success.

    Returns:
        Its fields; nothing in the body can make this fail.
    """
    body: dict[str, Any] = {}
    try:
        parsed = json.loads(answer.body)
        if isinstance(parsed, dict):
            body = parsed
    except (ValueError, RecursionError):
        pass  # a proxy's HTML, or nothing: the text below says what came
    headers = answer.headers
    code = str(headers.get("x-amzn-errortype") or body.get("code") or body.get("__type") or "")
    message = body.get("message") or body.get("Message") or answer.body[:300].decode("utf-8", errors="replace")
    original = body.get("OriginalStatusCode")
    return ErrorFields(
        status=answer.status,
        code=code.partition(":")[0].rpartition("#")[2],
        message=str(message),
        request_id=headers.get("x-amzn-requestid") or headers.get("x-amz-request-id"),
        retry_after=_seconds(headers.get("retry-after")),
        original_status=original if type(original) is int else None,
        original_message=_text(body.get("OriginalMessage")),
        log_stream=_text(body.get("LogStreamArn")),
        date=headers.get("date"),
        body=body,
    )


def meaning_of(fields: ErrorFields) -> Meaning:
    """What an error answer means for the next step."""
    if fields.code == "ModelNotReadyException":
        return Meaning.COLD
    if fields.code in THROTTLES or fields.status == 429:
        return Meaning.THROTTLED
    if _from_container(fields):
        return Meaning.BUSY if fields.original_status in (503, 507) else Meaning.FINAL
    return Meaning.FAULTY if fields.status in _FAULTY else Meaning.FINAL


def failed_to_load(fields: ErrorFields) -> bool:
    """Whether a container's error is about loading the model, not about running it.

    SageMaker passes both on alike, and many containers answer 500 to a bad payload, so the text has to tell: Multi
    Model Server speaks of workers that failed to start, Triton, TorchServe and Python containers of loading.
    """
    if not _from_container(fields) or (fields.original_status is not None and fields.original_status < 500):
        return False
    return fields.original_status == 507 or bool(_LOADING.search(f"{fields.message} {fields.original_message or ''}"))


def error_of(fields: ErrorFields, *, endpoint: str, model: str | None, now: float | None = None) -> MMEError:
    """Our error for an error answer.

    Args:
        fields: The answer, taken apart.
        endpoint: Endpoint that was invoked.
        model: Target model, if any.
        now: Seconds since the epoch, by this machine's clock; the system's where None.

    Returns:
        The error, to be raised by the caller.
    """
    facts: dict[str, Any] = {
        "endpoint": endpoint,
        "model": model,
        "code": fields.code or None,
        "status": fields.status,
        "request_id": fields.request_id,
        "retry_after": fields.retry_after,
    }
    subject = endpoint if model is None else f"{endpoint} ({model})"
    said = fields.message.strip() or fields.code or "no explanation"
    text = f"{subject}: {said}"
    meaning = meaning_of(fields)
    if meaning is Meaning.COLD:
        return ModelNotReadyError(f"{subject} is still loading: {said}", **facts)
    if meaning is Meaning.THROTTLED:
        return ThrottledError(f"{subject}: throttled: {said}", **facts)
    if _from_container(fields):
        return _model_error(fields, subject, facts)
    if fields.status >= 500:
        return ServiceError(f"{subject}: SageMaker answered {fields.status}: {said}", **facts)
    refusal = explain_refusal(fields.code, said, date=fields.date, now=time.time() if now is None else now)
    if refusal is not None:
        kind = ConfigurationError if refusal.local else AccessDeniedError
        return kind(f"{subject}: {refusal.reason}: {said}", hint=refusal.hint, sent=True, **facts)
    if fields.status == 403 or fields.code in DENIED:
        return AccessDeniedError(
            text, hint="sagemaker:InvokeEndpoint is needed, and sagemaker:TargetModel must allow this model", **facts
        )
    if fields.status == 413:
        return PayloadTooLargeError(text, sent=True, hint="send less per call, or a reference to data in S3", **facts)
    if _ABSENT_ENDPOINT.search(said):
        return EndpointNotFoundError(text, hint="check the name, the account and the region", **facts)
    if said.startswith("Failed to download model data"):
        return ModelNotFoundError(text, **facts)
    if "is not a multi-model endpoint" in said:
        return InvalidInputError(text, sent=True, hint="leave model= out: this endpoint serves one model", **facts)
    if "missing a target model header" in said:
        return InvalidInputError(text, sent=True, hint="pass model=…: this endpoint serves many models", **facts)
    if fields.status >= 400:
        return InvalidInputError(text, sent=True, **facts)
    return ServiceError(f"{subject}: HTTP status {fields.status} is no answer of InvokeEndpoint: {said}", **facts)


def _from_container(fields: ErrorFields) -> bool:
    return fields.code == "ModelError" or fields.status == 424


def _model_error(fields: ErrorFields, subject: str, facts: dict[str, Any]) -> ModelError:
    status = fields.original_status
    said = _readable(fields.original_message) or fields.message
    facts |= {
        "original_status": status,
        "original_message": fields.original_message,
        "log_stream": fields.log_stream,
        "hint": None if fields.log_stream is None else f"the container's log: {fields.log_stream}",
    }
    if status == 507:
        return ModelMemoryError(f"{subject}: the container has no memory for the model (507): {said}", **facts)
    if status is not None and 400 <= status < 500:
        return ModelInputError(f"{subject}: the container refused the payload ({status}): {said}", **facts)
    if status == 0:
        return ModelServerError(f"{subject}: the container gave no answer in time: {said}", **facts)
    return ModelServerError(f"{subject}: the model failed ({status}): {said}", **facts)


def _readable(message: str | None) -> str | None:
    """The container's message; out of its JSON envelope, where it has one."""
    if message is None or not message.lstrip().startswith("{"):
        return message
    try:
        inner = json.loads(message)
    except (ValueError, RecursionError):
        return message
    for key in ("message", "Message", "error"):
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            return str(inner[key])
    return message


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(header: str | None) -> float | None:
    try:
        seconds = None if header is None else float(header)
    except ValueError:
        return None  # an HTTP date: rare, and our own schedule is as good
    return seconds if seconds is not None and 0 <= seconds < 86400 else None
