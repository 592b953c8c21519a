"""Single flight and load limiter, model-checked: on any interleaving there is one leader and no remainder."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mme_sdk.runtime.cold_start.load_limiter import LoadLimiter, Permit
from mme_sdk.runtime.cold_start.single_flight import ReleaseLimit, Role, SingleFlight, Waiter

KEYS = [("e", "a"), ("e", "b"), ("f", "a")]


class SingleFlightMachine(RuleBasedStateMachine):
    """Callers come, find the model cold or ready, and leave, in any order; a plain list is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.single_flight = SingleFlight()
        self.limit = ReleaseLimit()
        self.present: list[Waiter] = []
        self.subscribed: dict[int, Role] = {}
        self.woken: set[int] = set()

    waiters: Bundle[Waiter] = Bundle("waiters")

    @rule(target=waiters, key=st.sampled_from(KEYS))
    def join(self, key: tuple[str, str]) -> Waiter:
        alone = not any(waiter.flight.key == key for waiter in self.present)
        waiter = self.single_flight.join(key, self.limit)
        assert not alone or waiter.role is Role.LEADER
        self.present.append(waiter)
        return waiter

    @rule(waiter=waiters)
    def wait(self, waiter: Waiter) -> None:
        if waiter in self.present and id(waiter) not in self.subscribed:
            self.subscribed[id(waiter)] = waiter.role
            waiter.subscribe(lambda: self.woken.add(id(waiter)))

    @rule(waiter=waiters)
    def finds_it_cold(self, waiter: Waiter) -> None:
        if waiter in self.present and waiter.role is not Role.FOLLOWER:
            waiter.found_cold()
            assert waiter.role is not Role.RELEASED
            if waiter.role is Role.FOLLOWER:
                self.subscribed.pop(id(waiter), None)
                self.woken.discard(id(waiter))

    @rule(waiter=consumes(waiters))
    def is_answered(self, waiter: Waiter) -> None:
        if waiter in self.present and waiter.role is not Role.FOLLOWER:
            others = [other for other in self.present if other is not waiter and other.flight is waiter.flight]
            waiter.succeeded()
            self.present.remove(waiter)
            assert not others or any(other.role is Role.RELEASED for other in others)
            assert all(other.role is not Role.LEADER for other in others)

    @rule(waiter=consumes(waiters))
    def leaves(self, waiter: Waiter) -> None:
        waiter.leave()
        waiter.leave()
        if waiter in self.present:
            self.present.remove(waiter)

    @invariant()
    def one_leader_and_no_caller_stuck(self) -> None:
        for key in KEYS:
            here = [waiter for waiter in self.present if waiter.flight.key == key]
            roles = [waiter.role for waiter in here]
            assert Role.DONE not in roles
            assert roles.count(Role.LEADER) <= 1
            if Role.FOLLOWER in roles:
                assert Role.LEADER in roles or Role.RELEASED in roles, "followers wait, but no caller leads"
            assert len({id(waiter.flight) for waiter in here}) <= 1

    @invariant()
    def callers_that_may_act_were_woken(self) -> None:
        for waiter in self.present:
            before = self.subscribed.get(id(waiter))
            if before is not None and waiter.role is not before:
                assert id(waiter) in self.woken

    @invariant()
    def nothing_is_left_behind(self) -> None:
        assert len(self.single_flight) == len({waiter.flight.key for waiter in self.present})


