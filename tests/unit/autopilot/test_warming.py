"""Models that are loaded before they are called, because they were called a week earlier."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import attrs
import pytest

from mme_sdk import MMEClient
from mme_sdk.autopilot import Autopilot, Bounds, Decision, Demand, Observed, decide, learned_models
from mme_sdk.errors import EndpointNotFoundError, InvalidInputError
from mme_sdk.planning import Catalogue
from tests.unit.autopilot.test_careless import CATALOGUE, MACHINE, MINUTE, NOW, SETTINGS
from tests.unit.autopilot.test_journal import Bucket, kept, pilot

WEEK = timedelta(days=7)
SIZE = CATALOGUE["any"].memory_bytes


def past(ages: dict[str, int], *, after: int) -> Decision:
    """A decision some minutes after the time a week earlier; each model was called so many minutes before it."""
    at = NOW - WEEK + after * MINUTE
    minutes: dict[Any, dict[str, int]] = {}
    for number, (name, age) in enumerate(ages.items()):
        minutes.setdefault(at - age * MINUTE, {})[name] = 1 + number
    return decide(Demand.of(minutes, at=at, catalogue=CATALOGUE), Observed(count=2), endpoint="scoring", **SETTINGS)


def now(*models: str) -> Demand:
    return Demand.of({NOW - 2 * MINUTE: dict.fromkeys(models, 1)}, at=NOW, catalogue=CATALOGUE)


def test_models_of_the_coming_minutes_are_those_that_are_not_in_memory_already():
    week = [
        past({"late": 3}, after=29),  # after the 20 minutes to come
        past({"awake": 1, "rare": 4, "often": 2, "before": 45, "loaded": 3}, after=19),
        past({"old": 1}, after=5),  # an earlier decision: a newer one is there
        past({"over": 1}, after=-3),
    ]
    assert learned_models(week, now("awake"), ahead=20, space=1e12, done={"loaded"}) == ("often", "rare")
    assert learned_models(week, now("awake"), ahead=20, space=1.5 * SIZE) == ("loaded",)
    assert learned_models(week, now("awake"), ahead=20, space=-1.0) == ()
    assert learned_models(week, now(), ahead=4, space=1e12) == ()  # the only decision of that time is over
    with pytest.raises(InvalidInputError, match="ahead must be a whole number at least 1 and at most 60"):
        learned_models(week, now(), ahead=61, space=1.0)


class Endpoint:
    """What the autopilot calls of an endpoint."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.scaled: list[int] = []
        self.failing: Exception | None = None

    def warm(self, models: Any, **options: Any) -> str:
        if self.failing is not None:
            raise self.failing
        self.asked.append((models, options))
        return f"{len(models)} models are loaded"

    def scale(self, count: int, **_: Any) -> None:
        self.scaled.append(count)


def flown(bucket: Bucket, endpoint: Endpoint, **changes: Any) -> Autopilot:
    made = pilot(
        bucket, NOW, learn=True, warm=20, apply="scale", calls=lambda _: {NOW - 2 * MINUTE: {"awake": 3}}, **changes
    )
    made._client.endpoint = lambda _: endpoint  # type: ignore[assignment,method-assign,misc,return-value]
    return made


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_they_are_loaded_once_on_the_instances_that_run_and_again_after_an_hour(bucket):
    for hour in range(2):
        kept(bucket).add(past({"b": 1}, after=20 + 60 * hour))
    endpoint = Endpoint()
    made = flown(bucket, endpoint)
    made.step()
    options = {"target_variant": "AllTraffic", "at_a_time": 2 * MACHINE.loader_slots}
    assert endpoint.asked == [(["b"], options)]
    made.step()
    assert len(endpoint.asked) == 1
    made._clock = lambda: NOW + timedelta(minutes=61)
    made._calls = lambda at: {at.replace(second=0) - 2 * MINUTE: {"awake": 3}}
    made.step()
    assert [models for models, _ in endpoint.asked[1:]] == [["b"]]


