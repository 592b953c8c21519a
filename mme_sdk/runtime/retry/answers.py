"""Classifies answers of InvokeEndpoint and converts error answers to exceptions; every transport uses it.

Error codes and texts come from botocore's service model and from AWS's documentation of multi-model endpoints.
"""

from __future__ import annotations

import json
import re
import time
from enum import Enum
from typing import Any

import attrs

from mme_sdk.aws.error_codes import DENIED, THROTTLES
from mme_sdk.aws.failure_hints import ABSENT_ENDPOINT, refusal_hint
from mme_sdk.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    EndpointFailedError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    ModelError,
    ModelInputError,
    ModelMemoryError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelServerError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    ServiceError,
    ThrottledError,
    TransportError,
)
from mme_sdk.runtime.transport_interface import InvokeResponse

__all__ = [
    "ErrorFields",
    "ErrorKind",
    "classify",
    "error_fields",
    "error_of",
    "failed_to_load",
    "is_load_failure",
    "may_run_elsewhere",
]

_LOADING = re.compile(r"\b(?:load|loads|loaded|loading|workers?|model_fn|initiali[sz]\w*)\b", re.IGNORECASE)
_FAULTY = frozenset({500, 502, 503, 504, 530})
_BUSY = frozenset({503, 507})  # of the container
_NOT_SERVING = (EndpointNotFoundError, EndpointFailedError, ConflictError)  # its state is that of the whole endpoint


class ErrorKind(Enum):
    """How to react to an unsuccessful answer."""

    COLD = "cold"
    """The model is loading: send again when it is probably loaded."""
    THROTTLED = "throttled"
    """Too many requests: send again later, and less often."""
    FAULTY = "faulty"
    """SageMaker or the network failed: send again soon."""
    BUSY = "busy"
    """The container has no free worker or no memory at the moment: send again soon."""
    FINAL = "final"
    """The same request would receive the same answer: do not send again."""


