"""Asynchronous inference of single-model endpoints: upload, submit, and a result to wait for."""

from __future__ import annotations

import uuid
from typing import Any

import attrs

from mme_sdk._effects import Call, Flow, Sleep
from mme_sdk.aws.session import Aws
from mme_sdk.errors import (
    AccessDeniedError,
    InvalidInputError,
    ModelServerError,
    NotFoundError,
    WaitTimeoutError,
)
from mme_sdk.protocols import AsyncClock, Clock
from mme_sdk.runtime.options import check_field
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.payloads.requests import check_endpoint
from mme_sdk.runtime.payloads.row_counts import fit_rows, rows_of
from mme_sdk.types.reply import Reply
from mme_sdk.types.s3uri import S3Uri

__all__ = ["AsyncQueuedInvocation", "QueuedInvocation", "Submission", "submit"]

_FIRST_POLL, _LAST_POLL, _GROWTH = 0.2, 10.0, 1.5  # seconds


@attrs.frozen(kw_only=True)
class Submission:
    """A request that SageMaker has taken; it holds no connection, and can be stored and picked up later.

    Attributes:
        endpoint: The endpoint's name.
        inference_id: SageMaker's or the caller's id of the request.
        input: Where the payload is.
        output: Where the answer will be.
        failure: Where it will say why there is none; None where the endpoint has no such place.
        rows: Rows of the payload, to count the answers; None where it is not a table.
    """

    endpoint: str
    inference_id: str
    input: str
    output: str
    failure: str | None = None
    rows: int | None = None


def submit(
    codecs: Codecs,
    endpoint: str,
    data: Any,
    *,
    upload_to: str | None = None,
    content_type: str | None = None,
    accept: str | None = None,
    inference_id: str | None = None,
    custom_attributes: str | None = None,
    time_to_live: int | None = None,
    invocation_timeout: int | None = None,
    filename: str | None = None,
    output_path_extension: str | None = None,
) -> Flow[Submission]:
    """Upload a payload and submit it.

    Args:
        codecs: How payloads are encoded.
        endpoint: The endpoint's name.
        data: The payload, or the `s3://` address of one that is there already.
        upload_to: S3 prefix for the payload.
        content_type: Media type of the payload.
        accept: Media type wanted back.
        inference_id: Id of the request.
        custom_attributes: Passed to the container as they are.
        time_to_live: Seconds that the request may wait in SageMaker's queue, 60 to 21600.
        invocation_timeout: Seconds that the model may take, 1 to 3600.
        filename: Name of the answer's object below the endpoint's output path.
        output_path_extension: Folders between the endpoint's output path and the answer's object.

    Returns:
        A flow that ends in what was submitted.

    Raises:
        InvalidInputError: There is no place for the payload, or an option has a value that AWS would refuse.
    """
    check_endpoint(endpoint)
    for name, text in (
        ("content_type", content_type),
        ("accept", accept),
        ("inference_id", inference_id),
        ("custom_attributes", custom_attributes),
        ("filename", filename),
        ("output_path_extension", output_path_extension),
    ):
        if text is not None:
            check_field(name, text)
    for name, seconds, least, most in (
        ("time_to_live", time_to_live, 60, 21600),
        ("invocation_timeout", invocation_timeout, 1, 3600),
    ):
        if seconds is not None and (type(seconds) is not int or not least <= seconds <= most):
            raise InvalidInputError(
                f"{name} must be a whole number of seconds from {least} to {most}, not {seconds!r}", endpoint=endpoint
            )
    rows: int | None = None
    placed = isinstance(data, S3Uri) or (isinstance(data, str) and data.startswith("s3://"))
    if placed and upload_to is not None:
        raise InvalidInputError(
            f"upload_to={upload_to!r}: the payload is in S3 already, at {data}",
            hint="leave upload_to out; to send that address as the payload, encode it to bytes",
            endpoint=endpoint,
        )
    if placed:
        source = S3Uri.parse(str(data))
    elif upload_to is None:
        raise InvalidInputError(
            f"{endpoint}: asynchronous inference reads its payload from S3", hint="pass upload_to='s3://bucket/prefix/'"
        )
    else:
        body, content_type = codecs.encode(data, content_type)
        rows = rows_of(data, content_type)
        source = S3Uri.parse(upload_to).join(uuid.uuid4().hex)
        yield Call(
            service="s3",
            operation="put_object",
            params={"Bucket": source.bucket, "Key": source.key, "Body": body, "ContentType": content_type},
            endpoint=endpoint,
        )
    optional = {
        "ContentType": content_type,
        "Accept": accept,
        "InferenceId": inference_id,
        "CustomAttributes": custom_attributes,
        "RequestTTLSeconds": time_to_live,
        "InvocationTimeoutSeconds": invocation_timeout,
        "Filename": filename,
        "S3OutputPathExtension": output_path_extension,
    }
    answer = yield Call(
        service="sagemaker-runtime",
        operation="invoke_endpoint_async",
        params={"EndpointName": endpoint, "InputLocation": str(source)}
        | {name: value for name, value in optional.items() if value is not None},
        endpoint=endpoint,
        replay=False,
    )
    return Submission(
        endpoint=endpoint,
        inference_id=answer["InferenceId"],
        input=str(source),
        output=answer["OutputLocation"],
        failure=answer.get("FailureLocation"),
        rows=rows,
    )


