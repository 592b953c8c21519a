"""The attempts of one invocation: whether and when to try again, until its one deadline."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import (
    MMEError,
    ModelNotReadyError,
    OutcomeUnknownError,
    TransportError,
)
from mme_sdk.protocols import AsyncClock, Clock, Rng
from mme_sdk.runtime.answers import ErrorFields, Meaning, error_fields, error_of, meaning_of
from mme_sdk.runtime.steps import Pause, Send, Step
from mme_sdk.runtime.wire import InvokeAnswer, InvokeRequest
from mme_sdk.shapes.reply import Attempt

__all__ = ["Attempts", "Judge"]

_LONG_POLL = 0.8  # of the read time-out: an answer or a time-out that late means that the server held the request
_SHORT = 0.2  # seconds; after the server held the request, or when there is nothing to wait for but a race
_LAST_LOOK = 0.25  # seconds before the deadline at which a model that is not ready gets its last attempt


class Judge:
    """What the settings say about a request that failed; one for all calls of an invoker.

    Args:
        timeouts: Time-outs.
        retry: Retry policy.
        rng: Randomness for jitter.
    """

    def __init__(self, timeouts: Timeouts, retry: RetryPolicy, rng: Rng) -> None:
        self.timeouts = timeouts
        self.retry = retry
        self.rng = rng

    def jitter(self, base: float, cap: float, attempt: int, asked: float | None) -> float:
        """A full-jitter wait, not shorter than the service asked for."""
        drawn: float = self.rng.uniform(0, min(cap, base * 2**attempt))
        return max(drawn, asked or 0.0)


class Attempts:
    """One invocation on its way; `run` is its course.

    Args:
        judge: The settings.
        clock: Tells the time.
        request: What to send, each time.
        began: When the call began, by the clock.
        deadline: Seconds it may take from then.
        warm: Whether the model is known to be loaded.
        idempotent: Whether the model may run twice.
    """

    def __init__(
        self,
        judge: Judge,
        clock: Clock | AsyncClock,
        request: InvokeRequest,
        *,
        began: float,
        deadline: float,
        warm: bool,
        idempotent: bool,
    ) -> None:
        self.judge = judge
        self.clock = clock
        self.request = request
        self.began = began
        self.deadline = deadline
        self.ends = began + deadline
        self.warm = warm
        self.idempotent = idempotent
        self.history: list[Attempt] = []
        self.cold = False
        self._throttles = 0
        self._faults = 0
        self._cold_looks = 0

    def run(self) -> Generator[Step, Any, InvokeAnswer]:
        """Attempt until there is a good answer, an error that stays, or no time.

        Returns:
            The good answer.

        Raises:
            MMEError: There is none; `attempt_history` says what each attempt met.
        """
        timeouts = self.judge.timeouts
        code: str | None
        while True:
            at = self.clock.monotonic()
            left = self.ends - at
            if left <= 0:
                raise self.no_time_left(None)
            read_timeout = min(timeouts.read, left)
            try:
                answer: InvokeAnswer = yield Send(self.request, min(timeouts.connect, left), read_timeout)
            except TransportError as error:
                took = self.clock.monotonic() - at
                wait, final = self._after_silence(error, took, read_timeout)
                status, code = None, type(error).__name__
            else:
                took = self.clock.monotonic() - at
                if 200 <= answer.status < 300:
                    self.history.append(Attempt(at=at - self.began, took=took, status=answer.status))
                    return answer
                fields = error_fields(answer)
                wait, final = self._after_error(fields, took, read_timeout)
                status, code = answer.status, fields.code or None
            self.history.append(Attempt(at=at - self.began, took=took, status=status, code=code, waited=wait or 0.0))
            if wait is None:
                raise self.told(final)
            if wait > 0:
                yield Pause(wait)

    def told(self, error: MMEError) -> MMEError:
        """The error, with what this call knows."""
        error.attempt_history = tuple(self.history)
        error.endpoint = self.request.endpoint
        error.model = self.request.target_model
        return error

    def no_time_left(self, last: MMEError | None) -> MMEError:
        """What to raise when the deadline forbids another attempt."""
        subject = self.request.endpoint
        if self.request.target_model is not None:
            subject = f"{subject} ({self.request.target_model})"
        tried = len(self.history)
        if self.cold or last is None:
            return ModelNotReadyError(
                f"{subject} was not ready within the deadline of {self.deadline:g} s; {tried} attempts",
                attempts=tried,
                hint="give a longer deadline=, or warm the model first",
                status=None if last is None else last.status,
                code=None if last is None else last.code,
                request_id=None if last is None else last.request_id,
                sent=tried > 0,
            )
        if last.hint is None:
            last.hint = f"the deadline of {self.deadline:g} s leaves no time for another attempt"
        return last

    def _after_silence(self, error: TransportError, took: float, read_timeout: float) -> tuple[float | None, MMEError]:
        if isinstance(error, OutcomeUnknownError):
            timed_out = took >= 0.95 * read_timeout
            if timed_out and not self.warm:
                # A model that is loading has not run: the time-out is the server's long wait for it.
                self.cold = True
                return self._cold_wait(error, held=True)
            if not self.idempotent:
                if error.hint is None:
                    error.hint = "the model may have run; pass idempotent=True if it may run twice"
                return None, error
        return self._fault_wait(error)

    def _after_error(self, fields: ErrorFields, took: float, read_timeout: float) -> tuple[float | None, MMEError]:
        error = error_of(fields, endpoint=self.request.endpoint, model=self.request.target_model)
        match meaning_of(fields):
            case Meaning.COLD:
                self.cold, self.warm = True, False
                return self._cold_wait(error, held=took >= _LONG_POLL * min(read_timeout, 60.0))
            case Meaning.THROTTLED:
                wait = self._jittered("throttle", self._throttles, error)
                self._throttles += 1
                return self._within(wait, error)
            case Meaning.FAULTY | Meaning.BUSY:
                return self._fault_wait(error)
            case Meaning.FINAL:
                return None, error

    def _cold_wait(self, error: MMEError, *, held: bool) -> tuple[float | None, MMEError]:
        look = self._cold_looks
        self._cold_looks += 1
        wait = _SHORT if held else min(5.0, 0.25 * 1.5**look)
        left = self.ends - self.clock.monotonic()
        if left <= _LAST_LOOK:
            return None, self.no_time_left(error)
        return min(wait, left - _LAST_LOOK), error

    def _fault_wait(self, error: MMEError) -> tuple[float | None, MMEError]:
        self._faults += 1
        if self._faults >= self.judge.retry.fault_attempts:
            return None, error
        return self._within(self._jittered("fault", self._faults - 1, error), error)

    def _jittered(self, kind: str, count: int, error: MMEError) -> float:
        policy = self.judge.retry
        base, cap = (
            (policy.throttle_base, policy.throttle_cap) if kind == "throttle" else (policy.fault_base, policy.fault_cap)
        )
        return self.judge.jitter(base, cap, count, error.retry_after)

    def _within(self, wait: float, error: MMEError) -> tuple[float | None, MMEError]:
        # A sleep that cannot end before the deadline helps nobody.
        if self.clock.monotonic() + wait >= self.ends:
            return None, self.no_time_left(error)
        return wait, error
