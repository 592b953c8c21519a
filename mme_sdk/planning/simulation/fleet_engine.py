"""The engine that drives `mme_sdk.fleet` event by event; it supports retries, failures, deployments and scaling."""

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
from mme_sdk.planning.simulation.clients import ClientPolicy, Step, WaitForAnswer
from mme_sdk.planning.simulation.inputs import DISK, FAILED, HIT, JOINED, S3, FleetConfig, Floats, Ints, Traffic

__all__ = ["FleetRun", "run_fleet"]

_EVALUATE = 60.0  # CloudWatch's resolution for target tracking
_OUTCOME = {State.LOADED: HIT, State.ON_DISK: DISK, State.ABSENT: S3}


class _Draws:
    """A random generator that returns the given draws, which are the same for every engine."""

    def __init__(self, draws: Floats) -> None:
        self._draws = iter(draws.tolist())

    def random(self) -> float:
        return next(self._draws)  # type: ignore[no-any-return]

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.random()


@attrs.define
class _Container:
    """The parts of an instance that the fleet model does not have: the workers and the container's process."""

    fleet: Fleet
    free: list[float]
    epoch: int = 0
    up_at: float = 0.0


@attrs.frozen(kw_only=True, eq=False)
class FleetRun:
    """The result of the event-driven engine; the first three arrays have one element for each call.

    Attributes:
        latency: Time from the start of each call to its answer or failure, seconds.
        kinds: Outcome of each call's first attempt; `FAILED` if the call failed.
        attempts: Number of attempts of each call.
        tallies: Numbers of evictions, discards and duplicate loads.
        loads: End of each load into memory, seconds.
        capacity: Pairs of a time (seconds) and the number of instances in service from then on.
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
        config: FleetConfig,
        draws: Floats,
        clients: ClientPolicy,
        timeline: Iterable[ev.Event],
        seed: int,
    ) -> None:
        self.traffic, self.config = traffic, config
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
        self.containers: dict[str, _Container] = {}
        self.attempt_of: dict[str, int] = {}
        self.leaders: dict[tuple[str, str], int] = {}
        count = len(self.times)
        self.latency = np.full(count, np.nan)
        self.kinds = np.full(count, -1, dtype=np.int64)
        self.attempts = np.zeros(count, dtype=np.int64)
        self.loads: list[float] = []
        self.capacity: list[tuple[float, int]] = []
        self.fleets: list[Fleet] = []
        self.created = 0
        self.recent_calls = 0
        self.provisioning = 0
        self.scaled_at = -math.inf
        self.running: set[str] = set()
        self.deploy(0.0, config.instances)
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
            self.recent_calls += 1
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
        found = fleet.found_state
        if self.attempts[call] == 1:
            self.kinds[call] = _OUTCOME.get(found, JOINED)
        if found in (State.ABSENT, State.ON_DISK):
            self.leaders[fleet.routed_to, str(model)] = call
        self.perform(now, fleet, commands)
        if self.limit < math.inf and attempt in self.attempt_of and attempt not in self.running:
            self.at(now + self.limit, self.too_late, fleet, attempt)

    def too_late(self, now: float, fleet: Fleet, attempt: str) -> None:
        if attempt in self.attempt_of and attempt not in self.running:
            call = self.attempt_of.pop(attempt)
            fleet.cancel(attempt)
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
                    seconds = self.duration(instance, model, self.traffic.download)
                    self.at(now + seconds, self.downloaded, fleet, instance, model)
                case Load(instance, model):
                    begin = max(now, self.containers[instance].up_at)
                    seconds = self.duration(instance, model, self.traffic.load)
                    epoch = self.containers[instance].epoch
                    self.at(begin + seconds, self.loaded, fleet, instance, model, epoch)
                case Unload(instance, model):  # takes no time in a simulation
                    todo.extend(fleet.unloaded(instance, model))
                case Discard(instance, model):
                    todo.extend(fleet.discarded(instance, model))
                case Fail():
                    self.failed(now, fleet, command)

    def duration(self, instance: str, model: str, seconds: Floats) -> float:
        factors = self.traffic.factors
        usual = float(seconds[int(model)])
        return usual if factors is None else usual * float(factors[self.leaders[instance, model]])

    def work(self, now: float, fleet: Fleet, instance: str, attempt: str) -> None:
        self.running.add(attempt)
        free = self.containers[instance].free
        end = max(now, free[0]) + self.service[self.attempt_of[attempt]]
        heapreplace(free, end)
        self.at(end, self.finished, fleet, attempt)

    def finished(self, now: float, fleet: Fleet, attempt: str) -> None:
        self.running.discard(attempt)
        call = self.attempt_of.pop(attempt, None)
        if call is None:
            return  # the call has failed already
        commands = fleet.finished(attempt, now)
        self.end(now, call, True)
        if commands:
            self.perform(now, fleet, commands)

    def downloaded(self, now: float, fleet: Fleet, instance: str, model: str) -> None:
        if instance in self.containers:
            self.perform(now, fleet, fleet.downloaded(instance, model, None, now))

    def loaded(self, now: float, fleet: Fleet, instance: str, model: str, epoch: int) -> None:
        container = self.containers.get(instance)
        if container is not None and container.epoch == epoch:
            self.loads.append(now)
            self.perform(now, fleet, fleet.loaded(instance, model, now))

    def failed(self, now: float, fleet: Fleet, command: Fail) -> None:
        call = self.attempt_of.pop(command.request_id)
        self.running.discard(command.request_id)
        if command.reason == "instance_lost" and not command.ran and fleet is self.fleets[-1]:
            self.attempts[call] -= 1  # SageMaker routes it again, not the caller
            self.attempt(now, call)
        else:
            self.end(now, call, False)

    # -- the timeline ---------------------------------------------------------------------------------------------

    def add(self, now: float, count: int) -> None:
        for _ in range(count):
            self.created += 1
            name = f"i{self.created}"
            self.containers[name] = _Container(self.fleets[-1], [now] * self.config.workers)
            self.perform(now, self.fleets[-1], self.fleets[-1].add_instance(name, now))
        self.record_capacity(now)

    def record_capacity(self, now: float) -> None:
        self.capacity.append((now, len(self.serving())))

    def serving(self) -> list[str]:
        snapshot = self.fleets[-1].snapshot(0.0)
        return [name for name, each in snapshot.instances.items() if not each.draining]

    def deploy(self, now: float, count: int | None = None) -> None:
        count = count or len(self.serving())
        for instance in self.serving() if self.fleets else ():
            self.fleets[-1].drain(instance)
        self.fleets.append(Fleet(self.config.policy(), self.draws))
        self.add(now, count)

    def scale_out(self, now: float, count: int) -> None:
        self.add(now, count)

    def scale_in(self, now: float, count: int) -> None:
        serving = self.serving()
        for instance in serving[max(1, len(serving) - count) :]:
            self.fleets[-1].drain(instance)
        self.record_capacity(now)

    def crash(self, now: float, event: ev.Crash) -> None:
        serving = self.serving()
        instance = serving[event.instance % len(serving)]
        container = self.containers[instance]
        container.epoch += 1
        container.up_at = now + event.restart
        container.free = [container.up_at] * self.config.workers
        self.perform(now, container.fleet, container.fleet.crashed(instance))

    def lose(self, now: float, event: ev.LoseInstance) -> None:
        serving = self.serving()
        instance = serving[event.instance % len(serving)]
        del self.containers[instance]
        commands = self.fleets[-1].remove_instance(instance, now)
        if event.replaced_after is not None:
            self.at(now + event.replaced_after, self.add, 1)
        self.perform(now, self.fleets[-1], commands)
        self.record_capacity(now)

    def evaluate(self, now: float, policy: ev.Autoscale) -> None:
        count = len(self.serving()) + self.provisioning
        wanted = min(policy.maximum, max(policy.minimum, math.ceil(self.recent_calls / policy.target)))
        self.recent_calls = 0
        if wanted > count and now - self.scaled_at >= policy.out_cooldown:
            self.provisioning += wanted - count
            self.at(now + policy.provisioning, self.arrived, wanted - count)
            self.scaled_at = now
        elif wanted < count and not self.provisioning and now - self.scaled_at >= policy.in_cooldown:
            self.scale_in(now, count - wanted)
            self.scaled_at = now
        if now < self.times[-1]:
            self.at(now + _EVALUATE, self.evaluate, policy)

    def arrived(self, now: float, count: int) -> None:
        self.provisioning -= count
        self.add(now, count)


def run_fleet(
    traffic: Traffic,
    config: FleetConfig,
    draws: Floats,
    *,
    clients: ClientPolicy | None = None,
    timeline: Iterable[ev.Event] = (),
    seed: int = 0,
) -> FleetRun:
    """Simulate by driving the fleet model, with retries and changes of the fleet.

    Args:
        traffic: The calls.
        config: The fleet at the start.
        draws: Uniform draws that choose between equally good instances.
        clients: How callers react while their model loads; None (the default) if they wait for the answer.
        timeline: Deployments, failures and scaling; empty by default.
        seed: Seed of the callers' jitter. Default 0.

    Returns:
        The outcome of each call, and the counts of the fleet.
    """
    simulation = _Simulation(traffic, config, draws, clients or WaitForAnswer(), timeline, seed)
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
