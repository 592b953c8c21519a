"""The attempts of one invocation: whether and when to send its request again before the deadline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk._flows.effects import Flow, Sleep
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import (
    MMEError,
    ModelInputError,
    ModelNotReadyError,
    OutcomeUnknownError,
    ThrottledError,
    TransportError,
    UndecodableReplyError,
)
from mme_sdk.protocols import AsyncClock, Clock, Rng
from mme_sdk.runtime.cold_start.cold_start import ColdStartWait, learn_from_answer, was_cold
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Send
from mme_sdk.runtime.retry.answers import ErrorFields, ErrorKind, classify, error_fields, error_of, failed_to_load
from mme_sdk.runtime.retry.budgets import FAULT_COST, THROTTLE_COST
from mme_sdk.runtime.telemetry.hooks import AttemptMade, Hook, RetryPlanned, emit
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

__all__ = ["Attempts", "Settings"]

_PACED = 0.1  # seconds; longest drawn wait of a throttled call that waits for its turn too
_QUEUE_FULL = 503
_RATE_CHECK = 0.5  # seconds after which a waiting call looks at the rate again
_TIMED_OUT = 0.95  # share of the read time-out; an attempt that fails earlier lost its connection


@attrs.frozen(kw_only=True)
class Settings:
    """What all calls of an invoker have in common.

    Attributes:
        timeouts: Time-outs.
        retry: When a failed request is sent again.
        clock: Reads the time.
        rng: Randomness for jitter.
        memory: What is known of endpoints and models.
        hooks: Functions that receive events; none by default.
    """

    timeouts: Timeouts
    retry: RetryPolicy
    clock: Clock | AsyncClock
    rng: Rng
    memory: Memory
    hooks: Sequence[Hook] = ()


class Attempts:
    """The attempts of one invocation; `run` makes them.

    Args:
        settings: What all calls have in common.
        request: The request, the same for each attempt.
        began: When the call began, by the clock.
        deadline: Seconds that the call may take.
        idempotent: Whether the model may run twice; False by default.
        patient: Whether throttling delays the call until its deadline, and never fails it earlier; False by default.

    Attributes:
        history: The attempts made so far.
    """

    __slots__ = (
        "_answered_at",
        "_answered_before",
        "_cold_start",
        "_faults",
        "_throttles",
        "_told_cold",
        "began",
        "deadline",
        "endpoint",
        "ends",
        "history",
        "idempotent",
        "model",
        "patient",
        "request",
        "settings",
    )

    def __init__(
        self,
        settings: Settings,
        request: InvokeRequest,
        *,
        began: float,
        deadline: float,
        idempotent: bool = False,
        patient: bool = False,
    ) -> None:
        self.settings = settings
        self.request = request
        self.began = began
        self.deadline = deadline
        self.ends = began + deadline
        self.idempotent = idempotent
        self.patient = patient
        self.endpoint = settings.memory.endpoint(request.endpoint)
        # A single-model endpoint has one model, which is loaded before the endpoint is in service.
        self.model = self.endpoint.model(request.target_model or "")
        self.history: list[Attempt] = []
        self._cold_start: ColdStartWait | None = None
        self._throttles = 0
        self._faults = 0
        self._told_cold = False
        self._answered_at: float | None = None
        self._answered_before = self.model.loaded

    def of_model(self, target: str, size: int | None) -> Attempts:
        """Return the attempts of the same call for another target model. The history continues.

        Args:
            target: The target model.
            size: Bytes of its archive, if known.
        """
        request = attrs.evolve(self.request, target_model=target)
        other = Attempts(
            self.settings,
            request,
            began=self.began,
            deadline=self.deadline,
            idempotent=self.idempotent,
            patient=self.patient,
        )
        other.history = self.history
        if size is not None:
            other.model.size = size
        return other

    @property
    def cold(self) -> bool | None:
        """Whether the call met a model that was not loaded; None if this is not known.

        SageMaker says so only if it does not hold the request until the model is loaded. A model was loaded if it
        answered before and the whole call took less time than a load. Anything else can be a load or a slow answer.
        """
        if self._told_cold:
            return True
        if self._answered_at is None:
            return None
        return was_cold(
            self.settings.memory,
            self.request,
            self.model,
            answered_before=self._answered_before,
            took=self._answered_at - self.began,
        )

    def run(self, outcome: InvokeResponse | Exception | None = None) -> Flow[InvokeResponse]:
        """Send until there is a successful answer, a permanent error, or no time left.

        Args:
            outcome: What the first request met, if it was sent when the call began, to a model that was loaded. None
                if no request was sent.

        Returns:
            The successful answer.

        Raises:
            MMEError: There is none. `attempt_history` lists the attempts.
        """
        settings, endpoint = self.settings, self.endpoint
        clock, timeouts = settings.clock, settings.timeouts
        target = self.request.target_model
        loaded = self.began - self.model.last_answer < endpoint.warm_for
        warm = (
            outcome is not None
            or target is None
            or (
                # Callers that waited for the load have priority over this one.
                loaded
                and self.began >= self.model.fresh_until
                and not settings.memory.single_flight.busy((endpoint.name, target))
            )
        )
        try:
            if not warm:
                self._refuse_blocked()
                self._cold_start = self._join_cold_start(ready=loaded)
                if not (yield from self._cold_start.wait_for_turn()):
                    raise self._not_ready(None)
            while True:
                if outcome is None:
                    yield from self._wait_for_turn()
                at = self.began if outcome is not None else clock.monotonic()
                left = self.ends - at
                if left <= 0:
                    raise self._not_ready(None)
                read_timeout = min(left, timeouts.read)
                loaded = warm or (self._cold_start is not None and self._cold_start.released)
                try:
                    if outcome is None:
                        answer: InvokeResponse = yield Send(self.request, min(timeouts.connect, left), read_timeout)
                    else:
                        first, outcome = outcome, None
                        answer = _result(first)
                except TransportError as error:
                    now = clock.monotonic()
                    self._record(at, now, None, type(error).__name__)
                    failure: MMEError = error
                    kind = self._classify_silence(error, loaded, now - at >= _TIMED_OUT * read_timeout)
                else:
                    now = clock.monotonic()
                    if 200 <= answer.status < 300:
                        self._record(at, now, answer.status, None)
                        self._succeeded(at, now)
                        if self.endpoint.shared_pace is not None:
                            self.endpoint.shared_pace.answered()
                        elif self.patient:
                            self.endpoint.pace.answered(now)
                        if "content-encoding" in answer.headers:
                            self._check_coding(answer)
                        return answer
                    fields = error_fields(answer)
                    self._record(at, now, answer.status, fields.code or None)
                    failure = error_of(
                        fields, endpoint=self.request.endpoint, model=self.request.target_model, now=clock.time()
                    )
                    kind = classify(fields)
                    self._told_cold = self._told_cold or kind is ErrorKind.COLD
                    if kind is ErrorKind.FINAL:
                        self._learn_from(failure, fields, at, now)
                if kind is ErrorKind.FINAL:
                    raise failure
                if kind is ErrorKind.COLD:
                    warm = False
                    if self._cold_start is None:
                        self._cold_start = self._join_cold_start()
                    if not (yield from self._cold_start.found_cold(at, now)):
                        raise self._not_ready(failure)
                else:
                    yield Sleep(self._backoff(kind, failure, at, now))
                self.history[-1] = attrs.evolve(self.history[-1], waited=clock.monotonic() - now)
        finally:
            if self._cold_start is not None:
                yield from self._cold_start.leave()

    def describe(self, error: MMEError) -> MMEError:
        """Add the endpoint, the model and the attempts to an error.

        Args:
            error: The error.

        Returns:
            The same error.
        """
        error.attempt_history = tuple(self.history)
        error.endpoint = self.request.endpoint
        error.model = self.request.target_model
        return error

    def _join_cold_start(self, *, ready: bool = False) -> ColdStartWait:
        settings = self.settings
        return ColdStartWait(
            settings.memory,
            endpoint=self.request.endpoint,
            target_model=self.request.target_model,
            clock=settings.clock,
            rng=settings.rng,
            hooks=settings.hooks,
            read_timeout=settings.timeouts.read,
            began=self.began,
            deadline=self.deadline,
            ready=ready,
        )

    def _not_ready(self, last: MMEError | None) -> ModelNotReadyError:
        """Return the error of a call whose deadline leaves no time for another attempt.

        Args:
            last: The error of the last attempt, if this call made one.
        """
        subject = self.request.endpoint
        if self.request.target_model is not None:
            subject = f"{subject} ({self.request.target_model})"
        ready_in = None if self._cold_start is None else self._cold_start.ready_in()
        estimate = "" if ready_in is None else f"; it is expected to be loaded in about {ready_in:.1f} s"
        attempts = len(self.history)
        return ModelNotReadyError(
            f"{subject} was not loaded within the deadline of {self.deadline:g} s ({attempts} attempts){estimate}",
            attempts=attempts,
            ready_in=ready_in,
            hint="pass a longer deadline=, or load the model first with warm()",
            status=None if last is None else last.status,
            code=None if last is None else last.code,
            request_id=None if last is None else last.request_id,
            sent=attempts > 0,
        )

    def _emit_retry(self, reason: Literal["throttled", "faulty"], wait: float) -> None:
        if self.settings.hooks:
            emit(
                self.settings.hooks,
                RetryPlanned(endpoint=self.request.endpoint, model=self.request.target_model, reason=reason, wait=wait),
            )

    def _record(self, at: float, now: float, status: int | None, code: str | None) -> None:
        attempt = Attempt(at=at - self.began, took=now - at, status=status, code=code)
        self.history.append(attempt)
        if self.settings.hooks:
            emit(
                self.settings.hooks,
                AttemptMade(
                    endpoint=self.request.endpoint,
                    model=self.request.target_model,
                    number=len(self.history),
                    attempt=attempt,
                    sent_bytes=len(self.request.body),
                ),
            )

    def _succeeded(self, at: float, now: float) -> None:
        self._answered_at = now
        self.model.busy_since = None
        if self._cold_start is None:
            learn_from_answer(self.settings.memory, self.request, self.endpoint, self.model, at, now)
        else:
            self._cold_start.answered(at, now)
            self.endpoint.succeeded(None)

    def _classify_silence(self, error: TransportError, loaded: bool, timed_out: bool) -> ErrorKind:
        """Classify an attempt without a complete answer."""
        if not isinstance(error, OutcomeUnknownError):
            return ErrorKind.FAULTY
        if timed_out and not loaded and not error.answer_began:
            # A loading model has not run: the server held the request until the time-out.
            return ErrorKind.COLD
        if self.idempotent:
            return ErrorKind.FAULTY
        if error.hint is None:
            error.hint = "the model may have run; pass idempotent=True if it may run twice"
        return ErrorKind.FINAL

    def _check_coding(self, answer: InvokeResponse) -> None:
        coding = answer.headers["content-encoding"]
        if coding.lower() not in ("", "identity"):
            raise UndecodableReplyError(
                f"{self.request.endpoint}: the answer has Content-Encoding {coding[:40]!r}, which was not requested",
                hint="the model ran; let the container answer without Content-Encoding, or decode `body`",
                body=answer.body,
                content_type=answer.headers.get("content-type", ""),
                request_id=answer.headers.get("x-amzn-requestid"),
            )

    def _learn_from(self, error: MMEError, fields: ErrorFields, at: float, now: float) -> None:
        """Record what a permanent error says about the model."""
        if self._cold_start is None:
            return
        if isinstance(error, ModelInputError):
            self._cold_start.answered(at, now)  # the container rejected the payload, so the model is loaded
        elif failed_to_load(fields):
            model, cold = self.model, self.settings.memory.cold
            model.failures += 1
            if model.failures >= cold.failed_loads:
                model.blocked_until, model.blocked_by = now + cold.failed_rest, fields

    def _refuse_blocked(self) -> None:
        model = self.model
        rest = model.blocked_until - self.began
        if rest <= 0 or model.blocked_by is None:
            return
        error = error_of(model.blocked_by, endpoint=self.request.endpoint, model=self.request.target_model)
        error.sent, error.retry_after = False, rest
        error.hint = (
            f"nothing was sent: the model failed to load {model.failures} times in a row; calls are sent again in "
            f"{rest:.0f} s"
        )
        raise error

    def _wait_for_turn(self) -> Flow[None]:
        """Wait for the turn of this call: among all calls of all processes that share a rate, or of all batches."""
        pace, shared, monotonic = self.endpoint.pace, self.endpoint.shared_pace, self.settings.clock.monotonic
        if shared is not None:
            if not (yield from shared.wait_for_turn(monotonic, self.ends)):
                raise self._no_turn("the rate that processes share had no turn", "a higher rate to Shared")
        elif self.patient:
            turn = pace.take()
            while wait := pace.wait(turn, monotonic()):
                if monotonic() >= self.ends:
                    raise self._no_turn("it throttled calls or was busy", "a lower max_concurrency to BatchSettings")
                yield Sleep(min(wait, _RATE_CHECK, self.ends - monotonic()))

    def _no_turn(self, what: str, instead: str) -> ThrottledError:
        return ThrottledError(
            f"{self.request.endpoint}: {what} until the deadline of {self.deadline:g} s passed",
            hint=f"pass a longer deadline=, or {instead}",
            sent=bool(self.history),
        )

    def _backoff(self, kind: ErrorKind, error: MMEError, at: float, now: float) -> float:
        """Return the seconds to wait after throttling or a fault.

        Raises:
            MMEError: `error`, if the attempts, the budget or the time are used up.
        """
        policy = self.settings.retry
        reason: Literal["throttled", "faulty"]
        full = self.patient and kind is ErrorKind.BUSY and getattr(error, "original_status", None) == _QUEUE_FULL
        if kind is ErrorKind.THROTTLED or (full and self.model.queue_is_full(now)):
            reason, base, cap, count = "throttled", policy.throttle_base, policy.throttle_cap, self._throttles
            self._throttles += 1
            if self.endpoint.shared_pace is not None:
                self.endpoint.shared_pace.throttled(sent=at)
            elif self.patient:
                self.endpoint.pace.throttled(sent=at, now=now)
            if self.patient:
                base, cap = min(base, _PACED), min(cap, _PACED)  # the pace does the rest
            elif not self.endpoint.throttles.pay(THROTTLE_COST):
                raise _hinted(error, "too many calls to this endpoint are throttled; its retry budget is used up")
        else:
            reason, base, cap, count = "faulty", policy.fault_base, policy.fault_cap, self._faults
            self._faults += 1
            allowed = self.endpoint.breaker.fault(now)
            if self._faults >= policy.fault_attempts:
                raise error
            if not allowed:
                raise _hinted(error, "this endpoint failed many times in a row; retries are stopped for a while")
            if not self.endpoint.faults.pay(FAULT_COST):
                raise _hinted(error, "too many calls to this endpoint fail; its retry budget is used up")
        limit = min(cap, base * 2 ** min(count, 32))
        wait = max(self.settings.rng.uniform(0.0, limit), error.retry_after or 0.0)
        if now + wait >= self.ends:
            raise _hinted(error, f"the deadline of {self.deadline:g} s leaves no time for another attempt")
        self._emit_retry(reason, wait)
        return wait


def _hinted(error: MMEError, hint: str) -> MMEError:
    error.hint = hint if error.hint is None else f"{error.hint}; {hint}"
    return error


def _result(outcome: InvokeResponse | Exception) -> InvokeResponse:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
