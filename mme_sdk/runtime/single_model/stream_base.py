"""Streamed answers of single-model endpoints: the request, and what both stream classes share."""

from __future__ import annotations

import json
from typing import Any

from mme_sdk._flows.cancellation import reading, shut_body
from mme_sdk._flows.effects import Call, Flow
from mme_sdk.aws.session import Aws
from mme_sdk.aws.travel import refuse_pickle
from mme_sdk.errors import (
    InvalidInputError,
    MMEError,
    ModelServerError,
    OutcomeUnknownError,
    ServiceError,
    UndecodableReplyError,
)
from mme_sdk.runtime.diagnostics import with_status
from mme_sdk.runtime.options import NEW_SESSION, InvokeOptions, check_unsupported
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.payloads.requests import build_request
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["DONE", "END", "ReplyStreamBase", "open_stream", "stream_call", "stream_request"]

END = object()  # returned by `_pull` after the last chunk
DONE = "[DONE]"  # data of the event with which chat models end
# Fields of InvokeRequest, and parameters of InvokeEndpointWithResponseStream.
_PARAMETERS = {
    "accept": "Accept",
    "target_variant": "TargetVariant",
    "target_container": "TargetContainerHostname",
    "inference_component": "InferenceComponentName",
    "session_id": "SessionId",
    "inference_id": "InferenceId",
    "custom_attributes": "CustomAttributes",
    "prefix_aware_id": "PrefixAwareId",
}
_UNSUPPORTED = ("deadline", "response_type", "enable_explanations", "idempotent", "sticky", "prefix")


def stream_request(
    codecs: Codecs, data: Any, options: InvokeOptions, *, endpoint: str, payload_limit: int
) -> InvokeRequest:
    """Return the checked request of a streamed invocation.

    Args:
        codecs: Encodes the payload.
        data: The payload.
        options: Options of the call.
        endpoint: Name of the endpoint.
        payload_limit: Largest payload, in bytes.

    Raises:
        InvalidInputError: An argument or an option is invalid, or a stream does not support the option.
        PayloadTooLargeError: The encoded payload is larger than the limit.
    """
    check_unsupported("invoke_stream", options, _UNSUPPORTED)
    if options.session_id == NEW_SESSION:
        raise InvalidInputError(
            f"session_id={NEW_SESSION}: a stream cannot open a session",
            hint="open it with invoke(), and pass the reply's new_session_id",
            endpoint=endpoint,
        )
    return build_request(codecs, data, options, endpoint=endpoint, target=None, payload_limit=payload_limit)


def stream_call(request: InvokeRequest) -> Call:
    """Return the API call of a streamed invocation. It has no target model."""
    optional = {parameter: getattr(request, field) for field, parameter in _PARAMETERS.items()}
    return Call(
        service="sagemaker-runtime",
        operation="invoke_endpoint_with_response_stream",
        params={"EndpointName": request.endpoint, "Body": request.body, "ContentType": request.content_type}
        | {name: value for name, value in optional.items() if value is not None},
        endpoint=request.endpoint,
        replay=False,
    )


def open_stream(request: InvokeRequest) -> Flow[dict[str, Any]]:
    """Send the request of a streamed invocation and return the answer, whose `Body` is the event stream."""
    return (yield from with_status(_open(request)))


def _open(request: InvokeRequest) -> Flow[dict[str, Any]]:
    answer: dict[str, Any] = yield stream_call(request)
    return answer


class ReplyStreamBase:
    """What `ReplyStream` and `AsyncReplyStream` share.

    Attributes:
        endpoint: Name of the endpoint.
        content_type: Media type of the whole answer.
        variant: Production variant that answers. None if SageMaker does not name it.
        custom_attributes: Custom attributes that the container returned. None if there are none.
        request_id: AWS request id.
    """

    def __init__(self, endpoint: str, answer: dict[str, Any], aws: Aws) -> None:
        self._aws = aws
        self.endpoint = endpoint
        self.content_type: str = answer.get("ContentType") or "application/octet-stream"
        self.variant: str | None = answer.get("InvokedProductionVariant")
        self.custom_attributes: str | None = answer.get("CustomAttributes")
        self.request_id: str | None = answer.get("ResponseMetadata", {}).get("RequestId")
        self._events = iter(answer["Body"])
        self._body = answer["Body"]
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        raise refuse_pickle("a stream of an answer", "read it, and pickle its chunks")

    def _close(self) -> None:
        self._closed = True
        shut_body(self._body)
        self._body.close()

    def _pull(self) -> Any:
        """Return the next chunk, or END. Blocks."""
        from mme_sdk.aws.error_translation import translating

        try:
            with (
                reading(self._body),
                translating(service="sagemaker-runtime", operation="response stream", endpoint=self.endpoint),
            ):
                for event in self._events:
                    if "PayloadPart" in event:
                        return event["PayloadPart"]["Bytes"]
        except MMEError as error:
            raise self._stream_error(error) from error.__cause__
        except Exception as error:  # urllib3's and botocore's parsers have exceptions of their own
            raise OutcomeUnknownError(
                f"{self.endpoint}: the stream ended before the answer was complete: {error}", endpoint=self.endpoint
            ) from error
        return END

    def _stream_error(self, error: MMEError) -> MMEError:
        fields: dict[str, Any] = {"endpoint": self.endpoint, "code": error.code, "request_id": error.request_id}
        if error.code == "ModelStreamError":
            return ModelServerError(f"{self.endpoint}: the model failed during its answer: {error.message}", **fields)
        if error.code == "InternalStreamFailure":
            return ServiceError(f"{self.endpoint}: SageMaker failed during the answer: {error.message}", **fields)
        return error

    @property
    def _has_events(self) -> bool:
        return self.content_type.partition(";")[0].strip().lower() == "text/event-stream"

    def _check_events(self) -> None:
        if not self._has_events:
            raise UndecodableReplyError(
                f"{self.endpoint}: events() reads answers of type text/event-stream, not {self.content_type}",
                body=b"",
                content_type=self.content_type,
                endpoint=self.endpoint,
            )

    def _json_value(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UndecodableReplyError(
                f"{self.endpoint}: a line of the stream is not JSON: {text[:60]!r}",
                body=text,
                content_type=self.content_type,
                endpoint=self.endpoint,
            ) from error
