"""The short way of a warm call: one request, one successful answer, and nothing else to do.

Almost every call of a busy program is like that, and a flow costs several times as much as all of its steps. A call
takes the short way if its model answered a moment ago, its name is the target model itself, and no option needs more
than a header. `WarmCalls.prepare` returns None for any other call, which is the matter of the flow. If the request of
a prepared call is not answered successfully, the flow continues with what it met. A property test compares both ways.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk.errors import MMEError
from mme_sdk.runtime.cold_start.cold_start import learn_from_answer, was_cold
from mme_sdk.runtime.cold_start.memory import EndpointMemory, ModelMemory
from mme_sdk.runtime.options import DEFAULT_OPTIONS, InvokeOptions, check_options
from mme_sdk.runtime.payloads.codecs import OCTETS, Codecs
from mme_sdk.runtime.payloads.requests import encode_payload, new_invocation_id, request_of
from mme_sdk.runtime.payloads.row_counts import fit_rows, rows_of
from mme_sdk.runtime.retry.attempts import Settings
from mme_sdk.runtime.telemetry.hooks import AttemptMade, CallCompleted, emit, wanted
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from mme_sdk.types.reply import NOT_DECODED, Reply, reply_of

__all__ = ["WarmCall", "WarmCalls", "completed", "decode_answer"]

_MAX_CHECKED = 1024  # options that are remembered as valid; a program exceeds it only if it generates them


@attrs.define
class WarmCall:
    """A warm call that is ready to be sent.

    Attributes:
        request: The request.
        began: When the call began, by the clock.
        connect_timeout: Seconds for the connection.
        read_timeout: Seconds for the request and its answer.
        endpoint: What is known of the endpoint.
        model: What is known of the model.
        response_type: Type or codec that the answer is decoded to; None decodes by the answer's media type.
        rows: Number of rows of the payload; None if it is not a table.
    """

    request: InvokeRequest
    began: float
    connect_timeout: float
    read_timeout: float
    endpoint: EndpointMemory
    model: ModelMemory
    response_type: Any
    rows: int | None


class _Checked(NamedTuple):
    """Options that were checked, and what follows from them. `plain` options set no field of the request."""

    options: InvokeOptions
    connect_timeout: float
    read_timeout: float
    plain: bool


class WarmCalls:
    """Prepares and completes warm calls. The invoker sends their requests.

    Args:
        settings: What all calls of the invoker have in common.
        codecs: Encodes payloads and decodes answers.
        payload_limit: Largest body, in bytes.
    """

    def __init__(self, settings: Settings, codecs: Codecs, payload_limit: int) -> None:
        self._settings, self._codecs, self._payload_limit = settings, codecs, payload_limit
        self._memory, self._single_flight = settings.memory, settings.memory.single_flight
        self._monotonic = settings.clock.monotonic
        self._attempt_hooks = wanted(settings.hooks, AttemptMade)
        self._checked: dict[InvokeOptions, _Checked] = {}

    def prepare(self, endpoint: str, data: Any, model: Any, options: InvokeOptions) -> WarmCall | None:
        """Return a call that is ready to be sent; None if the call does not take the short way.

        Args:
            endpoint: Name of the endpoint.
            data: The payload.
            model: The model, as the caller names it.
            options: Options of the call.

        Raises:
            InvalidInputError: The payload cannot be encoded.
            PayloadTooLargeError: The encoded payload exceeds the limit.
        """
        known = self._memory.find(endpoint)
        if known is None:
            return None
        began = self._monotonic()
        if model is None:
            record = known.find("")
            if record is None:
                return None
        else:
            if type(model) is not str or "@" in model or (known.names and model in known.names):
                return None  # it may stand for another model
            record = known.find(model)
            if (
                record is None
                or began - record.last_answer >= known.warm_for
                or began < record.fresh_until
                or self._single_flight.busy((endpoint, model))
            ):
                return None
        # Equal options can differ in their types: True is equal to 1, and only one of them is valid.
        deadline, idempotent = options.deadline, options.idempotent
        if (idempotent is not False and idempotent is not True) or (
            deadline is not None and type(deadline) is not float
        ):
            return None
        try:
            checked = self._checked.get(options)
        except TypeError:
            return None  # the response type has no hash
        if checked is None:
            checked = self._check(options)
            if checked is None:
                return None
        options, connect_timeout, read_timeout, plain = checked
        if model is not None and options.inference_component is not None:
            return None  # they exclude each other
        if known.shared_pace is not None and not known.shared_pace.take_now(began):
            return None  # it waits for its turn
        rows = None
        if type(data) is bytes and len(data) <= self._payload_limit:
            body, media_type = data, options.content_type or OCTETS
        else:
            body, media_type = encode_payload(
                self._codecs, data, options.content_type, endpoint=endpoint, target=model, limit=self._payload_limit
            )
            rows = rows_of(data, media_type)
        if plain:
            request = InvokeRequest(
                endpoint=endpoint,
                body=body,
                content_type=media_type,
                target_model=model,
                invocation_id=new_invocation_id(),
            )
        else:
            request = request_of(options, endpoint=endpoint, target=model, body=body, content_type=media_type)
        return WarmCall(request, began, connect_timeout, read_timeout, known, record, options.response_type, rows)

    def _check(self, options: InvokeOptions) -> _Checked | None:
        """Check options that were not seen before, and remember them; None if the flow must refuse or handle them."""
        if options.sticky is not None:
            return None
        try:
            check_options(options)
            accept = None if options.response_type is None else self._codecs.accept(options.response_type)
        except MMEError:
            return None
        timeouts = self._settings.timeouts
        deadline = timeouts.deadline if options.deadline is None else options.deadline
        effective = options._replace(accept=accept) if options.accept is None else options
        plain = effective[:2] == (None, None) and effective[4:12] == DEFAULT_OPTIONS[4:12]
        checked = _Checked(effective, min(timeouts.connect, deadline), min(timeouts.read, deadline), plain)
        if len(self._checked) >= _MAX_CHECKED:
            self._checked.clear()
        self._checked[options] = checked
        return checked

    def complete(self, call: WarmCall, answer: InvokeResponse) -> Reply[Any] | None:
        """Record a successful answer and return the reply; None if the flow must handle the answer.

        Args:
            call: The call.
            answer: Its answer.
        """
        now = self._monotonic()
        headers = answer.headers
        if not 200 <= answer.status < 300 or "content-encoding" in headers:
            return None
        request, began, model, memory, hooks = call.request, call.began, call.model, self._memory, self._settings.hooks
        content_type = headers.get("content-type", OCTETS)
        value: Any = NOT_DECODED
        if call.response_type is not None or call.rows is not None or self._codecs.has(content_type):
            try:
                value = decode_answer(self._codecs, request, answer, call.response_type, call.rows)
            except MMEError:
                return None
        took = now - began
        if self._attempt_hooks:
            emit(self._attempt_hooks, _attempt_made(request, took, answer.status))
        cold = was_cold(memory, request, model, answered_before=model.loaded, took=took)
        learn_from_answer(memory, request, call.endpoint, model, began, now)
        if call.endpoint.shared_pace is not None:
            call.endpoint.shared_pace.answered()
        latency = self._monotonic() - began
        reply = reply_of(
            {
                "body": answer.body,
                "content_type": content_type,
                "_value": value,
                "model": request.target_model,
                "endpoint": request.endpoint,
                "cold": cold,
                "latency": latency,
                "_answered": (took, answer.status),
                "_headers": headers,
            }
        )
        if hooks:
            emit(hooks, completed(request, answer, attempts=1, cold=cold, took=latency))
        return reply


def _attempt_made(request: InvokeRequest, took: float, status: int) -> AttemptMade:
    return AttemptMade(
        endpoint=request.endpoint,
        model=request.target_model,
        number=1,
        attempt=Attempt(at=0.0, took=took, status=status),
        sent_bytes=len(request.body),
    )


def decode_answer(
    codecs: Codecs, request: InvokeRequest, answer: InvokeResponse, response_type: Any, rows: int | None
) -> Any:
    """Decode an answer as far as the caller asked for it, and compare the number of its results with that of the rows.

    Args:
        codecs: Decodes the answer.
        request: The request.
        answer: Its answer.
        response_type: Type or codec that the answer is decoded to. None decodes by an additional codec only.
        rows: Number of rows of the payload; None if it is not a table.

    Returns:
        The decoded value; `NOT_DECODED` if nobody asked for it yet.

    Raises:
        UndecodableReplyError: The answer cannot be decoded.
        RowCountError: The answer has another number of results.
    """
    content_type = answer.headers.get("content-type", OCTETS)
    decoded: dict[str, Any] = {}
    try:
        if response_type is not None or codecs.has(content_type):
            decoded["value"] = codecs.decode(answer.body, content_type, response_type)
        if rows is not None:
            fit_rows(rows, decoded, answer.body, content_type, request.target_model or request.endpoint)
    except MMEError as error:
        error.request_id = answer.headers.get("x-amzn-requestid")
        raise
    return decoded.get("value", NOT_DECODED)


def completed(
    request: InvokeRequest, answer: InvokeResponse, *, attempts: int, cold: bool | None, took: float
) -> CallCompleted:
    """Return the event of a call that ended with an answer.

    Args:
        request: The request.
        answer: Its answer.
        attempts: Number of requests of the call.
        cold: Whether the call met a model that was not loaded.
        took: Seconds since the call began.
    """
    return CallCompleted(
        endpoint=request.endpoint,
        model=request.target_model,
        attempts=attempts,
        cold=cold,
        took=took,
        variant=answer.headers.get("x-amzn-invoked-production-variant"),
        received_bytes=len(answer.body),
        sent_bytes=len(request.body),
    )