def result_of(
    codecs: Codecs, submission: Submission, clock: Clock | AsyncClock, timeout: float, response_type: Any
) -> Flow[Reply[Any]]:
    """Poll for the answer, or for why there is none.

    Args:
        codecs: How answers are decoded.
        submission: What was submitted.
        clock: Tells the time.
        timeout: Seconds to wait.
        response_type: What to decode the answer to.

    Returns:
        A flow that ends in the answer.

    Raises:
        ModelServerError: The model failed; the message is what was written to the failure location.
        RowCountError: The answer has more or fewer rows than the payload.
        WaitTimeoutError: There is no answer yet.
    """
    began = clock.monotonic()
    pause = _FIRST_POLL
    denied: AccessDeniedError | None = None
    while True:
        for place, good in ((submission.output, True), (submission.failure, False)):
            if place is None:
                continue
            try:
                body, content_type = yield from _read(place)
            except NotFoundError:
                continue
            except AccessDeniedError as error:
                denied = error  # without s3:ListBucket, S3 says so of what is not there yet
                continue
            if not good:
                raise ModelServerError(
                    f"{submission.endpoint}: asynchronous inference failed: {body[:1000].decode(errors='replace')}",
                    endpoint=submission.endpoint,
                    original_message=body.decode(errors="replace"),
                    hint=f"the payload is {submission.input}",
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
                hint=denied.message if denied else "it may come yet: ask again with the same submission",
            )
        yield Sleep(min(pause, left))
        pause = min(_LAST_POLL, pause * _GROWTH)


def _read(place: str) -> Flow[tuple[bytes, str]]:
    where = S3Uri.parse(place)
    found = yield Call(service="s3", operation="get_object", params={"Bucket": where.bucket, "Key": where.key})
    with found["Body"] as stream:
        return stream.read(), found.get("ContentType", "application/octet-stream")


@attrs.frozen
class QueuedInvocation:
    """An asynchronous inference on its way.

    Attributes:
        submission: What was submitted.
    """

    submission: Submission
    _aws: Aws = attrs.field(repr=False)
    _codecs: Codecs = attrs.field(repr=False, factory=Codecs)

    def result(self, *, timeout: float = 900.0, response_type: Any = None) -> Reply[Any]:
        """Wait for the answer.

        Args:
            timeout: Seconds.
            response_type: What to decode the answer to.

        Returns:
            The answer.

        Raises:
            ModelServerError: The model failed.
            WaitTimeoutError: There is no answer yet; ask again.
        """
        return self._aws.run(result_of(self._codecs, self.submission, self._aws.clock, timeout, response_type))


@attrs.frozen
class AsyncQueuedInvocation:
    """`QueuedInvocation`, awaited.

    Attributes:
        submission: What was submitted.
    """

    submission: Submission
    _aws: Aws = attrs.field(repr=False)
    _codecs: Codecs = attrs.field(repr=False, factory=Codecs)

    async def result(self, *, timeout: float = 900.0, response_type: Any = None) -> Reply[Any]:
        """Wait for the answer; see `QueuedInvocation.result`."""
        steps = result_of(self._codecs, self.submission, self._aws.async_clock, timeout, response_type)
        return await self._aws.arun(steps)
