"""The single flight, model-checked: on any interleaving somebody leads, nobody is forgotten, and nothing is left."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mme_sdk.runtime.cold_start.load_limiter import Slot, Slots
from mme_sdk.runtime.cold_start.single_flight import Flights, Pace, Role, Seat

KEYS = [("e", "a"), ("e", "b"), ("f", "a")]


class FlightMachine(RuleBasedStateMachine):
    """Callers come, find the model cold or ready, and leave, in any order; a plain list is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.flights = Flights()
        self.pace = Pace()
        self.present: list[Seat] = []
        self.subscribed: dict[int, Role] = {}
        self.woken: set[int] = set()

    seats: Bundle[Seat] = Bundle("seats")

    @rule(target=seats, key=st.sampled_from(KEYS))
    def join(self, key: tuple[str, str]) -> Seat:
        alone = not any(seat.flight.key == key for seat in self.present)
        seat = self.flights.join(key, self.pace)
        assert not alone or seat.role is Role.LEADS
        self.present.append(seat)
        return seat

    @rule(seat=seats)
    def wait(self, seat: Seat) -> None:
        if seat in self.present and id(seat) not in self.subscribed:
            self.subscribed[id(seat)] = seat.role
            seat.subscribe(lambda: self.woken.add(id(seat)))

    @rule(seat=seats)
    def finds_it_cold(self, seat: Seat) -> None:
        if seat in self.present and seat.role is not Role.WAITS:
            seat.cold()
            assert seat.role is not Role.GOES
            if seat.role is Role.WAITS:
                self.subscribed.pop(id(seat), None)
                self.woken.discard(id(seat))

    @rule(seat=consumes(seats))
    def is_answered(self, seat: Seat) -> None:
        if seat in self.present and seat.role is not Role.WAITS:
            others = [other for other in self.present if other is not seat and other.flight is seat.flight]
            seat.ready()
            self.present.remove(seat)
            assert not others or any(other.role is Role.GOES for other in others)
            assert all(other.role is not Role.LEADS for other in others)

    @rule(seat=consumes(seats))
    def gives_up(self, seat: Seat) -> None:
        seat.leave()
        seat.leave()
        if seat in self.present:
            self.present.remove(seat)

    @invariant()
    def one_leader_and_nobody_stuck(self) -> None:
        for key in KEYS:
            here = [seat for seat in self.present if seat.flight.key == key]
            roles = [seat.role for seat in here]
            assert Role.LEFT not in roles
            assert roles.count(Role.LEADS) <= 1
            if Role.WAITS in roles:
                assert Role.LEADS in roles or Role.GOES in roles, "callers wait for nobody"
            assert len({id(seat.flight) for seat in here}) <= 1

    @invariant()
    def whoever_may_act_was_woken(self) -> None:
        for seat in self.present:
            before = self.subscribed.get(id(seat))
            if before is not None and seat.role is not before:
                assert id(seat) in self.woken

    @invariant()
    def nothing_is_left_behind(self) -> None:
        assert len(self.flights) == len({seat.flight.key for seat in self.present})


