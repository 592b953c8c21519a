"""A multi-model endpoint and its callers in simulated time.

`mme_sdk.fleet` simulates the endpoint. A caller is a flow of the effects of `mme_sdk.runtime.effects`: the same code
that runs in threads and on event loops. Hours of traffic take seconds, and no result depends on the machine.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from mme_sdk._flows.effects import Effect, Flow, Interpreter, Sleep
from mme_sdk.errors import OutcomeUnknownError
from mme_sdk.fleet import Command, Discard, Download, Fail, Fleet, FleetPolicy, Footprint, Load, Run, Unload
from mme_sdk.fleet.instance import Copy, Instance
from mme_sdk.protocols import Rng
from mme_sdk.runtime.effects import RunFlow, Send, Wait
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

MB = 1_000_000


class Simulation:
    """Events in order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._count), do))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = max(self.now, until)

    # The clock of the policies.
    monotonic = time = lambda self: self.now

    def sleep(self, seconds: float) -> None:  # noqa: ARG002
        raise AssertionError("callers in simulated time sleep by an effect")


@attrs.frozen(kw_only=True)
class Times:
    """Durations, in seconds."""

    download: float
    load: float
    serve: float = 0.05
    unload: float = 0.1
    spread: float = 0.0
    """Standard deviation of the logarithm of downloads and loads."""
    hold: float = 59.9
    """How long the endpoint holds a request of a loading model before it answers 429."""


class AnyWhileCold:
    """Routes to an idle copy in memory, else to any instance: the worst case that AWS's documentation allows."""

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        ready = [copy for copy in copies.values() if copy.rank == 0 and copy.outstanding < spill]
        if ready:
            return min(ready, key=lambda copy: copy.outstanding).instance
        return instances[int(rng.random() * len(instances))]


class SimulatedEndpoint:
    """An endpoint; `send` does the work of a transport."""

    def __init__(
        self, simulation: Simulation, policy: FleetPolicy, instances: int, times: Times, rng: random.Random
    ) -> None:
        self.simulation = simulation
        self.times = times
        self.fleet = Fleet(policy, rng)
        self._rng = rng
        self._ids = itertools.count()
        self._replies: dict[str, Callable[[InvokeResponse], None]] = {}
        self._running: set[str] = set()
        self.footprint = Footprint(disk_bytes=100 * MB, memory_bytes=100 * MB)
        for number in range(instances):
            self.fleet.add_instance(f"i-{number}", now=simulation.now)

    @property
    def loads(self) -> int:
        """Loads started so far."""
        counters = self.fleet.snapshot(self.simulation.now).counters
        return counters.s3_loads + counters.disk_loads

    def send(self, request: InvokeRequest, reply: Callable[[InvokeResponse], None]) -> None:
        name = str(next(self._ids))
        self._replies[name] = reply
        self._perform(self.fleet.arrive(name, request.target_model or "", self.footprint, self.simulation.now))
        if name in self._replies:
            self.simulation.after(self.times.hold, lambda: self._give_up(name))

    def _give_up(self, name: str) -> None:
        if name in self._replies and name not in self._running:
            self.fleet.cancel(name)
            self._answer(name, 429, "ModelNotReadyException", "loading")

    def _answer(self, name: str, status: int, code: str = "", message: str = "") -> None:
        reply = self._replies.pop(name, None)
        if reply is None:
            return
        headers = {"content-type": "application/json"} | ({"x-amzn-errortype": code} if code else {})
        reply(InvokeResponse(status=status, headers=headers, body=json.dumps({"message": message}).encode()))

    def _perform(self, commands: list[Command]) -> None:
        sim, fleet, times = self.simulation, self.fleet, self.times
        for command in commands:
            match command:
                case Download(instance, model):
                    self._later(times.download, lambda i=instance, m=model: fleet.downloaded(i, m, None, sim.now))
                case Load(instance, model):
                    self._later(times.load, lambda i=instance, m=model: fleet.loaded(i, m, sim.now))
                case Unload(instance, model):
                    self._later(times.unload, lambda i=instance, m=model: fleet.unloaded(i, m), exact=True)
                case Discard(instance, model):
                    self._later(0.01, lambda i=instance, m=model: fleet.discarded(i, m), exact=True)
                case Run(_, _, request_id):
                    self._running.add(request_id)
                    sim.after(times.serve, lambda r=request_id: self._finished(r))
                case Fail(request_id, _, reason, detail):
                    self._answer(request_id, 424, "ModelError", f"{reason}: {detail}")

    def _later(self, seconds: float, event: Callable[[], list[Command]], *, exact: bool = False) -> None:
        factor = 1.0 if exact or not self.times.spread else self._rng.lognormvariate(0.0, self.times.spread)
        self.simulation.after(seconds * factor, lambda: self._perform(event()))

    def _finished(self, name: str) -> None:
        self._running.discard(name)
        self._answer(name, 200)
        self._perform(self.fleet.finished(name, self.simulation.now))


class SharedLeases:
    """`mme_sdk.runtime.cold_start.leases.Leases` of client processes that run in simulated time."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._ends: dict[tuple[str, str], float] = {}

    def acquire(self, endpoint: str, model: str, *, seconds: float) -> Flow[bool]:
        yield from ()
        now = self._simulation.now
        self._ends = {key: ends for key, ends in self._ends.items() if ends > now}
        if (endpoint, model) in self._ends:
            return False
        self._ends[endpoint, model] = now + seconds
        return True

    def renew(self, endpoint: str, model: str, *, seconds: float) -> Flow[None]:
        yield from ()
        self._ends[endpoint, model] = self._simulation.now + seconds

    def release(self, endpoint: str, model: str) -> Flow[None]:
        yield from ()
        self._ends.pop((endpoint, model), None)


@attrs.define
class Outcome:
    """Outcome of a call."""

    began: float
    ended: float = 0.0
    attempts: int = 0
    error: Exception | None = None
    cancelled: bool = False


def call(simulation: Simulation, endpoint: SimulatedEndpoint, flow: Flow[Any]) -> Outcome:
    """Run one caller's flow in simulated time, from now on."""
    outcome = Outcome(began=simulation.now)

    def resume(value: Any = None, error: BaseException | None = None) -> None:
        if outcome.cancelled:
            return
        try:
            effect = flow.send(value) if error is None else flow.throw(error)
        except StopIteration:
            outcome.ended = simulation.now
        except Exception as failed:  # noqa: BLE001 - the outcome of the call
            outcome.ended, outcome.error = simulation.now, failed
        else:
            perform(effect)

    def once(function: Callable[..., None]) -> Callable[..., None]:
        open_ = [True]

        def only(*args: Any, **options: Any) -> None:
            if open_.pop() if open_ else False:
                function(*args, **options)

        return only

    def perform(effect: Effect) -> None:
        match effect:
            case Send(request, _, read_timeout):
                outcome.attempts += 1
                first = once(resume)
                endpoint.send(request, first)
                simulation.after(read_timeout, lambda: first(error=OutcomeUnknownError("no answer in time")))
            case Sleep(seconds):
                simulation.after(seconds, resume)
            case Wait(event, timeout):
                first = once(resume)
                event.subscribe(lambda: simulation.after(0.0, lambda: first(True)))
                simulation.after(timeout, lambda: first(False))
            case RunFlow(inner):
                resume(Interpreter({}).run(inner))

    simulation.after(0.0, resume)
    return outcome
