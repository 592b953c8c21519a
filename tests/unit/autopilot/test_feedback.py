"""The measured cold calls, the removal of several instances, and goals of two figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from mme_sdk.autopilot import Bounds, Decision, Demand, Goal, Machine, Observed, Rule, State, decide
from mme_sdk.autopilot.demand import measured_cold_share
from mme_sdk.autopilot.rule import corrected_packing, need
from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import Catalogue
from mme_sdk.recording.minutes import RecordedMinute

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
GIB = 2**30
MACHINE = Machine(instance_type="small", memory_bytes=4 * GIB, volume_bytes=20 * GIB, vcpus=2, s3_latency=0.0)
CATALOGUE = Catalogue.uniform(memory_mb=400, archive_mb=100, service_ms=20, load_seconds=2.0)
RULE = Rule(goal=Goal(cold_seconds_per_hour=400.0))
BOUNDS = Bounds(smallest=2, largest=20)


def demand(models: int, calls: int = 6, *, at: datetime = NOW, cold: float | None = None, minutes: int = 60) -> Demand:
    """Return the demand of models with so many calls in each of the last minutes."""
    named = {f"m{number}": calls for number in range(models)}
    return Demand.of(
        {at - timedelta(minutes=age): named for age in range(1, minutes + 1)}, at=at, catalogue=CATALOGUE,
        since=at - timedelta(minutes=60), cold_share=cold,
    )  # fmt: skip


def corrected(load: Demand, packing: float = 0.95, minutes: float = 3.0, count: int = 7) -> float:
    return corrected_packing(load, RULE, MACHINE, count=count, packing=packing, minutes=minutes)


def test_more_cold_calls_than_the_formula_says_lower_the_packing_and_fewer_raise_it():
    said = need(demand(60), RULE, MACHINE, smallest=2, largest=20).forecast(6).cold_share
    assert 0.005 < said < 0.5
    assert corrected(demand(60, cold=said), count=6) == pytest.approx(0.95)
    more, much_more = (corrected(demand(60, cold=one), count=6) for one in (min(1.0, 2.0 * said), 1.0))
    assert much_more < more < 0.95
    assert corrected(demand(60, cold=said / 2.0), count=6) > 0.95


def test_it_lowers_the_packing_where_the_formula_says_that_no_call_is_cold():
    assert need(demand(60), RULE, MACHINE, smallest=2, largest=20).forecast(9).cold_share == 0.0
    assert corrected(demand(60, cold=0.05), count=9) < 0.95


def test_the_correction_stays_between_four_fifths_and_one_and_fades_without_measurements():
    bad, unknown, good = demand(60, cold=1.0), demand(60), demand(60, cold=0.0)
    packing = 0.95
    for _ in range(8):
        packing = corrected(bad, packing, 15.0, count=9)
    assert packing == pytest.approx(0.8)
    for _ in range(24):
        packing = corrected(unknown, packing, 15.0)
    assert packing == pytest.approx(0.95 * (0.8 / 0.95) ** 0.5)  # half of it after six hours
    for _ in range(8):
        packing = corrected(good, packing, 15.0, count=3)
    assert packing == 1.0


def test_a_packing_of_the_rule_below_the_least_correction_is_kept():
    rule = attrs.evolve(RULE, packing=0.6)
    found = corrected_packing(demand(60, cold=1.0), rule, MACHINE, count=30, packing=0.6, minutes=15.0)
    assert found == pytest.approx(0.6)


def test_first_calls_of_models_say_nothing_about_the_memory():
    first = demand(20, minutes=10)  # 20 models that were not called before
    share = 20 * (1.0 + 0.07 * 2.8) / first.calls
    assert corrected(attrs.evolve(first, cold_share=share), count=12) == pytest.approx(0.95, abs=0.001)
    assert corrected(demand(20, cold=share), count=12) < 0.949


def step(load: Demand, count: int, state: State | None, rule: Rule = RULE) -> Decision:
    return decide(load, Observed(count=count), state, rule=rule, bounds=BOUNDS, machine=MACHINE, endpoint="e")


def test_cold_calls_that_the_formula_does_not_know_add_instances_and_the_record_repeats():
    count = step(demand(60), 2, None).count
    state = State(at=NOW - timedelta(minutes=3), count=count)
    found = first = step(demand(60), count, state)
    for minute in range(3, 120, 3):
        found = step(demand(60, at=NOW + timedelta(minutes=minute), cold=0.2), count, found.state)
        if found.action == "grow":
            break
    assert first.action == "hold"
    assert (found.action, found.count) == ("grow", count + 1)
    assert found.state.packing < 0.95
    read = Decision.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert read.repeat().to_dict() == found.to_dict()


def test_cold_calls_after_a_change_do_not_correct():
    moved = State(at=NOW - timedelta(minutes=3), count=8, moves=(NOW - timedelta(minutes=10),), packing=0.9)
    assert step(demand(60, cold=1.0), 8, moved).state.packing == 0.9
    settled = attrs.evolve(moved, moves=(NOW - timedelta(minutes=21),))
    assert step(demand(60, cold=1.0), 8, settled).state.packing < 0.9
    otherwise = attrs.evolve(settled, count=7)  # somebody else changed the number
    assert step(demand(60, cold=1.0), 8, otherwise).state.packing == 0.9


def test_a_record_of_an_older_version_is_read_and_repeats():
    found = step(demand(60), 4, State(at=NOW - timedelta(minutes=3), count=4)).to_dict()
    old = json.loads(json.dumps(found))
    del old["demand"]["cold_share"], old["rule"]["shrink_by"]
    for state in (old["state"], old["previous"]):
        del state["packing"], state["low_most"]
    read = Decision.from_dict(old)
    assert read.repeat().to_dict() == read.to_dict() == found


def test_several_instances_are_removed_down_to_the_most_that_were_wanted():
    rule = attrs.evolve(RULE, shrink_by=20)
    most = need(demand(40), rule, MACHINE, smallest=2, largest=20).count
    least = need(demand(10), rule, MACHINE, smallest=2, largest=20).count
    assert least + 2 <= most <= 9
    state, actions = State(at=NOW, count=12), []
    for minute in range(3, 72, 3):
        load = demand(40 if minute < 15 else 10, at=NOW + timedelta(minutes=minute))
        found = step(load, state.count, state, rule)
        state = found.state
        if found.action != "hold":
            actions.append((minute, found.action, found.count))
    assert actions == [(33, "shrink", most), (63, "shrink", least)]


def test_no_more_than_shrink_by_are_removed():
    low = State(at=NOW, count=12, low_since=NOW - timedelta(minutes=40), low_most=3)
    assert step(demand(10), 12, low, attrs.evolve(RULE, shrink_by=4)).count == 8
    assert step(demand(10), 12, low).count == 11


def test_instances_that_were_removed_otherwise_begin_the_thirty_minutes_again():
    low = State(at=NOW, count=12, low_since=NOW - timedelta(minutes=40), low_most=6)
    found = step(demand(10), 5, low, attrs.evolve(RULE, shrink_by=4))
    assert (found.action, found.state.low_since) == ("hold", NOW)


def test_a_goal_of_two_figures_takes_the_cheapest_number_that_keeps_the_share():
    load = demand(60, calls=1)
    worth, share = Goal(cold_seconds_per_hour=20_000.0), Goal(cold_share=0.01)
    both = Goal(cold_seconds_per_hour=20_000.0, cold_share=0.01)
    counts = [need(load, Rule(goal=one), MACHINE, smallest=1, largest=20).count for one in (worth, share, both)]
    assert counts[0] < counts[1] == counts[2]
    assert (
        "among those with at most 1.00% cold calls"
        in need(load, Rule(goal=both), MACHINE, smallest=1, largest=20).reason
    )
    worth, both = Goal(cold_seconds_per_hour=1.0), Goal(cold_seconds_per_hour=1.0, cold_share=0.5)
    more = [need(load, Rule(goal=one), MACHINE, smallest=1, largest=20).count for one in (worth, both)]
    assert more[0] == more[1] > need(load, Rule(goal=Goal(cold_share=0.5)), MACHINE, smallest=1, largest=20).count
    impossible = need(load, Rule(goal=share), MACHINE, smallest=1, largest=2)
    assert (impossible.count, "no allowed number of instances" in impossible.reason) == (2, True)


def test_a_goal_has_one_value_of_waiting():
    with pytest.raises(InvalidInputError, match="not both"):
        Goal(cold_seconds_per_hour=1.0, price_of_cold_second=1.0)


def test_the_measured_share_is_that_of_the_last_fifteen_minutes_of_the_variant():
    def minute(age: int, calls: int, cold: int, **changes: str) -> RecordedMinute:
        at = NOW - timedelta(minutes=age)
        return attrs.evolve(RecordedMinute(at=at, endpoint="e", model="a", calls=calls, cold=cold), **changes)

    records = [
        minute(0, 100, 100), minute(1, 10, 1), minute(15, 10, 2, variant="v"), minute(16, 100, 100),
        minute(2, 10, 10, endpoint="f"), minute(3, 20, 20, variant="w"),
    ]  # fmt: skip
    assert measured_cold_share(records, "e", "v", at=NOW) == 3 / 20
    assert measured_cold_share(records, "e", at=NOW) == 23 / 40
    assert measured_cold_share([], "e", at=NOW) is None


@pytest.mark.parametrize("goal", [{"cold_share": 0.02}, {"cold_seconds_per_hour": 40.0},
                                  {"cold_seconds_per_hour": 9_000.0, "cold_share": 0.02}])  # fmt: skip
@pytest.mark.parametrize("calls", [1, 30, 400])
def test_the_search_finds_the_same_number_as_a_look_at_every_number(goal, calls):
    rule, load = Rule(goal=Goal(**goal)), demand(60, calls=calls)
    found = need(load, rule, MACHINE, smallest=1, largest=24)
    every = [found.forecast(count) for count in range(1, 25)]
    able = [one for one in every if one.loaders <= rule.loader_limit and one.vcpus <= rule.vcpu_limit]
    able = [one for one in able if one.cold_share <= goal.get("cold_share", 1.0)]
    worth = goal.get("cold_seconds_per_hour", float("inf"))
    assert found.count == min(able, key=lambda one: (one.count + one.cold_seconds / worth, one.count)).count