class LimiterMachine(RuleBasedStateMachine):
    """Permits are acquired and released in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.limiter = LoadLimiter(2, 5)
        self.present: list[Permit] = []

    taken: Bundle[Permit] = Bundle("taken")

    @rule(target=taken, at_once=st.booleans())
    def acquire(self, at_once: bool) -> Permit:
        permit = self.limiter.acquire(at_once=at_once)
        assert permit.granted or not at_once
        self.present.append(permit)
        return permit

    @rule(permit=consumes(taken), load=st.sampled_from([None, (1.0, 1.0), (5.0, 6.0)]))
    def release(self, permit: Permit, load: tuple[float, float] | None) -> None:
        permit.release(load)
        permit.release(load)
        self.present.remove(permit)

    @invariant()
    def no_slot_is_lost_or_made_up(self) -> None:
        granted = [permit for permit in self.present if permit.granted]
        assert self.limiter.used == len(granted)
        assert 1 <= self.limiter.limit <= 5
        if len(granted) < len(self.present):
            assert len(granted) >= self.limiter.limit, "a caller waits for a permit that is free"


SingleFlightMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
LimiterMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestSingleFlight = SingleFlightMachine.TestCase
TestLoadLimiter = LimiterMachine.TestCase


@pytest.mark.slow
class TestSingleFlightAtLength(SingleFlightMachine.TestCase):
    settings = settings(max_examples=1000, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestLoadLimiterAtLength(LimiterMachine.TestCase):
    settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_followers_are_released_a_few_at_a_time() -> None:
    single_flight, limit = SingleFlight(), ReleaseLimit()
    leader, *others = [single_flight.join(("e", "m"), limit) for _ in range(11)]
    leader.succeeded()
    waves = []
    while others:
        going = [waiter for waiter in others if waiter.role is Role.RELEASED]
        waves.append(len(going))
        for waiter in going:
            waiter.succeeded()
        others = [waiter for waiter in others if waiter.role is not Role.DONE]
    assert waves == [2, 2, 2, 2, 2]


def test_followers_of_a_busy_model_are_released_quickly() -> None:
    single_flight, limit = SingleFlight(), ReleaseLimit()
    leader, *others = [single_flight.join(("e", "m"), limit) for _ in range(2000)]
    leader.succeeded()
    rounds = 0
    while others:
        rounds += 1
        for waiter in [waiter for waiter in others if waiter.role is Role.RELEASED]:
            waiter.succeeded()
        others = [waiter for waiter in others if waiter.role is not Role.DONE]
    assert rounds < 40


def test_other_callers_do_not_wait_after_a_spill() -> None:
    single_flight, limit = SingleFlight(), ReleaseLimit()
    waiter = single_flight.join(("e", "m"), limit)
    assert single_flight.busy(("e", "m"))
    waiter.flight.spilled = True
    assert not single_flight.busy(("e", "m"))
    assert not single_flight.busy(("e", "other"))


def test_the_release_limit_converges_below_the_spill() -> None:
    limit, spills = ReleaseLimit(), 0
    for _ in range(100_000):
        if limit.limit > 5:
            spills += 1
            limit.spilled()
        else:
            limit.succeeded()
    assert limit.limit in (5, 6)
    assert spills < 20


def test_a_loaded_model_needs_no_leader() -> None:
    single_flight, limit = SingleFlight(), ReleaseLimit()
    waiters = [single_flight.join(("e", "m"), limit, ready=True) for _ in range(3)]
    assert [waiter.role for waiter in waiters] == [Role.RELEASED, Role.RELEASED, Role.FOLLOWER]
    waiters[0].found_cold()  # the model was evicted
    assert [waiter.role for waiter in waiters] == [Role.LEADER, Role.RELEASED, Role.FOLLOWER]
    assert single_flight.join(("e", "m"), limit, ready=True).role is Role.FOLLOWER


def test_one_overload_halves_the_limit_once() -> None:
    limiter = LoadLimiter(8, 64)
    limiter.acquire().release(load=(2.0, 2.0))
    slow = [limiter.acquire() for _ in range(8)]
    for permit in slow:
        permit.release(load=(9.0, 9.0))
    assert limiter.limit == 4


def test_a_lasting_overload_keeps_the_limit_low() -> None:
    limiter = LoadLimiter(8, 64)
    limiter.acquire().release(load=(2.0, 2.0))
    for _ in range(30):
        for permit in [limiter.acquire() for _ in range(limiter.limit)]:
            permit.release(load=(9.0, 9.0))
    assert limiter.limit == 1


def test_slowness_counts_concurrent_loads_only() -> None:
    limiter = LoadLimiter(8, 64)
    limiter.acquire().release(load=(2.0, 2.0))
    limiter.acquire().release(load=(90.0, 90.0))  # a large model that loads alone
    assert limiter.slowness == 1
    for permit in [limiter.acquire(at_once=True) for _ in range(8)]:
        permit.release(load=(90.0, 90.0))
    assert 3 < limiter.slowness <= 4, "the last one was not alone when it began"
    for _ in range(30):
        limiter.acquire().release(load=(2.0, 2.0))
    assert limiter.slowness == pytest.approx(1.0, abs=1e-3)


def test_the_limit_grows_only_while_it_is_reached() -> None:
    limiter = LoadLimiter(4, 6)
    limiter.acquire().release(load=(2.0, 2.0))
    assert limiter.limit == 4
    for permit in [limiter.acquire() for _ in range(4)] + [limiter.acquire() for _ in range(20)]:
        permit.release(load=(2.0, 2.0))
    assert limiter.limit == 6


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_without_the_callers_of_its_parent() -> None:
    single_flight = SingleFlight()
    single_flight.join(("e", "m"), ReleaseLimit())
    with single_flight.lock:  # as if another thread held it at the fork
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if single_flight.join(("e", "m"), ReleaseLimit()).role is Role.LEADER else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
