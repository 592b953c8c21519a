"""The rule and the decisions: pure functions of the calls, the endpoint and the past."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import attrs
import numpy as np
import pytest

from mme_sdk.autopilot import Bounds, Decision, Demand, Goal, Machine, Observed, Rule, State, decide
from mme_sdk.autopilot.rule import expected_rates, need
from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import Catalogue

NOW = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
GIB = 2**30
MACHINE = Machine(
    instance_type="small", memory_bytes=4 * GIB, volume_bytes=20 * GIB, vcpus=2, price=0.2, s3_latency=0.0
)
CATALOGUE = Catalogue.uniform(memory_mb=400, archive_mb=100, service_ms=20, load_seconds=2.0)
RULE = Rule(goal=Goal(cold_seconds_per_hour=400.0))
BOUNDS = Bounds(smallest=2, largest=12)


def demand(
    rates: dict[str, float], *, at: datetime = NOW, minutes: int = 60, catalogue: Catalogue = CATALOGUE
) -> Demand:
    calls = {name: round(rate * 60) for name, rate in rates.items()}
    end = at.replace(second=0, microsecond=0)
    return Demand.of({end - timedelta(minutes=age): calls for age in range(1, minutes + 1)}, at=at, catalogue=catalogue)


def many(models: int, rate: float) -> dict[str, float]:
    return {f"m{number}": rate for number in range(models)}


def test_calls_are_counted_in_four_windows_and_the_minute_that_is_not_over_does_not_count():
    end = NOW.replace(second=0)
    calls = {end: {"a": 100}, end - timedelta(minutes=1): {"a": 3}, end - timedelta(minutes=6): {"a": 4, "b": 1},
             end - timedelta(minutes=60): {"b": 2}, end - timedelta(minutes=61): {"b": 50}}  # fmt: skip
    found = Demand.of(calls, at=NOW, catalogue=CATALOGUE)
    assert found.models == ("a", "b")
    assert found.counts.tolist() == [[3, 7, 7, 7], [0, 1, 1, 3]]
    assert found.newest == end - timedelta(minutes=1)


def test_a_rate_is_the_largest_of_the_windows_and_five_minutes_count_from_ten_calls_on():
    end = NOW.replace(second=0)
    calls = {end - timedelta(minutes=1): {"new": 60, "rare": 1}, end - timedelta(minutes=45): {"old": 3600}}
    found = Demand.of(calls, at=NOW, catalogue=CATALOGUE, since=end - timedelta(minutes=60))
    rates = dict(zip(found.models, expected_rates(found, RULE), strict=True))
    assert rates["new"] == pytest.approx(60 / 300)
    assert rates["rare"] == pytest.approx(1 / 900)
    assert rates["old"] == pytest.approx(1.0)


def test_rates_are_not_diluted_by_minutes_before_the_data_begin():
    assert demand({"a": 2.0}, minutes=10).rates(3).tolist() == [2.0]


def test_more_cold_seconds_for_an_instance_hour_never_give_more_instances():
    load = demand(many(60, 0.02))
    counts = [
        need(load, Rule(goal=Goal(cold_seconds_per_hour=worth)), MACHINE, smallest=1, largest=20).count
        for worth in (10.0, 100.0, 1000.0, 10000.0)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_a_price_of_a_cold_second_is_the_same_goal_as_its_seconds():
    load = demand(many(60, 0.02))
    one, other = (need(load, Rule(goal=goal), MACHINE, smallest=1, largest=20).count
                  for goal in (Goal(cold_seconds_per_hour=400.0), Goal(price_of_cold_second=0.2 / 400.0)))  # fmt: skip
    assert one == other


def test_a_share_of_cold_calls_gives_the_fewest_instances_that_keep_it():
    load = demand(many(60, 0.02))
    rule = Rule(goal=Goal(cold_share=0.01))
    found = need(load, rule, MACHINE, smallest=1, largest=20)
    assert found.forecast(found.count).cold_share <= 0.01 < found.forecast(found.count - 1).cold_share


def test_forecasts_improve_with_each_instance():
    forecast = need(demand(many(60, 0.02)), RULE, MACHINE, smallest=1, largest=12).forecast
    for name in ("cold_share", "cold_seconds", "loaders", "vcpus"):
        values = [getattr(forecast(count), name) for count in range(1, 13)]
        assert values == sorted(values, reverse=True)


def test_vcpus_are_kept_under_their_limit_and_the_reason_says_so():
    busy = Catalogue.uniform(memory_mb=10, service_ms=1000)
    found = need(demand({"a": 5.0, "b": 4.0}, catalogue=busy), RULE, MACHINE, smallest=1, largest=12)
    assert found.count == 6  # 9 busy vCPUs of 12 are 75 %
    assert "with 5 instances, the vCPUs would be busier than 75%" in found.reason


def test_too_few_instances_within_the_bounds_give_the_largest_number_and_a_reason():
    busy = Catalogue.uniform(memory_mb=10, service_ms=1000)
    found = need(demand({"a": 50.0}, catalogue=busy), RULE, MACHINE, smallest=1, largest=4)
    assert found.count == 4
    assert "even 4 instances" in found.reason


def test_a_model_larger_than_an_instance_is_refused_by_name():
    with pytest.raises(InvalidInputError, match="'a' is larger than an instance of small"):
        need(demand({"a": 1.0}, catalogue=Catalogue.uniform(memory_mb=5000)), RULE, MACHINE, smallest=1, largest=4)


def run(load: Demand, count: int, state: State | None = None, **changes) -> Decision:
    settings = {"rule": RULE, "bounds": BOUNDS, "machine": MACHINE} | changes
    return decide(load, Observed(count=count), state, endpoint="e", **settings)


def test_it_grows_at_once_and_shrinks_by_one_after_thirty_minutes_of_low_demand():
    first = run(demand(many(60, 0.1)), 2)
    assert (first.action, first.count) == ("grow", first.wanted)
    state, count, moves = first.state, first.count, []
    for minute in range(1, 70):
        at = NOW + timedelta(minutes=minute)
        found = run(demand(many(3, 0.1), at=at), count, state)
        state, count = found.state, found.count
        if found.action == "shrink":
            moves.append(minute)
            assert found.count == found.before - 1
    assert moves == [31, 61]


def test_a_short_peak_starts_the_thirty_minutes_again():
    state = State(at=NOW - timedelta(minutes=1), count=4, low_since=NOW - timedelta(minutes=29))
    high = run(demand(many(60, 0.1)), 12, state)
    assert high.state.low_since is None or high.wanted < 12
    again = run(demand(many(40, 1.0)), 4, state)
    assert again.action == "grow"
    assert again.state.low_since is None


@pytest.mark.parametrize(
    ("observed", "text"),
    [
        ({"status": "Updating"}, "the endpoint is Updating"),
        ({"status": "Failed"}, "the endpoint is Failed"),
        ({"alarms": ("p99-high",)}, "in the state ALARM: p99-high"),
        ({"missing": "the calls could not be read: S3 is down"}, "the calls could not be read: S3 is down"),
    ],
)
def test_it_freezes_during_deploys_and_alarms_and_without_data(observed, text):
    found = decide(
        demand(many(60, 0.1)), Observed(count=2, **observed), rule=RULE, bounds=BOUNDS, machine=MACHINE, endpoint="e"
    )
    assert (found.action, found.count, found.wanted) == ("freeze", 2, None)
    assert text in found.reasons[-1]


def test_it_freezes_when_calls_stop_and_when_too_many_are_not_recorded_by_model():
    end = NOW.replace(second=0)
    stopped = Demand.of({end - timedelta(minutes=20): {"a": 60}}, at=NOW, catalogue=CATALOGUE)
    assert "the newest call is 20 minutes old" in run(stopped, 3).reasons[-1]
    nothing = Demand.of({}, at=NOW, catalogue=CATALOGUE)
    assert run(nothing, 3).action == "freeze"
    unnamed = attrs.evolve(demand({"a": 1.0}), unnamed=3600)
    assert "50% of the calls are not recorded by model" in run(unnamed, 3).reasons[-1]


def test_low_traffic_since_before_a_freeze_does_not_shrink_sooner_than_thirty_minutes():
    frozen = decide(
        demand(many(3, 0.1)), Observed(count=5, status="Updating"), State(at=NOW, count=5),
        rule=RULE, bounds=BOUNDS, machine=MACHINE,
    )  # fmt: skip
    assert run(demand(many(3, 0.1)), 5, frozen.state).action == "hold"


def test_moves_an_hour_are_bounded():
    moves = tuple(NOW - timedelta(minutes=10 * number) for number in range(1, 4))
    state = State(at=NOW - timedelta(minutes=1), count=2, moves=moves)
    found = run(demand(many(60, 0.1)), 2, state, bounds=Bounds(smallest=2, largest=12, moves_per_hour=3))
    assert (found.action, found.count) == ("hold", 2)
    assert "3 changes within 60 minutes are the largest number allowed" in found.reasons
    late = run(demand(many(60, 0.1), at=NOW + timedelta(minutes=31)), 2, state,
               bounds=Bounds(smallest=2, largest=12, moves_per_hour=3))  # fmt: skip
    assert late.action == "grow"


def test_instances_that_another_program_added_count_for_the_money_of_the_day():
    past = State(at=NOW - timedelta(hours=2), count=2, spent=1.0)
    for seen, spent in ((2, 1.8), (6, 3.4), (0, 1.8)):
        found = run(demand(many(60, 0.1)), seen, past, bounds=Bounds(smallest=2, largest=12, money_per_day=40.0))
        assert found.state.spent == pytest.approx(spent)


@pytest.mark.parametrize(("limit", "hours"), [(11.0, 0), (13.0, 0), (20.0, 0), (40.0, 0), (11.0, 9), (13.0, -8)])
def test_money_of_a_day_is_never_exceeded_whatever_the_traffic_and_the_zone_of_the_clock(limit, hours):
    bounds = Bounds(smallest=2, largest=12, money_per_day=limit)
    midnight = datetime(2026, 3, 5, tzinfo=UTC)
    state, count, spent = State(at=midnight, count=2), 2, 0.0
    rng = np.random.default_rng(3)
    for minute in range(1, 1440):
        spent += count * 0.2 / 60.0
        if minute % 15 == 0:
            at = (midnight + timedelta(minutes=minute)).astimezone(timezone(timedelta(hours=hours)))
            load = Demand(
                at=at, models=tuple(f"m{number}" for number in range(40)), minutes=60, newest=at,
                counts=rng.integers(500, 1000, (40, 4)), profiles=tuple(CATALOGUE["m"] for _ in range(40)),
            )  # fmt: skip
            found = run(load, count, state, bounds=bounds)
            state, count = found.state, found.count
    assert spent <= limit
    assert spent >= 2 * 0.2 * 23


def test_money_a_day_needs_a_price():
    with pytest.raises(InvalidInputError, match="needs the price"):
        run(demand({"a": 1.0}), 2, bounds=Bounds(smallest=2, largest=4, money_per_day=5.0),
            machine=attrs.evolve(MACHINE, price=None))  # fmt: skip


def test_a_schedule_raises_the_number():
    found = decide(demand({"a": 1.0}), Observed(count=2, floor=5), rule=RULE, bounds=BOUNDS, machine=MACHINE)
    assert (found.action, found.count) == ("grow", 5)
    assert "the schedule demands 5 instances now" in found.reasons


def test_a_decision_is_repeated_exactly_from_its_record():
    state = State(
        at=NOW - timedelta(minutes=3), count=6, low_since=NOW - timedelta(minutes=40), moves=(NOW,), spent=1.5
    )
    for load, count in (
        (demand(many(60, 0.1)), 4),
        (demand(many(3, 0.1)), 6),
        (Demand.of({}, at=NOW, catalogue=CATALOGUE), 3),
    ):
        found = run(load, count, state)
        read = Decision.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
        assert read.to_dict() == found.to_dict()
        assert read.repeat().to_dict() == found.to_dict()


@pytest.mark.parametrize("change", [{"format": 2}, {"demand": {}}, {"at": "yesterday"}, {"bounds": {"largest": 0}}])
def test_a_damaged_record_is_refused(change):
    with pytest.raises(InvalidInputError):
        Decision.from_dict(run(demand({"a": 1.0}), 2).to_dict() | change)


@pytest.mark.parametrize("given", [{}, {"cold_seconds_per_hour": 0.0}, {"cold_share": 2.0}])
def test_a_goal_without_a_figure_or_with_an_impossible_one_is_refused(given):
    with pytest.raises(InvalidInputError):
        Goal(**given)


def test_after_a_freeze_the_thirty_minutes_begin_again():
    state = State(at=NOW, count=5, low_since=NOW - timedelta(minutes=29))
    frozen = decide(demand({"a": 1.0}), Observed(count=5, status="Updating"), state, rule=RULE, bounds=BOUNDS,
                    machine=MACHINE)  # fmt: skip
    assert frozen.state.low_since is None
