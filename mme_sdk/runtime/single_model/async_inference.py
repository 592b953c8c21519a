"""Asynchronous inference of single-model endpoints: send or upload the payload, and wait for the answer."""

from __future__ import annotations

import json
import uuid
from typing import Any

import attrs

from mme_sdk._flows.effects import Call, Flow, Sleep
from mme_sdk._validation import check_number, optional_int
from mme_sdk.errors import (
    AccessDeniedError,
    InvalidInputError,
    ModelServerError,
    NotFoundError,
    WaitTimeoutError,
)
from mme_sdk.protocols import AsyncClock, Clock
from mme_sdk.runtime.diagnostics import with_status
from mme_sdk.runtime.options import (
    AsyncInferenceOptions,
    InvokeOptions,
    check_field,
    check_options,
    check_unsupported,
)
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.payloads.requests import check_endpoint
from mme_sdk.runtime.payloads.row_counts import fit_rows, rows_of
from mme_sdk.types.reply import Reply
from mme_sdk.types.s3uri import S3Uri

__all__ = ["Submission", "result_of", "submit"]

_FIRST_POLL, _LAST_POLL, _GROWTH = 0.2, 10.0, 1.5  # seconds, seconds, factor
_MAX_BODY = 128_000  # bytes of a payload in the request, a limit of SageMaker
_UNSUPPORTED = (
    "deadline",
    "response_type",
    "target_variant",
    "target_container",
    "inference_component",
    "session_id",
    "enable_explanations",
    "prefix_aware_id",
    "idempotent",
    "sticky",
    "prefix",
)


@attrs.frozen(kw_only=True)
class Submission:
    """Request that SageMaker accepted. It holds no connection, and can be stored and used by another process.

    Attributes:
        endpoint: Name of the endpoint.
        inference_id: Id of the request: the caller's, or the one that SageMaker made.
        input: S3 address of the payload. None if the payload was sent in the request.
        output: S3 address where SageMaker writes the answer.
        failure: S3 address where SageMaker writes an error. None if the endpoint has no failure path.
        rows: Number of rows of the payload, to check the answer. None if the payload is not a table.
    """

    endpoint: str
    inference_id: str
    input: str | None
    output: str
    failure: str | None = None
    rows: int | None = None


def submit(
    codecs: Codecs, endpoint: str, data: Any, options: InvokeOptions, queue_options: AsyncInferenceOptions
) -> Flow[Submission]:
    """Submit an asynchronous inference, with the payload in the request or in S3.

    Args:
        codecs: Encodes the payload.
        endpoint: Name of the endpoint.
        data: The payload, or the `s3://` address of a payload that is in S3 already.
        options: Options of the call.
        queue_options: Options that only asynchronous inference has.

    Returns:
        A flow that returns the submission.

    Raises:
        InvalidInputError: The payload is empty or too large for the request and `upload_to` is not given, or an option
            has a value that AWS would reject.
    """
    check_endpoint(endpoint)
    check_unsupported("invoke_async", options, _UNSUPPORTED)
    check_options(options)
    for name in ("filename", "output_path_extension"):
        if (text := getattr(queue_options, name)) is not None:
            check_field(name, text)
    for name, least, most in (("time_to_live", 60, 21600), ("invocation_timeout", 1, 3600)):
        if (seconds := getattr(queue_options, name)) is not None:
            check_number(name, seconds, at_least=least, at_most=most, integer=True)
    content_type, upload_to = options.content_type, queue_options.upload_to
    rows: int | None = None
    in_s3 = isinstance(data, S3Uri) or (isinstance(data, str) and data.startswith("s3://"))
    if in_s3 and upload_to is not None:
        raise InvalidInputError(
            f"upload_to={upload_to!r}: the payload is in S3 already, at {data}",
            hint="leave upload_to out; to send the address itself as the payload, pass it as bytes",
            endpoint=endpoint,
        )
    body: bytes | None = None
    source: S3Uri | None = None
    if in_s3:
        source = S3Uri.parse(str(data))
    else:
        body, content_type = codecs.encode(data, content_type)
        rows = rows_of(data, content_type)
    if body is not None and upload_to is None:
        _check_body(endpoint, body)
    elif body is not None:
        source = S3Uri.parse(str(upload_to)).join(uuid.uuid4().hex)
        yield Call(
            service="s3",
            operation="put_object",
            params={"Bucket": source.bucket, "Key": source.key, "Body": body, "ContentType": content_type},
            endpoint=endpoint,
        )
    location = None if source is None else str(source)
    optional = {
        "InputLocation": location,
        "Body": body if location is None else None,
        "ContentType": content_type,
        "Accept": options.accept,
        "InferenceId": options.inference_id,
        "CustomAttributes": options.custom_attributes,
        "RequestTTLSeconds": optional_int(queue_options.time_to_live),
        "InvocationTimeoutSeconds": optional_int(queue_options.invocation_timeout),
        "Filename": queue_options.filename,
        "S3OutputPathExtension": queue_options.output_path_extension,
    }
    answer = yield from with_status(_send(endpoint, optional))
    return Submission(
        endpoint=endpoint,
        inference_id=answer["InferenceId"],
        input=location,
        output=answer["OutputLocation"],
        failure=answer.get("FailureLocation"),
        rows=rows,
    )


