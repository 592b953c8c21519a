"""The attempts of one invocation: whether and when to try again, until its one deadline."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Literal

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import MMEError, ModelInputError, OutcomeUnknownError, TransportError, UndecodableReplyError
from mme_sdk.protocols import AsyncClock, Clock, Rng
from mme_sdk.runtime.cold_start.cold_start import ColdWait, not_ready, settle
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.cold_start.single_flight import Role
from mme_sdk.runtime.effects import Hedge, Pause, Send, Step
from mme_sdk.runtime.retry.answers import ErrorFields, Meaning, error_fields, error_of, failed_to_load, meaning_of
from mme_sdk.runtime.retry.budgets import FAULT_COST, THROTTLE_COST, Tail
from mme_sdk.runtime.telemetry.hooks import AttemptMade, Hook, RetryPlanned, emit
from mme_sdk.runtime.transport_interface import InvokeAnswer, InvokeRequest

__all__ = ["Attempts", "Settings"]

_TIMED_OUT = 0.95  # of the read time-out; a connection that breaks earlier was dropped


@attrs.frozen(kw_only=True)
class Settings:
    """What all calls of an invoker have in common.

    Attributes:
        timeouts: Time-outs.
        retry: When a request that failed is sent again.
        clock: Tells the time.
        rng: Randomness for jitter.
        memory: What is known of endpoints and models.
        hooks: Who is told what happens.
    """

    timeouts: Timeouts
    retry: RetryPolicy
    clock: Clock | AsyncClock
    rng: Rng
    memory: Memory
    hooks: Sequence[Hook] = ()


class Attempts:
    """One invocation on its way; `run` is its course.

    Args:
        settings: What all calls have in common.
        request: What to send, each time.
        began: When the call began, by the clock.
        deadline: Seconds it may take from then.
        idempotent: Whether the model may run twice.
    """

    __slots__ = (
        "_faults",
        "_hedged_at",
        "_throttles",
        "began",
        "cold_wait",
        "deadline",
        "endpoint",
        "ends",
        "history",
        "idempotent",
        "model",
        "request",
        "settings",
    )

    def __init__(
        self, settings: Settings, request: InvokeRequest, *, began: float, deadline: float, idempotent: bool = False
    ) -> None:
        self.settings = settings
        self.request = request
        self.began = began
        self.deadline = deadline
        self.ends = began + deadline
        self.idempotent = idempotent
        self.endpoint = settings.memory.endpoint(request.endpoint)
        # A single-model endpoint is one model, loaded before the endpoint came into service.
        self.model = self.endpoint.model(request.target_model or "")
        self.history: list[Attempt] = []
        self.cold_wait: ColdWait | None = None
        self._throttles = 0
        self._faults = 0
        self._hedged_at: float | None = None

    @property
    def cold(self) -> bool:
        """Whether the call met a loading model, as far as can be told."""
        return self.cold_wait is not None and self.cold_wait.met

    def run(self) -> Generator[Step, Any, InvokeAnswer]:
        """Attempt until there is a good answer, an error that stays, or no time.

        Returns:
            The good answer.

        Raises:
            MMEError: There is none; `attempt_history` says what each attempt met.
        """
        settings, endpoint = self.settings, self.endpoint
        clock, timeouts = settings.clock, settings.timeouts
        target = self.request.target_model
        loaded = self.began - self.model.last_ok < endpoint.horizon
        warm = target is None or (
            # Those who waited for it go first, and not all at once.
            loaded
            and self.began >= self.model.fresh_until
            and not settings.memory.flights.busy((endpoint.name, target))
        )
        try:
            if not warm:
                self._refuse_blocked()
                self.cold_wait = ColdWait(self, ready=loaded)
                yield from self.cold_wait.may_act()
            while True:
                at = clock.monotonic()
                left = self.ends - at
                if left <= 0:
                    raise not_ready(self, None)
                read_timeout = min(left, timeouts.read)
                # Whoever goes after the leader's answer knows as much as who was answered before.
                loaded = warm or (self.cold_wait is not None and self.cold_wait.seat.role is Role.GOES)
                try:
                    send = Send(self.request, min(timeouts.connect, left), read_timeout)
                    answer: InvokeAnswer = yield self._hedged(send) if settings.retry.hedge and warm else send
                except TransportError as error:
                    now = clock.monotonic()
                    self._record(at, now, None, type(error).__name__)
                    failure: MMEError = error
                    meaning = self._meaning_of_silence(error, loaded, now - at >= _TIMED_OUT * read_timeout)
                else:
                    now = clock.monotonic()
                    if 200 <= answer.status < 300:
                        self._record(at, now, answer.status, None)
                        self._answered(at, now)
                        if "content-encoding" in answer.headers:
                            self._check_coding(answer)
                        return answer
                    fields = error_fields(answer)
                    self._record(at, now, answer.status, fields.code or None)
                    failure = error_of(
                        fields, endpoint=self.request.endpoint, model=self.request.target_model, now=clock.time()
                    )
                    meaning = meaning_of(fields)
                    if meaning is Meaning.FINAL:
                        self._learn_from(failure, fields, at, now)
                if meaning is Meaning.FINAL:
                    raise failure
                if meaning is Meaning.COLD:
                    warm = False
                    if self.cold_wait is None:
                        self.cold_wait = ColdWait(self)
                    yield from self.cold_wait.found_cold(failure, at, now)
                else:
                    yield Pause(self._backoff(meaning, failure, now))
                self.history[-1] = attrs.evolve(self.history[-1], waited=clock.monotonic() - now)
        finally:
            if self.cold_wait is not None:
                yield from self.cold_wait.leave()

    def told(self, error: MMEError) -> MMEError:
        """The error, with what this call knows."""
        error.attempt_history = tuple(self.history)
        error.endpoint = self.request.endpoint
        error.model = self.request.target_model
        return error

    def _hedged(self, send: Send) -> Send | Hedge:
        """The request, sent a second time if it is unusually slow, where that does no harm."""
        unusual = None if self.model.tail is None else self.model.tail.unusual
        if not self.idempotent or self.history or unusual is None or unusual >= send.read_timeout:
            return send
        self.endpoint.hedges.earn(self.settings.retry.hedge)
        return Hedge(send, unusual, self._may_hedge)

    def _may_hedge(self) -> bool:
        if not self.endpoint.hedges.pay():
            return False
        self._hedged_at = self.settings.clock.monotonic()
        if self.settings.hooks:
            emit(
                self.settings.hooks,
                RetryPlanned(endpoint=self.request.endpoint, model=self.request.target_model, reason="slow", wait=0.0),
            )
        return True

    def _record(self, at: float, now: float, status: int | None, code: str | None) -> None:
        if self._hedged_at is not None:
            # Which of the two was answered is not told; the other one's end is nobody's concern.
            hedged_at, self._hedged_at = self._hedged_at, None
            self._record(hedged_at, now, None, "Hedged")
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

    def _answered(self, at: float, now: float) -> None:
        model, endpoint, took = self.model, self.endpoint, now - at
        if self.cold_wait is None:
            model.last_ok = now
            if self.settings.retry.hedge:
                model.tail = model.tail or Tail()
                model.tail.saw(took)
            if model.pending is not None:
                settle(model, endpoint, self.settings.memory.estimates, self.request.target_model or "", took)
            endpoint.succeeded(took)
        else:
            self.cold_wait.landed(at, now)
            endpoint.succeeded(None)

    def _meaning_of_silence(self, error: TransportError, loaded: bool, timed_out: bool) -> Meaning:
        if not isinstance(error, OutcomeUnknownError):
            return Meaning.FAULTY
        if timed_out and not loaded and not error.answer_began:
            # A model that is loading has not run: the time-out is the server's long wait for it.
            return Meaning.COLD
        if self.idempotent:
            return Meaning.FAULTY
        if error.hint is None:
            error.hint = "the model may have run; pass idempotent=True if it may run twice"
        return Meaning.FINAL

    def _check_coding(self, answer: InvokeAnswer) -> None:
        coding = answer.headers["content-encoding"]
        if coding.lower() not in ("", "identity"):
            raise UndecodableReplyError(
                f"{self.request.endpoint}: the answer is coded with {coding[:40]!r}, which was not asked for",
                hint="the model ran; let the container answer without Content-Encoding, or decode `body`",
                body=answer.body,
                content_type=answer.headers.get("content-type", ""),
                request_id=answer.headers.get("x-amzn-requestid"),
            )

    def _learn_from(self, error: MMEError, fields: ErrorFields, at: float, now: float) -> None:
        """What an answer that stays says about the model."""
        if self.cold_wait is None:
            return
        if isinstance(error, ModelInputError):
            self.cold_wait.landed(at, now)  # the container refused the payload, so the model is there
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
            f"nothing was sent: the model failed {model.failures} times in a row; it is tried again in {rest:.0f} s"
        )
        raise error

    def _backoff(self, meaning: Meaning, error: MMEError, now: float) -> float:
        """Seconds to wait after congestion or a fault.

        Raises:
            MMEError: `error`, where the attempts, the budget or the deadline are used up.
        """
        policy = self.settings.retry
        reason: Literal["throttled", "faulty"]
        if meaning is Meaning.THROTTLED:
            reason, base, cap, count = "throttled", policy.throttle_base, policy.throttle_cap, self._throttles
            self._throttles += 1
            if not self.endpoint.throttles.pay(THROTTLE_COST):
                raise _hinted(error, "too many calls to this endpoint are throttled; its retry budget is spent")
        else:
            reason, base, cap, count = "faulty", policy.fault_base, policy.fault_cap, self._faults
            self._faults += 1
            allowed = self.endpoint.breaker.fault(now)
            if self._faults >= policy.fault_attempts:
                raise error
            if not allowed:
                raise _hinted(error, "this endpoint failed many times in a row; faults are not retried for a while")
            if not self.endpoint.faults.pay(FAULT_COST):
                raise _hinted(error, "too many calls to this endpoint fail; its retry budget is spent")
        limit = min(cap, base * 2 ** min(count, 32))
        wait = max(self.settings.rng.uniform(0.0, limit), error.retry_after or 0.0)
        if now + wait >= self.ends:
            # A sleep that cannot end before the deadline helps nobody.
            raise _hinted(error, f"the deadline of {self.deadline:g} s leaves no time for another attempt")
        if self.settings.hooks:
            emit(
                self.settings.hooks,
                RetryPlanned(endpoint=self.request.endpoint, model=self.request.target_model, reason=reason, wait=wait),
            )
        return wait


def _hinted(error: MMEError, hint: str) -> MMEError:
    error.hint = hint if error.hint is None else f"{error.hint}; {hint}"
    return error
