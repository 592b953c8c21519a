"""`mme_sdk.fleet` driven event by event: the reference, and the engine for retries, failures, deploys and scaling."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush, heapreplace
from typing import Any

import attrs
import numpy as np

from mme_sdk.fleet import Command, Discard, Download, Fail, Fleet, Footprint, Load, Run, State, Unload
from mme_sdk.planning.simulation import events as ev
from mme_sdk.planning.simulation.clients import ClientPolicy, Patient, Step
from mme_sdk.planning.simulation.inputs import DISK, FAILED, HIT, JOINED, S3, Floats, Ints, Site, Traffic

__all__ = ["FleetRun", "run_fleet"]

_EVALUATE = 60.0  # CloudWatch's resolution for target tracking
_MET = {State.LOADED: HIT, State.ON_DISK: DISK, State.ABSENT: S3}


class _Draws:
    """The draws that break ties, in order; every engine takes the same."""

    def __init__(self, draws: Floats) -> None:
        self._draws = iter(draws.tolist())

    def random(self) -> float:
        return next(self._draws)  # type: ignore[no-any-return]

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.random()


@attrs.define
class _Machine:
    """What the fleet model leaves to its host: the workers and the container's life."""

    fleet: Fleet
    free: list[float]
    epoch: int = 0
    up_at: float = 0.0


@attrs.frozen(kw_only=True, eq=False)
class FleetRun:
    """What the event-driven engine found.

    Attributes:
        latency: Seconds from a call's start to its answer; for one that failed, to its end.
        kinds: What each call's first attempt met, or `FAILED` for a call that failed.
        attempts: Attempts of each call.
        tallies: Evictions, discards, duplicate loads.
        loads: When each load into memory ended.
        capacity: (time, instances in service) at each change.
    """

    latency: Floats
    kinds: Ints
    attempts: Ints
    tallies: tuple[int, int, int]
    loads: Floats
    capacity: tuple[tuple[float, int], ...]