class SlotMachine(RuleBasedStateMachine):
    """Slots are taken and given back in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(2, 5)
        self.present: list[Slot] = []

    taken: Bundle[Slot] = Bundle("taken")

    @rule(target=taken, at_once=st.booleans())
    def take(self, at_once: bool) -> Slot:
        slot = self.slots.take(at_once=at_once)
        assert slot.granted or not at_once
        self.present.append(slot)
        return slot

    @rule(slot=consumes(taken), load=st.sampled_from([None, (1.0, 1.0), (5.0, 6.0)]))
    def give_back(self, slot: Slot, load: tuple[float, float] | None) -> None:
        slot.give_back(load)
        slot.give_back(load)
        self.present.remove(slot)

    @invariant()
    def no_slot_is_lost_or_made_up(self) -> None:
        granted = [slot for slot in self.present if slot.granted]
        assert self.slots.used == len(granted)
        assert 1 <= self.slots.limit <= 5
        if len(granted) < len(self.present):
            assert len(granted) >= self.slots.limit, "somebody waits for a slot that is free"


FlightMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
SlotMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestFlights = FlightMachine.TestCase
TestSlots = SlotMachine.TestCase


def test_followers_go_a_few_at_a_time() -> None:
    flights, pace = Flights(), Pace()
    leader, *others = [flights.join(("e", "m"), pace) for _ in range(11)]
    leader.ready()
    waves = []
    while others:
        going = [seat for seat in others if seat.role is Role.GOES]
        waves.append(len(going))
        for seat in going:
            seat.ready()
        others = [seat for seat in others if seat.role is not Role.LEFT]
    assert waves == [2, 2, 2, 2, 2]


def test_a_busy_model_is_not_held_up_for_long() -> None:
    flights, pace = Flights(), Pace()
    leader, *others = [flights.join(("e", "m"), pace) for _ in range(2000)]
    leader.ready()
    rounds = 0
    while others:
        rounds += 1
        for seat in [seat for seat in others if seat.role is Role.GOES]:
            seat.ready()
        others = [seat for seat in others if seat.role is not Role.LEFT]
    assert rounds < 40


def test_a_spill_holds_up_nobody_else() -> None:
    flights, pace = Flights(), Pace()
    seat = flights.join(("e", "m"), pace)
    assert flights.busy(("e", "m"))
    seat.flight.spill = True
    assert not flights.busy(("e", "m"))
    assert not flights.busy(("e", "other"))


def test_the_pace_finds_what_does_not_spill() -> None:
    pace, spills = Pace(), 0
    for _ in range(100_000):
        if pace.width > 5:
            spills += 1
            pace.spilled()
        else:
            pace.as_usual()
    assert pace.width in (5, 6)
    assert spills < 20


def test_nobody_leads_where_the_model_is_there() -> None:
    flights, pace = Flights(), Pace()
    seats = [flights.join(("e", "m"), pace, ready=True) for _ in range(3)]
    assert [seat.role for seat in seats] == [Role.GOES, Role.GOES, Role.WAITS]
    seats[0].cold()  # it went after all
    assert [seat.role for seat in seats] == [Role.LEADS, Role.GOES, Role.WAITS]
    assert flights.join(("e", "m"), pace, ready=True).role is Role.WAITS


def test_slots_halve_once_for_one_jam() -> None:
    slots = Slots(8, 64)
    slots.take().give_back(load=(2.0, 2.0))
    jammed = [slots.take() for _ in range(8)]
    for slot in jammed:
        slot.give_back(load=(9.0, 9.0))
    assert slots.limit == 4


def test_a_jam_that_lasts_is_still_a_jam() -> None:
    slots = Slots(8, 64)
    slots.take().give_back(load=(2.0, 2.0))
    for _ in range(30):
        for slot in [slots.take() for _ in range(slots.limit)]:
            slot.give_back(load=(9.0, 9.0))
    assert slots.limit == 1


def test_a_jam_has_its_price_and_a_slow_model_has_not() -> None:
    slots = Slots(8, 64)
    slots.take().give_back(load=(2.0, 2.0))
    slots.take().give_back(load=(90.0, 90.0))  # alone: a large model, no jam
    assert slots.slowness == 1
    for slot in [slots.take(at_once=True) for _ in range(8)]:
        slot.give_back(load=(90.0, 90.0))
    assert 3 < slots.slowness <= 4, "the last one to end was not alone when it began"
    for _ in range(30):
        slots.take().give_back(load=(2.0, 2.0))
    assert slots.slowness == pytest.approx(1.0, abs=1e-3)


def test_slots_grow_only_when_all_were_taken() -> None:
    slots = Slots(4, 6)
    slots.take().give_back(load=(2.0, 2.0))
    assert slots.limit == 4
    for slot in [slots.take() for _ in range(4)] + [slots.take() for _ in range(20)]:
        slot.give_back(load=(2.0, 2.0))
    assert slots.limit == 6


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_without_the_flights_of_its_parent() -> None:
    flights = Flights()
    flights.join(("e", "m"), Pace())
    with flights.lock:  # as if another thread held it just now
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if flights.join(("e", "m"), Pace()).role is Role.LEADS else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
