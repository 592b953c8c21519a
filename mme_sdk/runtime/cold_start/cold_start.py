"""One call's wait for a loading model: when it may probe, and what each probe says about the load time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mme_sdk._flows.effects import Flow
from mme_sdk.protocols import AsyncClock, Clock, Rng
from mme_sdk.runtime.cold_start.load_limiter import Permit
from mme_sdk.runtime.cold_start.load_times import LoadTime, LoadTimes
from mme_sdk.runtime.cold_start.memory import EndpointMemory, Memory, ModelMemory
from mme_sdk.runtime.cold_start.probe_schedule import probe_delay
from mme_sdk.runtime.cold_start.single_flight import Role
from mme_sdk.runtime.effects import RunFlow, Wait, acquire, release
from mme_sdk.runtime.telemetry.hooks import ColdStartSeen, Hook, RetryPlanned, emit
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["ColdStartWait", "learn_from_answer", "was_cold"]

_HELD = 5.0  # seconds; the server held a request that long until the model was loaded, or nearly so
_DELAY_AFTER_HELD = 0.2  # seconds before the next probe after such an answer
_SPILL = 5.0  # seconds since the last answer within which the model is missing only on the instance that was hit
_SPILL_PROBES = 5
_LAST_PROBE = 0.25  # seconds before the deadline at which the last probe is sent
_OFTEN_WARM = 0.25  # share of models found loaded, above which a first probe needs no permit
_FRESH = 10.0  # seconds after a load during which the model is assumed to be on one instance only
_GEOMETRIC = 0.285  # wait as a share of the elapsed time if nothing is known; 0.3 with the jitter
_LEASE_POLL = 0.25  # seconds
_LEASE_LOOKS = 0.125  # seconds between two looks of a process that waits for several models
_LEASE_POLL_CAP = 2.0  # seconds
_LEASE_RESERVE = 10.0  # seconds
_NO_LOAD = 0.01  # seconds; a download and a load take longer, whatever the model
_NO_START = 0.1  # seconds; the start of a serverless container takes longer
_NO_LOAD_SHARE = 1 / 40  # of the load time of the model; no load of it is that much shorter than the others


class ColdStartWait:
    """One call's part in the cold start of a model.

    Args:
        memory: Load times, single flight, leases and settings.
        endpoint: Name of the endpoint.
        target_model: The model; None on a single-model endpoint.
        clock: Reads the time.
        rng: Randomness for jitter.
        hooks: Functions that receive events.
        read_timeout: Longest duration of a probe, in seconds.
        began: When the call began, by the clock.
        deadline: Seconds that the call may take.
        ready: Whether the model was loaded a moment ago, so that the call only has to wait for its release.

    Attributes:
        met_loading_model: Whether a probe found the model loading, or an answer probably included the load.
    """

    __slots__ = (
        "_answered",
        "_began",
        "_clock",
        "_deadline",
        "_endpoint",
        "_ends",
        "_hooks",
        "_memory",
        "_model",
        "_permit",
        "_read_timeout",
        "_rng",
        "_slot",
        "_target",
        "_target_model",
        "_verdict",
        "_waiter",
        "met_loading_model",
    )

    def __init__(
        self,
        memory: Memory,
        *,
        endpoint: str,
        target_model: str | None,
        clock: Clock | AsyncClock,
        rng: Rng,
        hooks: Sequence[Hook],
        read_timeout: float,
        began: float,
        deadline: float,
        ready: bool = False,
    ) -> None:
        self._memory = memory
        self._endpoint = memory.endpoint(endpoint)
        self._target_model, self._target = target_model, target_model or ""
        self._model = self._endpoint.model(self._target)
        self._clock, self._rng, self._hooks = clock, rng, hooks
        self._read_timeout = read_timeout
        self._began, self._deadline, self._ends = began, deadline, began + deadline
        self._permit: Permit | None = None
        self._slot: int | None = None  # the epoch of the shared cold slot that this call holds
        self._verdict = 0
        self._answered = False
        self.met_loading_model = False
        self._waiter = memory.single_flight.join((endpoint, self._target), self._endpoint.release_limit, ready=ready)

    @property
    def released(self) -> bool:
        """Whether the model is known to be loaded, because another caller was answered."""
        return self._waiter.role is Role.RELEASED

    def wait_for_turn(self) -> Flow[bool]:
        """Wait until this call may send: it is released, or it leads and its next probe is due.

        Returns:
            Whether it may send; False if the deadline came first.
        """
        waiter, flight = self._waiter, self._waiter.flight
        while waiter.role is not Role.RELEASED:
            left = self._ends - self._clock.monotonic()
            if left <= 0:
                return False
            if waiter.role is Role.FOLLOWER:
                yield Wait(waiter, left)
                continue
            if self._permit is None and (self.met_loading_model or not self._may_be_loaded()):
                # A load that is under way gets its permit at once: to delay its next probe would waste the load.
                self._permit = self._endpoint.load_limiter.acquire(at_once=flight.cold_since is not None)
            if self._permit is not None and not self._permit.granted:
                yield Wait(self._permit, left)
                continue
            if not flight.leased:
                yield from self._lease()
                continue
            if self._permit is not None and self._slot is None and not (yield from self._take_slot(left)):
                continue
            if flight.next_probe is None:
                return True
            # The last probe is sent just before the deadline, whatever the schedule says.
            wait = min(flight.next_probe, self._ends - self._margin()) - self._clock.monotonic()
            if wait <= 0:
                return True
            yield Wait(waiter, wait)
        self._release_permit(None)
        return True

    def found_cold(self, at: float, now: float) -> Flow[bool]:
        """Record a probe that found the model loading, and wait until this call may send again.

        Args:
            at: When the probe was sent.
            now: When it was answered, or timed out.

        Returns:
            Whether this call may send again; False if the deadline leaves no time for another probe.
        """
        waiter, flight, model = self._waiter, self._waiter.flight, self._model
        if waiter.role is Role.RELEASED:
            self._endpoint.release_limit.spilled()
            waiter.found_cold()
        first, self.met_loading_model = not self.met_loading_model, True
        spilled = flight.failed_probes < _SPILL_PROBES and at - model.last_answer < _SPILL
        if waiter.role is Role.LEADER:
            if flight.cold_since is None:
                flight.cold_since = at
                if not spilled:
                    self._first_probe(warm=False)
            flight.failed_probes += 1
            flight.spilled = spilled
            flight.last_cold = now
            wait = self._delay(now - flight.cold_since, held=now - at >= _HELD, spilled=spilled)
            flight.next_probe = now + wait
            if self._hooks:
                self._emit_retry(wait)
        if not spilled and model.last_answer > float("-inf"):
            self._endpoint.was_evicted(at - model.last_answer)
            model.last_answer = float("-inf")  # so that new callers join the flight
        if first and self._hooks:
            self._emit_cold_start()
        if self._ends - now <= self._margin():
            return False
        if flight.leased:
            yield from self._renew(flight.next_probe)
        return (yield from self.wait_for_turn())

    def answered(self, at: float, now: float) -> None:
        """Record an answer of the model: learn its load time, and release the followers.

        Args:
            at: When the request was sent.
            now: When it was answered.
        """
        waiter, flight, model, endpoint = self._waiter, self._waiter.flight, self._model, self._endpoint
        took = now - at
        measured: tuple[float, float] | None = None
        if waiter.role is Role.LEADER:
            if flight.cold_since is not None:
                shortest, longest = self._load_time(at, now)
                unit = self._memory.load_times.by_bytes(model.size)
                measured = (shortest / unit, longest / unit)
                self._learn(longest, at_least=shortest)
                model.fresh_until = now + _FRESH
            elif _includes_load(took, endpoint):
                self.met_loading_model, model.slow_first_answer, model.fresh_until = True, took, now + _FRESH
                self._first_probe(warm=False)
            else:
                self._first_probe(warm=True)
                if model.loaded:
                    endpoint.stayed_loaded(self._began - model.last_answer)
        elif endpoint.latency is not None and _includes_load(took, endpoint):
            endpoint.release_limit.spilled()
        else:
            endpoint.release_limit.succeeded()
            endpoint.succeeded(took)
        self._answered = True
        model.loaded, model.last_answer, model.failures = True, now, 0
        self._release_permit(measured)
        waiter.succeeded()

    def leave(self) -> Flow[None]:
        """End the call's part in the cold start, whatever the outcome."""
        flight = self._waiter.flight
        if self._waiter.role is Role.LEADER and flight.cold_since is not None and not self._answered:
            # The time waited without success is a lower bound of the load time.
            self._learn(self._clock.monotonic() - flight.cold_since, finished=False)
        self._release_permit(None)
        slot, self._slot = self._slot, None
        self._waiter.leave()
        leases, slots, model = self._memory.leases, self._memory.slots, (self._endpoint.name, self._target)
        held: list[Callable[[], Flow[None]]] = []
        if leases is not None and flight.leased and flight.ended:
            # Keep the lease until the flight ends. Otherwise other processes send together with the released callers.
            flight.leased = False
            held.append(partial(leases.release, *model))
        if slot is not None and slots is not None:
            held.append(partial(slots.free_slot, *model, verdict=self._verdict, epoch=slot))
        if held:
            yield from release(held)

    def ready_in(self) -> float | None:
        """Return the estimated seconds until the model is loaded; None if nothing is known of its load time."""
        since = self._waiter.flight.cold_since
        expected = self._expected()
        if expected.source == "prior":
            return None
        elapsed = 0.0 if since is None else self._clock.monotonic() - since
        if elapsed < expected.median:
            return expected.median - elapsed
        return probe_delay(elapsed, median=expected.median, sigma=expected.sigma, cost=1.0)

    def _delay(self, elapsed: float, *, held: bool, spilled: bool) -> float:
        if held:
            return _DELAY_AFTER_HELD
        if spilled:
            return 0.1 + 0.9 * self._rng.random()
        expected = self._expected()
        if expected.source == "prior":
            # Probes in geometric sequence are the fewest that are late by at most a fixed share of any load time.
            planned = max(expected.quantile(-1.0) - elapsed, _GEOMETRIC * elapsed)
        else:
            # A probe can start another load. That costs more while loads are slowed by each other.
            cost = self._memory.cold.probe_cost * self._endpoint.load_limiter.slowness
            planned = probe_delay(elapsed, median=expected.median, sigma=expected.sigma, cost=cost)
        return planned * (0.95 + 0.1 * self._rng.random())

    def _expected(self) -> LoadTime:
        model = self._model
        return self._memory.load_times.expected(self._endpoint.name, self._target, size=model.size, reload=model.loaded)

    def _learn(self, seconds: float, *, at_least: float | None = None, finished: bool = True) -> None:
        self._memory.load_times.observe(
            self._endpoint.name,
            self._target,
            seconds,
            size=self._model.size,
            reload=self._model.loaded,
            finished=finished,
            at_least=at_least,
        )

    def _load_time(self, at: float, now: float) -> tuple[float, float]:
        """Return bounds of the load time: the load ended between the last unsuccessful probe and the answer."""
        flight, latency = self._waiter.flight, self._endpoint.latency or 0.0
        since = at if flight.cold_since is None else flight.cold_since
        last_cold = flight.last_cold if flight.last_cold is not None else at
        if now - at > max(_HELD, 3 * latency):
            held = max(now - latency - since, 1e-3)  # the server held the request until the model was loaded
            return held, held
        return max(last_cold - since, 1e-3), max(at - since, 1e-3)

    def _recently_loaded(self) -> bool:
        return self._began - self._model.last_answer < 2 * self._endpoint.warm_for

    def _may_be_loaded(self) -> bool:
        """Return whether a first probe probably starts no load, so that it needs no permit.

        Other processes can keep models loaded that this process has not called; `warm_share` says how often.
        """
        return self._recently_loaded() or self._endpoint.warm_share > _OFTEN_WARM

    def _first_probe(self, *, warm: bool) -> None:
        if not self._recently_loaded():
            self._endpoint.first_probe(warm=warm)

    def _margin(self) -> float:
        return min(max(_LAST_PROBE, 3 * (self._endpoint.latency or 0.0)), self._deadline / 5)

    def _release_permit(self, load: tuple[float, float] | None) -> None:
        if self._permit is not None:
            self._permit.release(load)
            self._verdict, self._permit = self._permit.verdict, None

    def _lease(self) -> Flow[None]:
        """Acquire the lease of the model, or wait while another process holds it."""
        flight, leases = self._waiter.flight, self._memory.leases
        if leases is None:
            flight.leased = True
            return
        seconds, model = self._read_timeout + _LEASE_RESERVE, (self._endpoint.name, self._target)
        acquired = leases.acquire(*model, seconds=seconds)
        flight.leased = yield from acquire(acquired, partial(leases.release, *model))
        if not flight.leased:
            yield self._poll(self._ends - self._clock.monotonic())

    def _poll(self, left: float) -> Wait:
        """Return the wait before this call looks again. The more models wait, the longer it is for each of them."""
        usual = min(max(_LEASE_POLL, _LEASE_LOOKS * len(self._memory.single_flight)), _LEASE_POLL_CAP)
        return Wait(self._waiter, min(left, usual * (0.5 + self._rng.random())))

    def _take_slot(self, left: float) -> Flow[bool]:
        """Take one of the cold slots that all processes share, or wait a moment for one. Return whether it has one."""
        slots = self._memory.slots
        if slots is None:
            return True
        seconds, began = self._read_timeout + _LEASE_RESERVE, self._waiter.flight.cold_since is not None
        model = (self._endpoint.name, self._target)
        taken = slots.take_slot(*model, seconds=seconds, forced=began)
        self._slot = yield from acquire(taken, partial(slots.free_slot, *model, verdict=0, epoch=0))
        if self._slot is None:
            yield self._poll(left)
        return self._slot is not None

    def _renew(self, next_probe: float | None) -> Flow[None]:
        leases = self._memory.leases
        if leases is not None and next_probe is not None:
            seconds = next_probe - self._clock.monotonic() + self._read_timeout + _LEASE_RESERVE
            yield RunFlow(leases.renew(self._endpoint.name, self._target, seconds=seconds))

    def _emit_retry(self, wait: float) -> None:
        emit(
            self._hooks,
            RetryPlanned(endpoint=self._endpoint.name, model=self._target_model, reason="cold", wait=wait),
        )

    def _emit_cold_start(self) -> None:
        expected = self._expected()
        emit(
            self._hooks,
            ColdStartSeen(
                endpoint=self._endpoint.name,
                model=self._target_model,
                leads=self._waiter.role is Role.LEADER,
                expected=expected.median,
                source=expected.source,
            ),
        )