class _Simulation:
    def __init__(
        self,
        traffic: Traffic,
        site: Site,
        draws: Floats,
        clients: ClientPolicy,
        timeline: Iterable[ev.Event],
        seed: int,
    ) -> None:
        self.traffic, self.site = traffic, site
        self.draws = _Draws(draws)
        self.limit = clients.answer_limit
        self.clients = clients.clients(random.Random(seed))
        self.footprints = [
            Footprint(int(disk), int(memory)) for disk, memory in zip(traffic.disk, traffic.memory, strict=True)
        ]
        self.models = traffic.models.tolist()
        self.times = traffic.times.tolist()
        self.service = traffic.service.tolist()
        self.heap: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self.sequence = 0
        self.machines: dict[str, _Machine] = {}
        self.attempt_of: dict[str, int] = {}
        self.leaders: dict[tuple[str, str], int] = {}
        count = len(self.times)
        self.latency = np.full(count, np.nan)
        self.kinds = np.full(count, -1, dtype=np.int64)
        self.attempts = np.zeros(count, dtype=np.int64)
        self.loads: list[float] = []
        self.capacity: list[tuple[float, int]] = []
        self.fleets: list[Fleet] = []
        self.born = 0
        self.recent = 0
        self.coming = 0
        self.scaled_at = -math.inf
        self.running: set[str] = set()
        self.deploy(0.0, site.instances)
        for each in timeline:
            match each:
                case ev.Autoscale():
                    self.at(_EVALUATE, self.evaluate, each)
                case ev.Deploy():
                    self.at(each.at, self.deploy)
                case ev.ScaleOut():
                    self.at(each.at, self.scale_out, each.count)
                case ev.ScaleIn():
                    self.at(each.at, self.scale_in, each.count)
                case ev.Crash():
                    self.at(each.at, self.crash, each)
                case ev.LoseInstance():
                    self.at(each.at, self.lose, each)

    # -- time -----------------------------------------------------------------------------------------------------

    def at(self, time: float, what: Any, *arguments: Any) -> None:
        self.sequence += 1
        heappush(self.heap, (time, self.sequence, what, arguments))

    def run(self) -> None:
        heap = self.heap
        for call, now in enumerate(self.times):
            while heap and heap[0][0] <= now:
                time, _, what, arguments = heappop(heap)
                what(time, *arguments)
            self.recent += 1
            self.step(now, self.clients.begin(call, self.models[call], now))
        while heap:
            time, _, what, arguments = heappop(heap)
            what(time, *arguments)

    # -- calls ----------------------------------------------------------------------------------------------------

    def step(self, now: float, steps: list[Step]) -> None:
        for each in steps:
            if each.after is None:
                self.end(now, each.call, False)
            elif each.after == 0.0:
                self.attempt(now, each.call)
            else:
                self.at(now + each.after, self.attempt, each.call)

    def attempt(self, now: float, call: int) -> None:
        self.attempts[call] += 1
        attempt = f"{call}.{self.attempts[call]}"
        self.attempt_of[attempt] = call
        model = self.models[call]
        fleet = self.fleets[-1]
        commands = fleet.arrive(attempt, str(model), self.footprints[model], now)
        self.attempt_of[attempt] = call
        met = fleet.met
        if self.attempts[call] == 1:
            self.kinds[call] = _MET.get(met, JOINED)
        if met in (State.ABSENT, State.ON_DISK):
            self.leaders[fleet.placed, str(model)] = call
        self.perform(now, fleet, commands)
        if self.limit < math.inf and attempt in self.attempt_of and attempt not in self.running:
            self.at(now + self.limit, self.too_late, fleet, attempt)

    def too_late(self, now: float, fleet: Fleet, attempt: str) -> None:
        if attempt in self.attempt_of and attempt not in self.running:
            call = self.attempt_of.pop(attempt)
            fleet.forget(attempt)
            self.step(now, self.clients.not_ready(call, self.models[call], now))

    def end(self, now: float, call: int, ok: bool) -> None:
        self.latency[call] = now - self.times[call]
        if not ok:
            self.kinds[call] = FAILED
        self.step(now, self.clients.answered(call, self.models[call], now, ok))

    # -- the fleet's commands -------------------------------------------------------------------------------------

    def perform(self, now: float, fleet: Fleet, commands: list[Command]) -> None:
        todo = deque(commands)
        while todo:
            command = todo.popleft()
            match command:
                case Run(instance, _, attempt):
                    self.work(now, fleet, instance, attempt)
                case Download(instance, model):
                    seconds = self.took(instance, model, self.traffic.download)
                    self.at(now + seconds, self.downloaded, fleet, instance, model)
                case Load(instance, model):
                    begin = max(now, self.machines[instance].up_at)
                    seconds = self.took(instance, model, self.traffic.load)
                    epoch = self.machines[instance].epoch
                    self.at(begin + seconds, self.loaded, fleet, instance, model, epoch)
                case Unload(instance, model):  # leaving takes no time here
                    todo.extend(fleet.unloaded(instance, model))
                case Discard(instance, model):
                    todo.extend(fleet.discarded(instance, model))
                case Fail():
                    self.failed(now, fleet, command)

    def took(self, instance: str, model: str, seconds: Floats) -> float:
        factors = self.traffic.factors
        usual = float(seconds[int(model)])
        return usual if factors is None else usual * float(factors[self.leaders[instance, model]])

    def work(self, now: float, fleet: Fleet, instance: str, attempt: str) -> None:
        self.running.add(attempt)
        free = self.machines[instance].free
        end = max(now, free[0]) + self.service[self.attempt_of[attempt]]
        heapreplace(free, end)
        self.at(end, self.finished, fleet, attempt)

    def finished(self, now: float, fleet: Fleet, attempt: str) -> None:
        self.running.discard(attempt)
        call = self.attempt_of.pop(attempt, None)
        if call is None:
            return  # it failed meanwhile
        commands = fleet.finished(attempt, now)
        self.end(now, call, True)
        if commands:
            self.perform(now, fleet, commands)

    def downloaded(self, now: float, fleet: Fleet, instance: str, model: str) -> None:
        if instance in self.machines:
            self.perform(now, fleet, fleet.downloaded(instance, model, None, now))

    def loaded(self, now: float, fleet: Fleet, instance: str, model: str, epoch: int) -> None:
        machine = self.machines.get(instance)
        if machine is not None and machine.epoch == epoch:
            self.loads.append(now)
            self.perform(now, fleet, fleet.loaded(instance, model, now))

    def failed(self, now: float, fleet: Fleet, command: Fail) -> None:
        call = self.attempt_of.pop(command.request_id)
        self.running.discard(command.request_id)
        if command.reason == "instance_lost" and not command.ran and fleet is self.fleets[-1]:
            self.attempts[call] -= 1  # routed again by SageMaker, not by the caller
            self.attempt(now, call)
        else:
            self.end(now, call, False)

    # -- the time line --------------------------------------------------------------------------------------------

    def add(self, now: float, count: int) -> None:
        for _ in range(count):
            self.born += 1
            name = f"i{self.born}"
            self.machines[name] = _Machine(self.fleets[-1], [now] * self.site.workers)
            self.perform(now, self.fleets[-1], self.fleets[-1].add_instance(name, now))
        self.note(now)

    def note(self, now: float) -> None:
        self.capacity.append((now, len(self.serving())))

    def serving(self) -> list[str]:
        snapshot = self.fleets[-1].snapshot(0.0)
        return [name for name, each in snapshot.instances.items() if not each.draining]

    def deploy(self, now: float, count: int | None = None) -> None:
        count = count or len(self.serving())
        for instance in self.serving() if self.fleets else ():
            self.fleets[-1].drain(instance)
        self.fleets.append(Fleet(self.site.policy(), self.draws))
        self.add(now, count)

    def scale_out(self, now: float, count: int) -> None:
        self.add(now, count)

    def scale_in(self, now: float, count: int) -> None:
        serving = self.serving()
        for instance in serving[max(1, len(serving) - count) :]:
            self.fleets[-1].drain(instance)
        self.note(now)

    def crash(self, now: float, event: ev.Crash) -> None:
        serving = self.serving()
        instance = serving[event.instance % len(serving)]
        machine = self.machines[instance]
        machine.epoch += 1
        machine.up_at = now + event.restart
        machine.free = [machine.up_at] * self.site.workers
        self.perform(now, machine.fleet, machine.fleet.crashed(instance))

    def lose(self, now: float, event: ev.LoseInstance) -> None:
        serving = self.serving()
        instance = serving[event.instance % len(serving)]
        del self.machines[instance]
        commands = self.fleets[-1].remove_instance(instance, now)
        if event.replaced_after is not None:
            self.at(now + event.replaced_after, self.add, 1)
        self.perform(now, self.fleets[-1], commands)
        self.note(now)

    def evaluate(self, now: float, policy: ev.Autoscale) -> None:
        count = len(self.serving()) + self.coming
        wanted = min(policy.maximum, max(policy.minimum, math.ceil(self.recent / policy.target)))
        self.recent = 0
        if wanted > count and now - self.scaled_at >= policy.out_cooldown:
            self.coming += wanted - count
            self.at(now + policy.provisioning, self.arrived, wanted - count)
            self.scaled_at = now
        elif wanted < count and not self.coming and now - self.scaled_at >= policy.in_cooldown:
            self.scale_in(now, count - wanted)
            self.scaled_at = now
        if now < self.times[-1]:
            self.at(now + _EVALUATE, self.evaluate, policy)

    def arrived(self, now: float, count: int) -> None:
        self.coming -= count
        self.add(now, count)


def run_fleet(
    traffic: Traffic,
    site: Site,
    draws: Floats,
    *,
    clients: ClientPolicy | None = None,
    timeline: Iterable[ev.Event] = (),
    seed: int = 0,
) -> FleetRun:
    """Simulate by driving the fleet model, with callers who retry and a fleet to which things happen.

    Args:
        traffic: The calls.
        site: The instances to begin with.
        draws: Uniform draws that break ties between instances, in order.
        clients: How callers behave when a model is not ready; they wait for ever where None.
        timeline: What happens to the fleet.
        seed: For the callers' jitter.

    Returns:
        What each call met and how long it took, and what the fleet did.
    """
    simulation = _Simulation(traffic, site, draws, clients or Patient(), timeline, seed)
    simulation.run()
    counters = [fleet.snapshot(0.0).counters for fleet in simulation.fleets]
    return FleetRun(
        latency=simulation.latency,
        kinds=simulation.kinds,
        attempts=simulation.attempts,
        tallies=(
            sum(each.evictions for each in counters),
            sum(each.discards for each in counters),
            sum(each.duplicate_loads for each in counters),
        ),
        loads=np.asarray(simulation.loads, dtype=np.float64),
        capacity=tuple(simulation.capacity),
    )
