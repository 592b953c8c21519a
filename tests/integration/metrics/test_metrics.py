"""`read_metrics` against the embedded CloudWatch and against prepared responses."""

from datetime import UTC, datetime, timedelta

import pytest

from mme_sdk.aws import Call
from mme_sdk.errors import InvalidInputError, ServiceError
from mme_sdk.metrics import read_metrics

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def answers(flow, *pages):
    """Run the flow and return its calls and its result."""
    calls, pages = [], iter(pages)
    try:
        call = next(flow)
        while True:
            calls.append(call)
            call = flow.send(next(pages))
    except StopIteration as stop:
        return calls, stop.value


def test_series_come_in_seconds_in_order_and_over_several_pages():
    early, late = NOW - timedelta(minutes=2), NOW - timedelta(minutes=1)
    calls, found = answers(
        read_metrics("scoring", hours=1, now=NOW),
        {
            "MetricDataResults": [
                {"Id": "invocations", "Timestamps": [late], "Values": [30.0]},
                {"Id": "model_latency", "Timestamps": [late], "Values": [12_000.0]},
                {"Id": "cache_hit", "Timestamps": [early, late], "Values": [0.0, 0.9]},
                {"Id": "something_new", "Timestamps": [late], "Values": [1.0]},
            ],
            "NextToken": "more",
        },
        {"MetricDataResults": [{"Id": "invocations", "Timestamps": [early], "Values": [10.0]}]},
    )
    assert [call.params.get("NextToken") for call in calls] == [None, "more"]
    assert isinstance(calls[0], Call)
    assert found.invocations.values == (10.0, 30.0)
    assert found.invocations.times == (early, late)
    assert found.model_latency.values == (0.012,)
    assert found.model_latency.unit == "s"
    assert found.hit_ratio == pytest.approx(0.9 * 30 / 40)  # weighted by requests
    assert found.rate == pytest.approx(40 / 3600)
    assert found.unloads.mean is None
    assert found.to_frame().loc[late, "invocations"] == 30.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": 90}, "multiple of 60"),
        ({"period": 0}, "at least 60"),
        ({"hours": 0}, "hours must be a finite number over 0"),
        ({"hours": 240}, "more data points than one request"),
        ({"now": datetime(2026, 3, 1)}, "time zone"),
    ],
)
def test_bad_questions_are_refused_before_the_wire(change, message):
    with pytest.raises(InvalidInputError, match=message):
        next(read_metrics("scoring", **{"now": NOW} | change))


def test_the_period_that_the_hint_names_is_enough():
    with pytest.raises(InvalidInputError) as caught:
        next(read_metrics("scoring", hours=240, now=NOW))
    period = int(caught.value.hint.split("=")[1].split()[0])
    assert isinstance(next(read_metrics("scoring", hours=240, period=period, now=NOW)), Call)


def test_an_answer_that_is_none_is_a_service_error():
    flow = read_metrics("scoring", now=NOW)
    next(flow)
    with pytest.raises(ServiceError, match="is not valid"):
        flow.send({"MetricDataResults": [{"Id": "invocations", "Values": "many"}]})


def test_the_embedded_cloudwatch_answers(aws):
    now = datetime.now(UTC)
    found = aws.run(read_metrics("never-made", hours=1, now=now))
    assert len(found.invocations) == 0
    assert found.rate == 0.0
    assert found.hit_ratio is None


async def _ask(aws):
    return await aws.arun(read_metrics("never-made", hours=1, now=datetime.now(UTC)))


def test_the_async_twin_asks_the_same(aws):
    import asyncio

    assert asyncio.run(_ask(aws)).invocations.total == 0.0