@attrs.frozen(kw_only=True)
class ErrorFields:
    """The fields of an error answer.

    Attributes:
        status: HTTP status.
        code: Error code without namespace; empty if the answer has none.
        message: The service's message; the first 300 bytes of a body that is not JSON.
        request_id: AWS request id.
        retry_after: Seconds of the `Retry-After` header.
        original_status: `OriginalStatusCode` of a ModelError.
        original_message: `OriginalMessage` of a ModelError.
        log_stream: `LogStreamArn` of a ModelError.
        date: `Date` header.
        body: All fields of a JSON body; empty for other bodies.
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


def error_fields(answer: InvokeResponse) -> ErrorFields:
    """Return the fields of an error answer.

    Args:
        answer: An answer with an error status.

    Returns:
        Its fields. This function accepts any body.
    """
    body: dict[str, Any] = {}
    try:
        parsed = json.loads(answer.body)
        if isinstance(parsed, dict):
            body = parsed
    except (ValueError, RecursionError):
        pass  # for example an HTML page of a proxy; `message` quotes it
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


def classify(fields: ErrorFields) -> ErrorKind:
    """Return how to react to an error answer.

    Args:
        fields: The fields of the answer.

    Returns:
        The reaction.
    """
    if fields.code == "ModelNotReadyException":
        return ErrorKind.COLD
    if fields.code in THROTTLES or fields.status == 429:
        return ErrorKind.THROTTLED
    if _from_container(fields):
        return ErrorKind.BUSY if fields.original_status in _BUSY else ErrorKind.FINAL
    return ErrorKind.FAULTY if fields.status in _FAULTY else ErrorKind.FINAL


def may_run_elsewhere(error: MMEError, *, idempotent: bool) -> bool:
    """Return whether another endpoint may get the request of a call that failed: an endpoint of the same models.

    The rules are those of a second attempt at the same endpoint, and an endpoint that serves nobody has not run the
    model either.

    Args:
        error: The error of the call.
        idempotent: Whether the model may run twice.
    """
    if isinstance(error, OutcomeUnknownError):
        return idempotent
    if isinstance(error, ModelError):
        return error.original_status in _BUSY
    if isinstance(error, ServiceError):
        return error.status in _FAULTY
    return isinstance(error, (TransportError, ThrottledError, *_NOT_SERVING))


def failed_to_load(fields: ErrorFields) -> bool:
    """Return whether a container failed to load the model, rather than to run it.

    SageMaker reports both in the same way, and many containers answer 500 to an invalid payload. Only the text differs:
    Multi Model Server mentions workers that failed to start; Triton, TorchServe and Python containers mention loading.

    Args:
        fields: The fields of the answer.

    Returns:
        Whether the text or the status is that of a failed load.
    """
    return _from_container(fields) and _tells_of_load(fields.original_status, fields.message, fields.original_message)


def is_load_failure(error: ModelError) -> bool:
    """Return whether an error of a model is a failed load; see `failed_to_load`."""
    return _tells_of_load(error.original_status, error.message, error.original_message)


def _tells_of_load(status: int | None, message: str, original: str | None) -> bool:
    if status is not None and 0 < status < 500:
        return status == 404  # the container has no such model
    return status == 507 or bool(_LOADING.search(f"{message} {original or ''}"))


def error_of(fields: ErrorFields, *, endpoint: str, model: str | None, now: float | None = None) -> MMEError:
    """Return the exception for an error answer.

    Args:
        fields: The fields of the answer.
        endpoint: The endpoint that was invoked.
        model: The target model; None on a single-model endpoint.
        now: Seconds since the epoch by this machine's clock, which an expired signature is compared with; the current
            time if None.

    Returns:
        The exception, for the caller to raise.
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
    message = fields.message.strip() or fields.code or "no explanation"
    text = f"{subject}: {message}"
    kind = classify(fields)
    if kind is ErrorKind.COLD:
        return ModelNotReadyError(f"{subject} is still loading: {message}", **facts)
    if kind is ErrorKind.THROTTLED:
        return ThrottledError(f"{subject}: throttled: {message}", **facts)
    if _from_container(fields):
        return _model_error(fields, subject, facts)
    if fields.status >= 500:
        return ServiceError(f"{subject}: SageMaker answered {fields.status}: {message}", **facts)
    from mme_sdk.aws.signature_errors import explain_refusal

    refusal = explain_refusal(fields.code, message, date=fields.date, now=time.time() if now is None else now)
    if refusal is not None:
        error_type = ConfigurationError if refusal.local else AccessDeniedError
        return error_type(f"{subject}: {refusal.reason}: {message}", hint=refusal.hint, sent=True, **facts)
    if fields.status == 403 or fields.code in DENIED:
        return AccessDeniedError(
            text,
            hint="allow sagemaker:InvokeEndpoint; a condition on sagemaker:TargetModel must include this model",
            **facts,
        )
    if fields.status == 413:
        return PayloadTooLargeError(text, sent=True, hint="send less data per call, or refer to data in S3", **facts)
    if ABSENT_ENDPOINT.search(message):
        return EndpointNotFoundError(text, hint="check the name, the account and the region", **facts)
    if message.startswith("Failed to download model data"):
        return ModelNotFoundError(text, **facts)
    if fields.status >= 400:
        return InvalidInputError(text, sent=True, hint=refusal_hint(message), **facts)
    return ServiceError(
        f"{subject}: HTTP status {fields.status} is not documented for InvokeEndpoint: {message}", **facts
    )


def _from_container(fields: ErrorFields) -> bool:
    return fields.code == "ModelError" or fields.status == 424


def _model_error(fields: ErrorFields, subject: str, facts: dict[str, Any]) -> ModelError:
    status = fields.original_status
    message = _readable(fields.original_message) or fields.message
    facts |= {
        "original_status": status,
        "original_message": fields.original_message,
        "log_stream": fields.log_stream,
        "hint": _log_hint(fields, facts["endpoint"], facts["model"]),
    }
    if status == 507:
        return ModelMemoryError(f"{subject}: the container has no memory for the model (507): {message}", **facts)
    if status is not None and 400 <= status < 500:
        return ModelInputError(f"{subject}: the container rejected the payload ({status}): {message}", **facts)
    if status == 0:
        return ModelServerError(f"{subject}: the container did not answer in time: {message}", **facts)
    return ModelServerError(f"{subject}: the model failed ({status}): {message}", **facts)


def _log_hint(fields: ErrorFields, endpoint: str, model: str | None) -> str | None:
    """Say where the container's log is. The embedded SageMaker, which has it as files, names their folder."""
    if fields.log_stream is None:
        return None
    call = f"client.endpoint({endpoint!r}).logs({'' if model is None else f'model={model!r}'})"
    files = _text(fields.body.get("LogFiles"))
    return f"{call} returns the end of its log, which is {f'in {files}' if files else fields.log_stream}"


def _readable(message: str | None) -> str | None:
    """Return the container's message, without a JSON envelope."""
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
        return None  # an HTTP date; the backoff applies instead
    return seconds if seconds is not None and 0 <= seconds < 86400 else None