def test_what_does_not_fit_beside_the_models_of_the_last_hour_is_not_loaded(bucket):
    fits = int(2 * MACHINE.memory_bytes * SETTINGS["rule"].packing // SIZE) - 1  # beside the one that is awake
    kept(bucket).add(past({f"m{number:03d}": 3 for number in range(fits + 9)}, after=19))
    endpoint = Endpoint()
    made = flown(bucket, endpoint)
    made.step()
    made.step()
    asked = [name for models, _ in endpoint.asked for name in models]
    assert len(asked) == len(set(asked)) == fits
    assert max(len(models) for models, _ in endpoint.asked) == 2 * MACHINE.loader_slots


def test_the_number_is_set_first_and_what_takes_over_a_minute_waits_for_the_next_decision(bucket):
    width = 2 * MACHINE.loader_slots
    kept(bucket).add(attrs.evolve(past({f"m{number:03d}": 3 for number in range(3 * width)}, after=19), wanted=4))
    endpoint = Endpoint()
    made = flown(bucket, endpoint)
    seen: list[Any] = []

    def slow(models: Any, **_: Any) -> str:
        seen.append((endpoint.scaled[:], len(models)))
        at = made._clock() + timedelta(seconds=31)
        made._clock = lambda: at
        return "loaded"

    endpoint.warm = slow  # type: ignore[method-assign]
    made.step()
    assert seen == [([4], width), ([4], width)]
    made.step()
    assert seen[2][1] == width


def test_the_models_fit_into_the_instances_that_stay(bucket):
    kept(bucket).add(past({f"m{number:03d}": 3 for number in range(99)}, after=19))
    endpoint = Endpoint()
    made = flown(bucket, endpoint)
    found = made._decide()[0]
    made._load(attrs.evolve(found, before=2, count=1), made._last_week(NOW))
    fits = int(MACHINE.memory_bytes * SETTINGS["rule"].packing // SIZE) - 1  # beside the one that is awake
    assert sum(len(models) for models, _ in endpoint.asked) == fits


def test_a_failure_is_logged_and_the_number_is_set_all_the_same(bucket, caplog):
    kept(bucket).add(attrs.evolve(past({"a": 1}, after=19), wanted=4))
    endpoint = Endpoint()
    endpoint.failing = EndpointNotFoundError("it is gone")
    made = flown(bucket, endpoint)
    found = made.step()
    assert endpoint.scaled == [found.count] == [4]
    assert "models of endpoint scoring could not be loaded early: it is gone" in caplog.text
    endpoint.failing = None
    with caplog.at_level(logging.INFO, "mme_sdk.autopilot.autopilot"):
        made.step()
    assert [models for models, _ in endpoint.asked] == [["a"]]  # it is loaded at the next decision
    assert "endpoint scoring: 1 models are loaded" in caplog.text


def test_a_model_that_the_catalogue_lost_since_last_week_is_not_loaded(bucket):
    kept(bucket).add(past({"a": 1, "gone": 2}, after=19))
    endpoint = Endpoint()
    catalogue = Catalogue({name: CATALOGUE[name] for name in ("a", "awake")})
    made = flown(bucket, endpoint, catalogue=catalogue)
    made.step()
    made.step()
    assert [models for models, _ in endpoint.asked] == [["a"]]


def test_a_frozen_autopilot_loads_none(bucket):
    kept(bucket).add(past({"a": 1}, after=19))
    endpoint = Endpoint()
    made = flown(bucket, endpoint, bounds=Bounds(smallest=2, largest=5, stale_after=1))
    made._calls = lambda at: {at.replace(second=0) - 9 * MINUTE: {"awake": 3}}
    assert made.step().action == "freeze"
    assert endpoint.asked == []


@pytest.mark.parametrize("wrong", [{"learn": False}, {"apply": "nothing"}, {"warm": 61}, {"warm": True}, {"lead": 60}])
def test_settings_that_load_nothing_are_refused(wrong):
    given: dict[str, Any] = {
        **SETTINGS, "catalogue": CATALOGUE, "recordings": "s3://b/r/", "journal": "s3://b/j/", "learn": True,
        "warm": 20, "apply": "scale",
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match=r"^(warm|lead) "):
        Autopilot(MMEClient(region="eu-west-1"), "scoring", **(given | wrong))
