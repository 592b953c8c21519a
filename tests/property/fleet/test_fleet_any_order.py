"""Whatever happens in whatever order: no budget is exceeded, no request is lost or doubled, nothing leaks."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mme_sdk.fleet import (
    Discard,
    Download,
    Fail,
    Fifo,
    Fleet,
    FleetPolicy,
    Footprint,
    Load,
    Lru,
    RandomRouting,
    Run,
    Scatter,
    State,
    Sticky,
    Unload,
)

MEMORY, VOLUME = 100, 150
MODELS = [f"m{n}" for n in range(5)]
# Sizes that crowd both levels; 170 and 110 are larger than the whole.
DISK, RAM = st.sampled_from([20, 40, 60, 90, 90, 170]), st.sampled_from([20, 40, 60, 90, 110])


class AnyOrder(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.next_request = self.next_instance = 0
        self.waiting = {}  # request → model: arrived, neither running nor ended
        self.running = {}  # request → instance
        self.open = []  # commands without an answer
        self.rerun = set()  # running requests that met a 507 and wait for room
        self.ended = set()

    @initialize(
        seed=st.integers(0, 99),
        slots=st.integers(1, 3),
        spill=st.integers(1, 4),
        cache=st.booleans(),
        routing=st.sampled_from([Sticky(), Scatter(), RandomRouting()]),
        eviction=st.sampled_from([Lru, Fifo]),
        instances=st.integers(1, 2),
    )
    def start(self, seed, slots, spill, cache, routing, eviction, instances):
        self.policy = FleetPolicy(
            memory_bytes=MEMORY,
            volume_bytes=VOLUME,
            loader_slots=slots,
            spill_outstanding=spill,
            cache_enabled=cache,
            routing=routing,
            eviction=eviction,
        )
        self.fleet = Fleet(self.policy, random.Random(seed))
        for _ in range(instances):
            self.add_instance()

    def take(self, commands):
        for command in commands:
            match command:
                case Run(instance, model, request):
                    if request in self.running:  # only a 507 on invoke lets a request run again
                        assert request in self.rerun, f"{request} runs twice"
                        self.rerun.discard(request)
                        continue
                    assert self.waiting.pop(request) == model
                    self.running[request] = instance
                case Fail(request, _, _, _, ran):
                    assert ran == (request in self.running)
                    (self.running if ran else self.waiting).pop(request)
                    self.rerun.discard(request)
                    self.ended.add(request)
                case _:
                    assert command not in self.open
                    self.open.append(command)

    def tick(self):
        self.now += 1.0
        return self.now

    @rule()
    def add_instance(self):
        if len(self.fleet.snapshot().instances) < 3:
            self.next_instance += 1
            self.take(self.fleet.add_instance(f"i{self.next_instance}", self.tick()))

    @rule(model=st.sampled_from(MODELS), disk=DISK, memory=RAM)
    def arrive(self, model, disk, memory):
        request = f"r{self.next_request}"
        self.next_request += 1
        now = self.tick()
        self.waiting[request] = model
        self.take(self.fleet.arrive(request, model, Footprint(disk, memory), now))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer_well(self, data):
        self.answer(data, "good")

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from(["good", "good", "good", "bad", "507"]))
    def answer(self, data, outcome):
        command = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.tick()
        match command:
            case Download(instance, model):
                if outcome == "good":
                    actual = data.draw(st.none() | st.builds(Footprint, DISK, RAM), label="actual")
                    self.take(self.fleet.downloaded(instance, model, actual, self.now))
                else:
                    self.take(self.fleet.download_failed(instance, model, "no such key"))
            case Load(instance, model):
                if outcome == "good":
                    self.take(self.fleet.loaded(instance, model, self.now))
                elif outcome == "bad":
                    self.take(self.fleet.load_failed(instance, model, "bad pickle"))
                else:
                    self.take(self.fleet.out_of_memory(instance, model))
            case Unload(instance, model):
                self.take(self.fleet.unloaded(instance, model))
            case Discard(instance, model):
                self.take(self.fleet.discarded(instance, model))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data):
        request = data.draw(st.sampled_from(sorted(self.running)))
        if request in self.rerun:
            return
        del self.running[request]
        self.ended.add(request)
        self.take(self.fleet.finished(request, self.tick()))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def invoke_met_507(self, data):
        request = data.draw(st.sampled_from(sorted(self.running)))
        if request not in self.rerun:
            self.tick()
            self.rerun.add(request)
            self.take(self.fleet.ran_out_of_memory(request))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def forget(self, data):
        request = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[request]
        self.ended.add(request)
        self.take(self.fleet.cancel(request))

    def drop_open(self, instance, kinds):
        self.open = [each for each in self.open if each.instance != instance or not isinstance(each, kinds)]

    @precondition(lambda self: self.fleet.snapshot().instances)
    @rule(data=st.data())
    def crash(self, data):
        instance = data.draw(st.sampled_from(sorted(self.fleet.snapshot().instances)))
        self.tick()
        self.drop_open(instance, (Load, Unload))
        self.take(self.fleet.crashed(instance))
        assert instance not in self.running.values()

    @precondition(lambda self: self.fleet.snapshot().instances)
    @rule(data=st.data())
    def remove(self, data):
        instance = data.draw(st.sampled_from(sorted(self.fleet.snapshot().instances)))
        self.drop_open(instance, object)
        self.take(self.fleet.remove_instance(instance, self.tick()))
        assert instance not in self.running.values()

    @precondition(lambda self: self.fleet.snapshot().instances)
    @rule(data=st.data())
    def drain(self, data):
        instance = data.draw(st.sampled_from(sorted(self.fleet.snapshot().instances)))
        self.tick()
        self.take(self.fleet.drain(instance))

    @invariant()
    def budgets_hold_and_nothing_is_lost(self):
        if not hasattr(self, "fleet"):
            return
        waiting = running = 0
        loads = {State.DOWNLOADING: 0, State.LOADING: 0, State.UNLOADING: 0, State.DISCARDING: 0}
        for each in self.fleet.snapshot(self.now).instances.values():
            models = each.models.values()
            assert each.memory_used == sum(m.memory_bytes for m in models) <= MEMORY
            assert each.volume_used == sum(m.disk_bytes for m in models) <= VOLUME
            assert 0 <= each.loads_running <= self.policy.loader_slots
            assert each.outstanding == sum(m.waiting + m.running for m in models)
            for m in models:
                assert bool(m.memory_bytes) == (m.state in (State.LOADING, State.LOADED, State.UNLOADING))
                assert m.state is State.LOADED or not m.running
                assert m.state is not State.LOADED or not m.waiting
                if m.state in loads:
                    loads[m.state] += 1
            waiting += sum(m.waiting for m in models)
            running += sum(m.running for m in models)
        assert waiting == len(self.waiting)
        assert running == len(self.running)
        kinds = {State.DOWNLOADING: Download, State.LOADING: Load, State.UNLOADING: Unload, State.DISCARDING: Discard}
        assert loads == {state: sum(isinstance(c, kind) for c in self.open) for state, kind in kinds.items()}

    def teardown(self):
        """When every command is answered and every request ends, nothing waits and every slot is free."""
        if not hasattr(self, "fleet"):
            return
        for _ in range(2000):
            if not (self.open or self.running):
                break
            while self.open:
                command = self.open.pop(0)
                now = self.tick()
                match command:
                    case Download(instance, model):
                        self.take(self.fleet.downloaded(instance, model, None, now))
                    case Load(instance, model):
                        self.take(self.fleet.loaded(instance, model, now))
                    case Unload(instance, model):
                        self.take(self.fleet.unloaded(instance, model))
                    case Discard(instance, model):
                        self.take(self.fleet.discarded(instance, model))
            for request in [each for each in self.running if each not in self.rerun]:
                del self.running[request]
                self.ended.add(request)
                self.take(self.fleet.finished(request, self.tick()))
        assert not self.waiting, "requests wait for ever"
        assert not self.running
        assert len(self.ended) == self.next_request
        for each in self.fleet.snapshot(self.now).instances.values():
            assert (each.outstanding, each.loads_queued, each.loads_running) == (0, 0, 0)
            assert {m.state for m in each.models.values()} <= {State.LOADED, State.ON_DISK}
            assert self.policy.cache_enabled or not each.models


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=40, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.mark.slow
def test_any_order_for_longer():
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        AnyOrder, settings=settings(max_examples=3000, stateful_step_count=100, deadline=None, derandomize=False)
    )
