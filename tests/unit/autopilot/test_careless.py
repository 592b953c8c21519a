"""What a careless caller, a damaged journal and a clock that goes back do to the autopilot."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from mme_sdk import MMEClient
from mme_sdk.autopilot import (
    Autopilot,
    Bounds,
    Decision,
    Demand,
    Goal,
    Journal,
    Machine,
    Observed,
    Rule,
    State,
    decide,
)
from mme_sdk.cli.__main__ import main
from mme_sdk.errors import InvalidInputError, StorageError
from mme_sdk.planning import Catalogue

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GIB = 2**30
MACHINE = Machine(instance_type="small", memory_bytes=4 * GIB, volume_bytes=20 * GIB, vcpus=2, price=0.2)
CATALOGUE = Catalogue.uniform(memory_mb=400, archive_mb=100, service_ms=20, load_seconds=2.0)
SETTINGS: dict[str, Any] = {
    "rule": Rule(goal=Goal(cold_share=0.001)), "bounds": Bounds(smallest=2, largest=12), "machine": MACHINE,
}  # fmt: skip
JUNK: tuple[Any, ...] = (None, 5, -1, "x", [], {}, [5], {"a": 5}, 1e308, 10**30, "2026-01-01T00:00:00")


def demand(models: int, *, at: datetime = NOW) -> Demand:
    calls = {f"m{number}": 30 for number in range(models)}
    return Demand.of({at - MINUTE * age: calls for age in range(1, 61)}, at=at, catalogue=CATALOGUE)


def decision(models: int = 20, count: int = 2, past: State | None = None, at: datetime = NOW) -> Decision:
    return decide(demand(models, at=at), Observed(count=count), past, endpoint="scoring", **SETTINGS)


@pytest.mark.parametrize("value", [None, 5, "x", [], {}])
def test_settings_of_a_wrong_class_are_refused_by_name(value: Any) -> None:
    client = MMEClient(region="eu-west-1")
    junk: Any = value or 5
    given = {**SETTINGS, "catalogue": CATALOGUE, "recordings": "s3://b/r/"}
    for name in ("rule", "bounds", "machine", "catalogue"):
        with pytest.raises(InvalidInputError, match=f"^{name} must be of type"):
            Autopilot(client, "scoring", **{**given, name: value})
    for name in SETTINGS:
        with pytest.raises(InvalidInputError, match=f"^{name} must be of type"):
            decide(demand(3), Observed(count=2), **{**SETTINGS, name: value})
    tries: dict[str, Any] = {
        "client": lambda: Autopilot(value, "scoring", **given),
        "learn": lambda: Autopilot(client, "scoring", **given, learn=value),
        "goal": lambda: Rule(goal=value),
        "observed": lambda: decide(demand(3), value, **SETTINGS),
        "a time": lambda: Demand.of({}, at=value, catalogue=CATALOGUE),
        "calls": lambda: Demand.of({NOW - MINUTE: junk}, at=NOW, catalogue=CATALOGUE),
        "decision": lambda: Journal("x").add(value),
    }
    for what, made in tries.items():
        with pytest.raises(InvalidInputError, match=what):
            made()


def test_one_name_of_an_alarm_is_not_read_as_a_list_of_letters() -> None:
    with pytest.raises(InvalidInputError, match="alarms must be a list of names of alarms, not 'latency'"):
        Autopilot(
            MMEClient(region="eu-west-1"), "scoring", catalogue=CATALOGUE, recordings="s3://b/r/", alarms="latency",
            **SETTINGS,
        )  # fmt: skip
    with pytest.raises(InvalidInputError, match="alarms must be a list"):
        Observed(count=1, alarms="latency")


@pytest.mark.parametrize("count", [float("nan"), float("inf"), 10**30, -1, "3", True])
def test_calls_that_are_no_number_of_calls_are_refused(count: Any) -> None:
    with pytest.raises(InvalidInputError, match="the calls of 'a' must be a whole number"):
        Demand.of({NOW - MINUTE: {"a": count}}, at=NOW, catalogue=CATALOGUE)


def test_bounds_that_the_rule_cannot_compute_in_time_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Bounds\.largest must be a whole number at least 1 and at most 1000"):
        Bounds(largest=10**9)


def test_the_model_that_is_too_large_for_the_volume_is_the_one_that_is_named() -> None:
    catalogue = Catalogue.from_table(
        {"model": ["a", "b"], "memory_bytes": [3 * GIB, GIB], "disk_bytes": [GIB, 90 * GIB]}
    )
    calls = Demand.of({NOW - MINUTE: {"a": 5, "b": 5}}, at=NOW, catalogue=catalogue)
    with pytest.raises(InvalidInputError, match=r"model 'b' is larger than an instance of small.*volume"):
        decide(calls, Observed(count=2), **SETTINGS)


def test_settings_that_contradict_or_lack_a_price_are_refused_at_once() -> None:
    client = MMEClient(region="eu-west-1")
    given = {**SETTINGS, "catalogue": CATALOGUE, "recordings": "s3://b/r/"}
    free = attrs.evolve(MACHINE, price=None)
    with pytest.raises(InvalidInputError, match="money_per_day needs the price of an instance"):
        Autopilot(client, "scoring", **{**given, "machine": free, "bounds": Bounds(largest=3, money_per_day=100.0)})
    with pytest.raises(InvalidInputError, match="a price of a cold second needs the price of an instance"):
        Autopilot(client, "scoring", **{**given, "machine": free, "rule": Rule(goal=Goal(price_of_cold_second=0.1))})
    with pytest.raises(InvalidInputError, match=r"2 instances, the smallest number, cost 9\.60 a day"):
        Autopilot(client, "scoring", **{**given, "bounds": Bounds(largest=3, money_per_day=9.5)})
    Autopilot(client, "scoring", **{**given, "bounds": Bounds(largest=3, money_per_day=9.6)})


def test_a_clock_that_went_back_does_not_hold_the_number_for_as_long() -> None:
    year = timedelta(days=365)
    past = State(at=NOW + year, count=6, low_since=NOW + year, moves=(NOW + year,) * 11)
    count, moment = 6, NOW
    for _ in range(62):
        found = decision(models=3, count=count, past=past, at=moment)
        assert not any("-" in reason for reason in found.reasons), found.reasons
        assert found.repeat().to_dict() == found.to_dict()
        past, count, moment = found.state, found.count, moment + MINUTE
    assert count == 4  # fewer suffice: one is removed after 30 minutes, and one after 30 more


def test_a_change_that_is_not_in_effect_yet_is_one_change() -> None:
    past: State | None = None
    for minute in range(30):  # apply="nothing", or AWS is slow: 2 instances run
        found = decision(models=40, count=2, past=past, at=NOW + MINUTE * minute)
        assert (found.action, found.count) == ("grow", found.count)
        assert found.count > 2
        assert len(found.state.moves) == 1
        past = found.state


def test_every_value_of_a_record_is_checked() -> None:
    record = json.loads(json.dumps(decision().to_dict()))
    for name in record:
        for value in JUNK:
            _refused_or_usable({**copy.deepcopy(record), name: value})
        if isinstance(record[name], dict):
            for inner in record[name]:
                for value in JUNK:
                    changed = copy.deepcopy(record)
                    changed[name][inner] = value
                    _refused_or_usable(changed)


def _refused_or_usable(record: dict[str, Any]) -> None:
    try:
        found = Decision.from_dict(record)
        assert isinstance(found.at < NOW, bool)
        assert str(found)
        attrs.evolve(found, previous=found.state).repeat().to_dict()
    except InvalidInputError:
        return


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b"5", b'{"format":1}', b"\xff\xfe", b'{"format":1,"at":' + b"9" * 9000 + b"}"]
)
def test_a_hostile_line_is_named(line: bytes, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(decision())
    (tmp_path / "2026-03-05.jsonl").write_bytes(line + b"\n")
    with pytest.raises(InvalidInputError, match=r"2026-03-05\.jsonl, line 1"):
        journal.read()
    assert len(journal.read(end=NOW + MINUTE)) == 1


@pytest.mark.parametrize("address", [None, 5, "", b"x", [], "a\0b", "http://host/x"])
def test_an_address_that_is_none_of_a_journal_is_refused(address: Any) -> None:
    with pytest.raises(InvalidInputError, match="prefix"):
        Journal(address)


@pytest.mark.parametrize("moment", ["2026-03-04", 5, NOW.replace(tzinfo=None)])
def test_times_without_a_zone_are_refused(moment: Any, tmp_path: Path) -> None:
    for name in ("start", "end"):
        with pytest.raises(InvalidInputError, match=f"{name} must be a time with a time zone"):
            Journal(tmp_path).read(**{name: moment})


def test_a_directory_that_is_a_file_raises_no_error_of_python(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Journal(tmp_path / "file").add(decision())
    with pytest.raises(StorageError, match="cannot be read"):
        Journal(tmp_path / "file").read()
    (tmp_path / "2026-03-04.jsonl").mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        Journal(tmp_path).read()
    assert Journal(tmp_path / "absent").read() == []


@pytest.mark.parametrize("hours", ["1e12", "1e400", "nan", "-1"])
def test_hours_before_the_first_year_are_a_usage_error(hours: str, tmp_path: Path) -> None:
    assert main(["autopilot", "explain", "e", "--journal", str(tmp_path), "--hours", hours]) == 64
    assert main(["autopilot", "explain", "e", "--journal", str(tmp_path), "--hours", "1e7"]) == 0
