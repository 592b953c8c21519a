"""The rules of the shared rate and of the cold slots, without I/O and without a clock of their own.

The rate follows the generic cell rate algorithm (GCRA): a state says when the next call may start, and a reservation of
n calls moves this time by n / rate. A worker reserves a slice of calls at a time. `store.lua` has the same rules for
Redis and Valkey; a property test compares both.

A rate that is learned follows the answers: no limit until calls are throttled, then the curve of `budgets.rate_after`.
"""

from __future__ import annotations

import math

import attrs

from mme_sdk.runtime.retry.budgets import DECREASE, DOUBLING, FIRST_RATE, LOWEST_RATE, RECOVERY, RELEASED, rate_after

__all__ = [
    "ACTIVE",
    "CONSTANTS",
    "UNLIMITED",
    "VOID",
    "WORKER",
    "Ask",
    "Grant",
    "LoadLimit",
    "Rate",
    "end_load",
    "reserve",
]

UNLIMITED = -1  # the count of a grant without a limit
VOID = 0.4  # seconds after the start of a slice until what is left of it is void
WORKER = 5.0  # seconds since its last reservation for which a worker is counted
ACTIVE = 1.0  # seconds since its last reservation for which a worker has a share of the rate
_SLICE = 0.12  # seconds; a slice has the calls that are the worker's share of this time
_BURST = 0.2  # seconds of the rate that may be made up for
_AHEAD = 2.0  # seconds; a slice that starts later is not granted yet
_STEPPED = 15.0  # seconds; no slice ends that late, so the clock of the store was set back
_MEMORY = 1.0  # seconds; time constant of the measured rate
_MEASURED = 0.1  # seconds of answers, at least, that measure a rate

CONSTANTS = {
    "ACTIVE": ACTIVE,
    "AHEAD": _AHEAD,
    "BURST": _BURST,
    "DECREASE": DECREASE,
    "DOUBLING": DOUBLING,
    "FIRST_RATE": FIRST_RATE,
    "LOWEST_RATE": LOWEST_RATE,
    "MEASURED": _MEASURED,
    "MEMORY": _MEMORY,
    "RECOVERY": RECOVERY,
    "RELEASED": RELEASED,
    "SLICE": _SLICE,
    "STEPPED": _STEPPED,
    "UNLIMITED": UNLIMITED,
    "VOID": VOID,
    "WORKER": WORKER,
}
"""What `store.lua` needs to know."""


@attrs.frozen
class Ask:
    """What a worker tells the store, and how much it asks for.

    Attributes:
        given: Calls a second; 0 if the rate is learned.
        want: How many calls it asks for; 0 only registers the worker.
        done: Answers since it asked last that were not throttled.
        throttled: Seconds since the latest throttled request was sent; negative if there was none since it asked last.
        known: Calls a second of all workers that it learned while the store did not answer; 0 by default, none.
    """

    given: float
    want: int
    done: int
    throttled: float
    known: float = 0.0


@attrs.frozen
class Grant:
    """A slice.

    Attributes:
        count: How many calls may start; `UNLIMITED` for any number.
        starts_in: Seconds until the first may start; negative if it might have started already. If `count` is 0,
            seconds until the worker asks again.
        gap: Seconds between two of them.
        rate: Calls a second of all workers together; 0 without a limit.
        workers: How many workers the store counted.
    """

    count: int
    starts_in: float
    gap: float
    rate: float
    workers: int


@attrs.define
class Rate:
    """The rate of one endpoint.

    Attributes:
        free_at: When the next call may start.
        peak: Calls a second at which calls were throttled; 0 if the rate is not limited.
        began: When the rate was last decreased.
        recovery: Seconds from then until the peak is reached again.
        answers: Weighted number of answers.
        span: Weighted seconds in which they came.
        counted: When they were last counted; 0 if never.
    """

    free_at: float = 0.0
    peak: float = 0.0
    began: float = 0.0
    recovery: float = 0.0
    answers: float = 0.0
    span: float = 0.0
    counted: float = 0.0


def reserve(state: Rate, ask: Ask, now: float, *, active: int, workers: int) -> Grant:
    """Reserve a slice, and learn from what the worker tells.

    Args:
        state: The state, which is changed.
        ask: What the worker tells and asks for.
        now: The time of the store.
        active: How many workers share the rate, the one that asks included.
        workers: How many workers are counted.

    Returns:
        The slice.
    """
    if state.free_at > now + _STEPPED:
        state.free_at = now
    state.began = min(state.began, now)
    if not ask.given:
        _count(state, ask.done, now)
        if ask.throttled >= 0:
            _decrease(state, now - ask.throttled, now)
        if ask.known and not 0 < _learned(state, now) <= ask.known:
            state.peak, state.began, state.recovery = ask.known, now, RECOVERY
    limit = ask.given or _learned(state, now)
    if not limit:
        return Grant(UNLIMITED, 0.0, 0.0, 0.0, workers)
    if not ask.want:
        return Grant(0, 0.0, 0.0, limit, workers)
    start = max(state.free_at, now - _BURST)
    if start > now + _AHEAD:
        return Grant(0, start - now - _AHEAD, 0.0, limit, workers)
    count = min(ask.want, math.ceil(limit * _SLICE / active))
    state.free_at = start + count / limit
    return Grant(count, start - now, active / limit, limit, workers)


def _count(state: Rate, done: int, now: float) -> None:
    if not 0 < state.counted <= now:
        state.answers, state.span, state.counted = float(done), 0.0, now
        return
    kept = math.exp((state.counted - now) / _MEMORY)
    state.answers = state.answers * kept + done
    state.span = state.span * kept + _MEMORY * (1 - kept)
    state.counted = now


def _decrease(state: Rate, sent: float, now: float) -> None:
    rate = _learned(state, now)
    measured = state.answers / max(state.span, _MEASURED)
    if not rate:
        state.peak = measured or FIRST_RATE
        state.recovery = RECOVERY if measured else 0.0
        state.free_at = now
    elif sent < state.began + VOID:
        return  # it used a slice of the time before the last decrease, and says nothing new
    else:
        state.peak, state.recovery = min(rate, max(measured, rate / 2)), RECOVERY
    state.peak, state.began = max(state.peak, LOWEST_RATE), now


def _learned(state: Rate, now: float) -> float:
    """Return the calls a second, or 0 for no limit."""
    if not state.peak:
        return 0.0
    rate = rate_after(state.peak, now - state.began, state.recovery)
    if rate is None:
        state.peak = 0.0
    return rate or 0.0


@attrs.define
class LoadLimit:
    """How many models of an endpoint are loaded at a time by all workers together.

    Attributes:
        limit: The limit; 0 before the first load.
        epoch: How many times it was halved.
    """

    limit: int = 0
    epoch: int = 0


def end_load(state: LoadLimit, *, verdict: int, epoch: int, used: int, maximum: int) -> None:
    """Adapt the limit to a load that ended; see `LoadLimiter`.

    Args:
        state: The state, which is changed.
        verdict: 1 if the load was undisturbed, -1 if it was slow, 0 if it says nothing.
        epoch: The epoch in which the load began.
        used: How many loads were under way, this one included.
        maximum: The highest limit.
    """
    if verdict > 0 and used >= state.limit:
        state.limit = min(maximum, state.limit + 1)
    elif verdict < 0 and epoch == state.epoch:
        state.limit, state.epoch = max(1, state.limit // 2), state.epoch + 1
