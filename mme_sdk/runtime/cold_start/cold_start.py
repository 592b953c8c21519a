"""A call's wait for a model that is loading: its seat in the flight, its slot, its looks, and what they teach."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import MMEError, ModelNotReadyError
from mme_sdk.runtime.cold_start.load_limiter import Slot
from mme_sdk.runtime.cold_start.load_times import Estimate
from mme_sdk.runtime.cold_start.memory import EndpointMemory, ModelMemory
from mme_sdk.runtime.cold_start.probe_schedule import next_look
from mme_sdk.runtime.cold_start.single_flight import Role
from mme_sdk.runtime.effects import Ask, Step, Wait
from mme_sdk.runtime.telemetry.hooks import ColdStartMet, RetryPlanned, emit

if TYPE_CHECKING:
    from mme_sdk.runtime.retry.attempts import Attempts

__all__ = ["ColdWait", "not_ready", "settle"]

_HELD = 5.0  # seconds; an answer that late was held back by the server until the model was ready, or nearly so
_AFTER_HELD = 0.2  # seconds to the next attempt then: the server does the waiting
_SPILL = 5.0  # seconds since the model's last answer within which it is cold only on the instance that was hit
_SPILL_LOOKS = 5
_LAST_LOOK = 0.25  # seconds before the deadline for the last attempt at a model that was never ready
_OFTEN_WARM = 0.25
_FRESH = 10.0  # seconds after a load in which the model is taken to be on one instance, and its callers to be a herd
_BLIND = 0.285  # of the time waited so far, until the next look where nothing at all is known; 0.3 with the jitter
_LEASE_POLL = 0.25
_LEASE_SPARE = 10.0


class ColdWait:
    """One call's part in a cold start.

    Args:
        call: The call.
        ready: Whether the model was loaded a moment ago: the call only keeps the pace of those who waited for it.
    """

    __slots__ = ("_call", "_landed", "_slot", "met", "seat")

    def __init__(self, call: Attempts, *, ready: bool = False) -> None:
        self._call = call
        self._slot: Slot | None = None
        self._landed = False
        self.met = False
        key = (call.request.endpoint, call.request.target_model or "")
        self.seat = call.settings.memory.flights.join(key, call.endpoint.pace, ready=ready)

    def may_act(self) -> Generator[Step, Any, None]:
        """Wait until this call may send: it leads and its next look is due, or the leader was answered.

        Raises:
            ModelNotReadyError: The deadline came first.
        """
        call, seat, flight = self._call, self.seat, self.seat.flight
        while seat.role is not Role.GOES:
            left = call.ends - call.settings.clock.monotonic()
            if left <= 0:
                raise not_ready(call, None)
            if seat.role is Role.WAITS:
                yield Wait(seat, left)
                continue
            if self._slot is None and (self.met or not self._may_be_loaded()):
                # Once it was found cold its load is under way: not to look for it in time would be a load for nothing.
                self._slot = call.endpoint.slots.take(at_once=flight.cold_since is not None)
            if self._slot is not None and not self._slot.granted:
                yield Wait(self._slot, left)
                continue
            if not flight.leased:
                yield from self._lease()
                continue
            look = flight.next_look
            if look is None:
                return
            # Whatever the schedule says, there is one last look just before the deadline.
            wait = min(look, call.ends - self._margin()) - call.settings.clock.monotonic()
            if wait <= 0:
                return
            yield Wait(seat, wait)
        self._give_back_slot(None)

    def found_cold(self, error: MMEError, at: float, now: float) -> Generator[Step, Any, None]:
        """The model was not ready: wait until it may be.

        Args:
            error: What the attempt met.
            at: When it was sent.
            now: When it was answered, or given up.

        Raises:
            ModelNotReadyError: The deadline leaves no time for another look.
        """
        call, seat, flight = self._call, self.seat, self.seat.flight
        if seat.role is Role.GOES:
            call.endpoint.pace.spilled()
            seat.cold()
        first, self.met = not self.met, True
        spilled = flight.looks < _SPILL_LOOKS and at - call.model.last_ok < _SPILL
        if seat.role is Role.LEADS:
            if flight.cold_since is None:
                flight.cold_since = at
                if not spilled:
                    self._first_look(warm=False)
            flight.looks += 1
            flight.spill = spilled
            flight.last_cold = now
            thought = self._thought()
            wait = self._wait(thought, now - flight.cold_since, held=now - at >= _HELD, spilled=spilled)
            flight.next_look = now + wait
            if call.settings.hooks:
                emit(
                    call.settings.hooks,
                    RetryPlanned(
                        endpoint=call.endpoint.name, model=call.request.target_model, reason="cold", wait=wait
                    ),
                )
        if not spilled and call.model.last_ok > float("-inf"):
            call.endpoint.lost(at - call.model.last_ok)
            call.model.last_ok = float("-inf")  # whoever comes now waits with the others
        if first and call.settings.hooks:
            self._tell()
        if call.ends - now <= self._margin():
            raise not_ready(call, error)
        if flight.leased:
            yield from self._renew(flight.next_look)
        yield from self.may_act()

    def landed(self, at: float, now: float) -> None:
        """The model answered: learn from it, and let the others go."""
        call, seat, flight = self._call, self.seat, self.seat.flight
        model, took = call.model, now - at
        measure: tuple[float, float] | None = None
        if seat.role is Role.LEADS:
            if flight.cold_since is not None:
                shortest, longest = self._load_time(at, now)
                unit = call.settings.memory.estimates.by_bytes(model.size)
                measure = (shortest / unit, longest / unit)
                self._learn(longest, at_least=shortest)
                model.fresh_until = now + _FRESH
            elif self._longer_than_usual(took):
                self.met, model.pending, model.fresh_until = True, took, now + _FRESH
                self._first_look(warm=False)
            else:
                self._first_look(warm=True)
                if model.loaded:
                    call.endpoint.kept(call.began - model.last_ok)
        elif call.endpoint.latency is not None and self._longer_than_usual(took):
            call.endpoint.pace.spilled()
        else:
            call.endpoint.pace.as_usual()
            call.endpoint.succeeded(took)
        self._landed = True
        model.loaded, model.last_ok, model.failures = True, now, 0
        self._give_back_slot(measure)
        seat.ready()

    def leave(self) -> Generator[Step, Any, None]:
        """The call ends, in whatever way."""
        flight = self.seat.flight
        if self.seat.role is Role.LEADS and flight.cold_since is not None and not self._landed:
            # What was waited in vain is a lower bound of the load time.
            self._learn(self._call.settings.clock.monotonic() - flight.cold_since, finished=False)
        self._give_back_slot(None)
        self.seat.leave()
        leases = self._call.settings.memory.leases
        if leases is not None and flight.leased and flight.ended:
            # Not before: those of other processes would go together with those who waited here.
            flight.leased = False
            yield Ask(leases.release(self._call.endpoint.name, self._call.request.target_model or ""))

    def _wait(self, thought: Estimate, elapsed: float, *, held: bool, spilled: bool) -> float:
        rng = self._call.settings.rng
        if held:
            return _AFTER_HELD
        if spilled:
            return 0.1 + 0.9 * rng.random()
        if thought.source == "prior":
            # Looks in geometric sequence are the fewest that are late by no more than a share of any load.
            planned = max(thought.quantile(-1.0) - elapsed, _BLIND * elapsed)
        else:
            # In a jam the load that a look may start is in everybody's way: it has its price.
            cost = self._call.settings.memory.cold.probe_cost * self._call.endpoint.slots.slowness
            planned = next_look(elapsed, median=thought.median, sigma=thought.sigma, cost=cost)
        return planned * (0.95 + 0.1 * rng.random())

    def _thought(self) -> Estimate:
        call = self._call
        return call.settings.memory.estimates.expected(
            call.endpoint.name, call.request.target_model or "", size=call.model.size, again=call.model.loaded
        )

    def _learn(self, seconds: float, *, at_least: float | None = None, finished: bool = True) -> None:
        call = self._call
        call.settings.memory.estimates.observe(
            call.endpoint.name,
            call.request.target_model or "",
            seconds,
            size=call.model.size,
            again=call.model.loaded,
            finished=finished,
            at_least=at_least,
        )

    def _load_time(self, at: float, now: float) -> tuple[float, float]:
        """What the load took at least and at most: it ended between the last look that found it cold and the answer."""
        flight, usual = self.seat.flight, self._call.endpoint.latency or 0.0
        since = at if flight.cold_since is None else flight.cold_since
        last_cold = flight.last_cold if flight.last_cold is not None else at
        if now - at > max(_HELD, 3 * usual):
            held = max(now - usual - since, 1e-3)  # the server held the request until the model was there
            return held, held
        return max(last_cold - since, 1e-3), max(at - since, 1e-3)

    def _longer_than_usual(self, took: float) -> bool:
        """Whether a first answer probably included the load; there is no telling for sure."""
        return _longer(took, self._call.endpoint)

    def _lately_loaded(self) -> bool:
        return self._call.began - self._call.model.last_ok < 2 * self._call.endpoint.horizon

    def _may_be_loaded(self) -> bool:
        """Whether a first look may well start no load: then it need not queue behind those that do.

        Other processes keep models warm that this one has not called for long, or never: how often that is so, shows.
        """
        return self._lately_loaded() or self._call.endpoint.found_warm > _OFTEN_WARM

    def _first_look(self, *, warm: bool) -> None:
        if not self._lately_loaded():
            self._call.endpoint.first_look(warm=warm)

    def _margin(self) -> float:
        return min(max(_LAST_LOOK, 3 * (self._call.endpoint.latency or 0.0)), self._call.deadline / 5)

    def _give_back_slot(self, load: tuple[float, float] | None) -> None:
        if self._slot is not None:
            self._slot.give_back(load)
            self._slot = None

    def _lease(self) -> Generator[Step, Any, None]:
        """Take the lease of other processes' flights; where another process leads, wait for it."""
        call, flight, leases = self._call, self.seat.flight, self._call.settings.memory.leases
        if leases is None:
            flight.leased = True
            return
        target = call.request.target_model or ""
        flight.leased = yield Ask(
            leases.acquire(call.endpoint.name, target, seconds=call.settings.timeouts.read + _LEASE_SPARE)
        )
        if not flight.leased:
            left = call.ends - call.settings.clock.monotonic()
            yield Wait(self.seat, min(left, _LEASE_POLL * (0.5 + call.settings.rng.random())))

    def _renew(self, look: float | None) -> Generator[Step, Any, None]:
        call, leases = self._call, self._call.settings.memory.leases
        if leases is not None and look is not None:
            seconds = look - call.settings.clock.monotonic() + call.settings.timeouts.read + _LEASE_SPARE
            yield Ask(leases.renew(call.endpoint.name, call.request.target_model or "", seconds=seconds))

    def _tell(self) -> None:
        call, thought = self._call, self._thought()
        emit(
            call.settings.hooks,
            ColdStartMet(
                endpoint=call.endpoint.name,
                model=call.request.target_model,
                leads=self.seat.role is Role.LEADS,
                expected=thought.median,
                source=thought.source,
            ),
        )

    def ready_in(self) -> float:
        """Estimated seconds until the model is ready."""
        since = self.seat.flight.cold_since
        thought = self._thought()
        now = self._call.settings.clock.monotonic()
        elapsed = 0.0 if since is None else now - since
        if elapsed < thought.median:
            return thought.median - elapsed
        return next_look(elapsed, median=thought.median, sigma=thought.sigma, cost=1.0)


