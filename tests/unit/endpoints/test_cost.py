"""The cost of an endpoint: what the flow reads, and what it does without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import attrs
import pytest

from mme_sdk.endpoints.state import cost as operation
from mme_sdk.endpoints.state.description import EndpointDescription, VariantDescription
from mme_sdk.errors import AccessDeniedError, InvalidInputError
from mme_sdk.recording import RecordedMinute

END = datetime(2026, 1, 2, tzinfo=UTC)
LIVE = EndpointDescription(
    name="shop",
    status="InService",
    mode="MultiModel",
    model_data="s3://bucket/models/",
    variants=(VariantDescription(name="AllTraffic", instance_type="ml.m5.xlarge", instance_count=2),),
    created=END - timedelta(hours=10),
    modified=END - timedelta(hours=10),
)


def called(model: str, hours_ago: float) -> RecordedMinute:
    return RecordedMinute(at=END - timedelta(hours=hours_ago), endpoint="shop", model=model, calls=1)


def run(monkeypatch: pytest.MonkeyPatch, answers, live=LIVE, **more):
    def read_live(name):
        yield from ()
        return SimpleNamespace(description=live)

    monkeypatch.setattr(operation, "read_live", read_live)
    arguments = {
        "by": "model", "hours": 4.0, "recordings": [called("a", 1), called("b", 1), called("old", 5)],
        "prices": {"ml.m5.xlarge": 0.25}, "memory_share": 0.5, "currency": "EUR", "end": END,
    }  # fmt: skip
    flow = operation.cost("shop", **(arguments | more))
    calls = []
    try:
        effect = next(flow)
        for answer in answers:
            calls.append(effect.params)
            effect = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
    except StopIteration as ended:
        return ended.value, calls
    raise AssertionError(f"the flow asks for more: {effect}")


def test_calls_of_other_endpoints_do_not_count_and_the_first_minute_does(monkeypatch: pytest.MonkeyPatch) -> None:
    other = RecordedMinute(at=END - timedelta(hours=1), endpoint="other", model="x", calls=9)
    live = attrs.evolve(LIVE, created=END - timedelta(seconds=30))
    first = called("a", 40 / 3600)  # the minute began before the endpoint was created
    cost, _ = run(monkeypatch, [{"Contents": []}], live=live, recordings=[other, first])
    assert [row.name for row in cost.rows] == ["a"]


def test_sizes_of_all_pages_share_the_bill_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [
        {"Contents": [{"Key": "models/a", "Size": 300}], "IsTruncated": True, "NextContinuationToken": "t"},
        {"Contents": [{"Key": "models/b", "Size": 100}]},
    ]
    cost, calls = run(monkeypatch, pages)
    assert {row.name: row.amount for row in cost.rows} == pytest.approx({"a": 1.5, "b": 0.5})
    assert (cost.total, cost.currency, cost.hours) == (2.0, "EUR", 4.0)
    assert calls[1] == {"Bucket": "bucket", "Prefix": "models/", "ContinuationToken": "t"}


def test_the_time_begins_with_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    cost, _ = run(monkeypatch, [{}], hours=24.0)
    assert (cost.hours, cost.total) == (10.0, 5.0)
    assert "the time begins with the creation of the endpoint" in cost.estimated


def test_without_access_to_s3_the_estimate_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cost, _ = run(monkeypatch, [AccessDeniedError("no")])
    assert [row.amount for row in cost.rows] == [1.0, 1.0]
    assert any("S3 cannot be read" in each for each in cost.estimated)


def test_a_variant_without_instances_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import attrs

    live = attrs.evolve(LIVE, variants=(VariantDescription(name="Serverless"),))
    with pytest.raises(InvalidInputError, match="Serverless has no known instances"):
        run(monkeypatch, [], live=live)


def test_shipped_prices_are_named_as_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    from mme_sdk.planning import load_prices

    shipped, _ = run(monkeypatch, [{}], prices=load_prices())
    given, _ = run(monkeypatch, [{}])
    assert any("not a quotation" in each for each in shipped.estimated)
    assert not any("not a quotation" in each for each in given.estimated)


def answered(name: str, *values: tuple[float, float]) -> dict[str, object]:
    """The answer of CloudWatch: minutes before the end, and the values then."""
    at = [END - timedelta(minutes=minutes) for minutes, _ in values]
    return {"Id": name, "Timestamps": at, "Values": [value for _, value in values]}


def scaled(*counts: tuple[float, int], calls: int = 10) -> dict[str, object]:
    """The answer for a variant that had a number of instances in some minutes."""
    return {
        "MetricDataResults": [
            answered("v0_Sum", *[(at, sum(1 / count for _ in range(calls))) for at, count in counts]),
            answered("v0_SampleCount", *[(at, calls) for at, _ in counts]),
        ]
    }


CHANGED = attrs.evolve(LIVE, modified=END - timedelta(minutes=90))


def test_an_endpoint_that_did_not_change_ran_its_instances_for_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cost, calls = run(monkeypatch, [{}])
    assert cost.total == 2.0
    assert [one for one in calls if "MetricDataQueries" in one] == []
    assert not any("instances" in one and "run now" in one for one in cost.estimated)


def test_instances_of_the_past_come_from_cloudwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    # One instance until two hours ago, then five for an hour, then two. Requests arrive each minute.
    counts = [(at, 1 if at > 120 else 5 if at > 60 else 2) for at in range(240, 0, -1)]
    cost, _ = run(monkeypatch, [scaled(*counts), {}], live=CHANGED)
    assert cost.total == pytest.approx(0.25 * (2 * 1 + 1 * 5 + 1 * 2))
    assert cost.monthly == pytest.approx(0.25 * 2 * 730)
    assert sum(row.amount for row in cost.rows) == pytest.approx(cost.total)
    assert "the instance types that run now count for the whole time" in cost.estimated
    assert not any("without requests" in one or "run now count for the whole time:" in one for one in cost.estimated)


def test_a_time_without_requests_has_the_instances_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cost, _ = run(monkeypatch, [scaled((180, 4), (60, 1)), {}], live=CHANGED)
    # Four from the start until the second minute with requests, one in that minute, then the two of now.
    assert cost.total == pytest.approx(0.25 * (3 * 4 + (1 + 59 * 2) / 60))
    assert any("a time without requests" in one for one in cost.estimated)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (AccessDeniedError("no"), "CloudWatch cannot be read (AccessDeniedError)"),
        ({"MetricDataResults": []}, "no requests of variant AllTraffic"),
    ],
)
def test_without_values_the_instances_of_now_count_and_the_estimate_says_so(
    answer: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost, _ = run(monkeypatch, [answer, {}], live=CHANGED)
    assert cost.total == 2.0
    assert any(one.startswith("the instances that run now count for the whole time") for one in cost.estimated)
    assert any(said in one for one in cost.estimated)


def test_a_time_that_cloudwatch_does_not_keep_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    old = attrs.evolve(CHANGED, created=END - timedelta(days=800))
    cost, _ = run(monkeypatch, [{}], live=old, hours=24.0 * 700)
    assert any("455 days" in one for one in cost.estimated)


def test_periods_beyond_the_time_count_only_within_it() -> None:
    start, end = END - timedelta(hours=1), END
    counts = [(start - timedelta(minutes=10), 6.0), (END - timedelta(minutes=30), 2.0)]
    seconds, gaps = operation.instance_seconds(counts, period=1800, start=start, end=end, count=9.0)
    assert (seconds, gaps) == (20 * 60 * 6 + 10 * 60 * 6 + 30 * 60 * 2, True)
