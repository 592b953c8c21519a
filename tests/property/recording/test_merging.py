"""However calls are spread over processes, minutes and writes, their merged records are those of one recorder."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.errors import ModelServerError, ThrottledError
from mme_sdk.recording import Histogram, RecordedMinute, Recorder, merge, read_recordings
from mme_sdk.recording.counting import Minute
from mme_sdk.runtime import CallCompleted, CallFailed, RetryPlanned

MODELS = st.sampled_from(["acme/a/v1.tar.gz", "acme/b/v1.tar.gz", "b", None])
COMPLETED = st.builds(
    CallCompleted,
    endpoint=st.sampled_from(["one", "two"]),
    model=MODELS,
    attempts=st.integers(1, 3),
    cold=st.sampled_from([True, False, None]),
    took=st.sampled_from([0.0, 0.001, 0.0123, 1.5, 360.0]),
    variant=st.sampled_from(["v", None]),
    received_bytes=st.integers(0, 10_000),
    sent_bytes=st.integers(0, 10_000),
)
FAILED = st.builds(
    CallFailed,
    endpoint=st.just("one"),
    model=MODELS,
    error=st.sampled_from([ModelServerError("no"), ThrottledError("no")]),
    took=st.just(1.0),
)
THROTTLED = st.builds(
    RetryPlanned, endpoint=st.just("one"), model=MODELS, reason=st.just("throttled"), wait=st.just(1.0)
)
STREAM = st.lists(
    st.tuples(COMPLETED | FAILED | THROTTLED, st.integers(0, 2), st.sampled_from([0, 0, 30, 60, 3600]), st.booleans()),
    max_size=40,
)


def comparable(records: list[RecordedMinute]) -> list[dict[str, Any]]:
    """Return records as values; sums of seconds are rounded, since the order of additions is free."""
    return [
        attrs.asdict(one) | {name: round(getattr(one, name), 9) for name in ("cold_seconds", "warm_seconds")}
        for one in records
    ]


@given(stream=STREAM)
@settings(max_examples=40, deadline=None)
def test_any_split_of_a_stream_merges_to_the_same(stream: Any) -> None:
    clock = [1_795_000_000.0]
    whole: list[RecordedMinute] = []
    with tempfile.TemporaryDirectory() as folder:
        parts = [Recorder(files=folder, every=1e6, now=lambda: clock[0]) for _ in range(3)]
        one = Recorder(sinks=[whole.extend], every=1e6, now=lambda: clock[0])
        for event, process, pause, flush in stream:
            clock[0] += pause
            one(event)
            parts[process](event)
            if flush:
                parts[process].flush()
        for recorder in (one, *parts):
            recorder.close()
        merged = read_recordings(folder)
    assert comparable(merged) == comparable(merge(whole))
    calls = [event for event, *_ in stream if not isinstance(event, RetryPlanned)]
    assert sum(record.calls for record in merged) == len(calls)


@given(st.lists(st.floats(1e-6, 1e5), min_size=1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_quantile_is_wrong_by_at_most_a_twentieth(durations: list[float], share: float) -> None:
    exact = sorted(durations)[math.floor(share * (len(durations) - 1))]
    assert Histogram.of(durations).quantile(share) == pytest.approx(exact, rel=0.0501)


@given(st.lists(st.floats(0, 1e5)), st.lists(st.floats(0, 1e5)))
@settings(max_examples=40, deadline=None)
def test_histograms_add_up(first: list[float], second: list[float]) -> None:
    assert Histogram.of(first) + Histogram.of(second) == Histogram.of([*second, *first])


@given(
    top=st.integers(1, 6),
    stream=st.lists(
        st.tuples(st.sampled_from(["one", "two"]), st.integers(0, 40), st.sampled_from(["v", "w"])), max_size=300
    ),
)
@settings(max_examples=60, deadline=None)
def test_rows_of_a_bounded_minute_add_up_and_busy_models_have_one(top: int, stream: list[tuple[str, int, str]]) -> None:
    minute, calls = Minute(0, top), Counter()  # type: ignore[var-annotated]
    for endpoint, model, variant in stream:
        key = (endpoint, f"m{model}" if model else None, variant)
        calls[key] += 1
        minute.cell(key).calls += 1
    for side in itertools.product(("one", "two"), ("v", "w")):
        expected = sum(count for key, count in calls.items() if (key[0], key[2]) == side)
        assert sum(cell.calls for key, cell in minute.cells.items() if (key[0], key[2]) == side) == expected
    for key, count in calls.items():
        assert count <= len(stream) / top or key in minute.cells
    assert sum(key[1] is not None for key in minute.cells) <= 2 * top