def not_ready(call: Attempts, last: MMEError | None) -> ModelNotReadyError:
    """What to raise when the deadline forbids another look.

    Args:
        call: The call.
        last: What the last attempt met, if this call made one.

    Returns:
        The error, with the estimated time of readiness.
    """
    subject = call.request.endpoint
    if call.request.target_model is not None:
        subject = f"{subject} ({call.request.target_model})"
    ready_in = None if call.cold_wait is None else call.cold_wait.ready_in()
    soon = "" if ready_in is None else f"; it is expected in about {ready_in:.1f} s"
    tried = len(call.history)
    return ModelNotReadyError(
        f"{subject} was not ready within the deadline of {call.deadline:g} s; {tried} attempts{soon}",
        attempts=tried,
        ready_in=ready_in,
        hint="give a longer deadline=, or warm the model first",
        status=None if last is None else last.status,
        code=None if last is None else last.code,
        request_id=None if last is None else last.request_id,
        sent=tried > 0,
    )


def settle(model: ModelMemory, endpoint: EndpointMemory, estimates: Any, target: str, took: float) -> None:
    """A warm answer tells whether the model's first one included a load, and so how long that took."""
    pending, model.pending = model.pending, None
    if pending is not None and pending > 3 * took:
        estimates.observe(endpoint.name, target, pending - took, size=model.size)


def _longer(took: float, endpoint: EndpointMemory) -> bool:
    usual = endpoint.latency
    return took > (0.5 if usual is None else max(3 * usual, usual + 0.25))