def learn_from_second_answer(
    model: ModelMemory, endpoint: EndpointMemory, load_times: LoadTimes, target: str, took: float
) -> None:
    """Learn a load time if the first answer of a model took much longer than the next one.

    Args:
        model: What is known of the model.
        endpoint: What is known of the endpoint.
        load_times: Receives the load time.
        target: The target model.
        took: Seconds that the second answer took.
    """
    first, model.slow_first_answer = model.slow_first_answer, None
    if first is not None and first > 3 * took:
        load_times.observe(endpoint.name, target, first - took, size=model.size)


def _includes_load(took: float, endpoint: EndpointMemory) -> bool:
    """Return whether an answer took so long that it probably included the load."""
    usual = endpoint.latency
    return took > (0.5 if usual is None else max(3 * usual, usual + 0.25))


def was_cold(
    memory: Memory, request: InvokeRequest, model: ModelMemory, *, answered_before: bool, took: float
) -> bool | None:
    """Return whether an answered call met a model that was not loaded; None if this is not known.

    Args:
        memory: Has the load times.
        request: The request.
        model: What is known of the model.
        answered_before: Whether the model was known to have been loaded before the call.
        took: Seconds from the start of the call until its answer.
    """
    if request.target_model is None:
        return False if took < _NO_START else None
    if not answered_before:
        return None
    if took < _NO_LOAD:
        return False
    known = memory.load_times.expected(request.endpoint, request.target_model, size=model.size, reload=True)
    return False if known.source == "model" and took < known.median * _NO_LOAD_SHARE else None


def learn_from_answer(
    memory: Memory, request: InvokeRequest, endpoint: EndpointMemory, model: ModelMemory, at: float, now: float
) -> None:
    """Record the successful answer of a model that was loaded.

    Args:
        memory: Has the load times.
        request: The request.
        endpoint: What is known of the endpoint.
        model: What is known of the model.
        at: When the request was sent.
        now: When it was answered.
    """
    model.last_answer = now
    if model.slow_first_answer is not None:
        learn_from_second_answer(model, endpoint, memory.load_times, request.target_model or "", now - at)
    endpoint.succeeded(now - at)