def _send(endpoint: str, optional: dict[str, Any]) -> Flow[dict[str, Any]]:
    answer: dict[str, Any] = yield Call(
        service="sagemaker-runtime",
        operation="invoke_endpoint_async",
        params={"EndpointName": endpoint} | {name: value for name, value in optional.items() if value is not None},
        endpoint=endpoint,
        replay=False,
    )
    return answer


def result_of(
    codecs: Codecs, submission: Submission, clock: Clock | AsyncClock, timeout: float, response_type: Any
) -> Flow[Reply[Any]]:
    """Poll S3 until the answer or an error is there.

    Args:
        codecs: Decodes the answer.
        submission: The submitted request.
        clock: Measures the time.
        timeout: Seconds to wait.
        response_type: Type or codec that the answer is decoded to. None leaves it as bytes.

    Returns:
        A flow that returns the answer.

    Raises:
        ModelServerError: The model failed. The message is what SageMaker wrote to the failure path.
        RowCountError: The payload was a table, and the answer has another number of rows.
        WaitTimeoutError: There is no answer yet.
    """
    began = clock.monotonic()
    pause = _FIRST_POLL
    denied: AccessDeniedError | None = None
    while True:
        for address, succeeded in ((submission.output, True), (submission.failure, False)):
            if address is None:
                continue
            try:
                body, content_type = yield from _read(address)
            except NotFoundError:
                continue
            except AccessDeniedError as error:
                denied = error  # without s3:ListBucket, S3 answers 403 for an object that does not exist
                continue
            if not succeeded:
                text = body.decode(errors="replace")
                raise ModelServerError(
                    f"{submission.endpoint}: asynchronous inference failed: {_reason(text)[:1000]}",
                    endpoint=submission.endpoint,
                    original_message=text,
                    hint=None if submission.input is None else f"the payload is {submission.input}",
                )
            decoded = {} if response_type is None else {"value": codecs.decode(body, content_type, response_type)}
            if submission.rows is not None:
                fit_rows(submission.rows, decoded, body, content_type, submission.endpoint)
            took = clock.monotonic() - began
            return Reply(body=body, content_type=content_type, endpoint=submission.endpoint, latency=took, **decoded)
        left = timeout - (clock.monotonic() - began)
        if left <= 0:
            raise WaitTimeoutError(
                f"{submission.endpoint}: no answer at {submission.output} after {timeout:g} s",
                endpoint=submission.endpoint,
                hint=denied.message if denied else _waiting(submission),
            )
        yield Sleep(min(pause, left))
        pause = min(_LAST_POLL, pause * _GROWTH)


def _reason(text: str) -> str:
    """Return the message of a failure object, which is a JSON object with a Message, or only text."""
    try:
        return str(json.loads(text)["Message"])
    except (ValueError, TypeError, KeyError):
        return text


def _waiting(submission: Submission) -> str:
    advice = "call result() again to wait longer"
    if submission.failure is not None:
        return advice
    return (
        f"{advice}; if the model failed, no answer will come: the endpoint has no failure path, so failures are "
        "written nowhere but in the log; AsyncInference(failure='s3://…') sets one"
    )


def _check_body(endpoint: str, body: bytes) -> None:
    """Raise InvalidInputError if a payload cannot be sent in the request."""
    if body and len(body) <= _MAX_BODY:
        return
    problem = "is empty" if not body else f"has {len(body)} bytes, and a request takes at most {_MAX_BODY}"
    raise InvalidInputError(
        f"{endpoint}: the payload {problem}",
        hint="pass upload_to='s3://bucket/prefix/' to send it through S3" + ("" if body else ", or pass a payload"),
        endpoint=endpoint,
    )


def _read(address: str) -> Flow[tuple[bytes, str]]:
    uri = S3Uri.parse(address)
    found = yield Call(service="s3", operation="get_object", params={"Bucket": uri.bucket, "Key": uri.key})
    with found["Body"] as stream:
        return stream.read(), found.get("ContentType", "application/octet-stream")
