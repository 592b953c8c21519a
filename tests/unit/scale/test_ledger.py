"""Tables with a ledger: each row once, whatever engine or number of workers continues a job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mme_sdk.aws import Aws
from mme_sdk.endpoints.collection import Endpoints
from mme_sdk.errors import IntegrityError, InvalidInputError
from mme_sdk.runtime import RuntimeInvoker
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from mme_sdk.scale import Scorer, score, score_part
from mme_sdk.scale.ledger import BUCKET, RANGE, ranges_of, whole_ranges
from mme_sdk.scale.plan import make_plan
from tests.support.runtime.ledgers import Doubles

AWS = Aws(region="eu-west-3")
ROWS = 400
FRAME = pd.DataFrame(
    {
        "id": [f"r{row}" for row in range(ROWS)],
        "tenant": ["hot.tar.gz" if row % 4 else f"m{row % 5}.tar.gz" for row in range(ROWS)],
        "x": range(ROWS),
    }
)


def scorer(container: Doubles, **more: Any) -> Scorer:
    endpoint = Endpoints(AWS, lambda: RuntimeInvoker(AWS, container)).handle("scoring")
    return Scorer(endpoint=endpoint, **{"model": "tenant", "ids": ["id"], "rows_per_call": 4} | more)


def check(scored: pd.DataFrame, frame: pd.DataFrame = FRAME) -> None:
    assert scored["id"].tolist() == frame["id"].tolist()
    assert scored["error"].isna().all(), scored["error"].dropna().iloc[0]
    assert scored["prediction"].tolist() == (2.0 * frame["x"]).tolist()


def rows_sent(model: Doubles) -> int:
    return sum(len(body.split()) * times for (_, body), times in model.sent.items())


@pytest.mark.parametrize("buckets", [1, 2, 3, 7])
def test_another_number_of_workers_calls_nothing_again(buckets: int, tmp_path: Path) -> None:
    model = Doubles()
    with ThreadPoolExecutor(2) as workers:
        check(score(FRAME, scorer(model), workers=workers, buckets=2, ledger=tmp_path))
        assert rows_sent(model) == ROWS
        assert model.sent.total() <= ROWS / 4 + 5 + 5  # one smaller request a range, of 5 models and 5 ranges
        before = model.sent.total()
        shuffled = FRAME.sample(frac=1, random_state=buckets)
        check(score(shuffled, scorer(model), workers=workers, buckets=buckets, ledger=tmp_path), shuffled)
    assert model.sent.total() == before


def test_the_kind_of_the_table_and_of_its_text_do_not_matter(tmp_path: Path) -> None:
    model = Doubles()
    first = score_part(FRAME, scorer(model), ledger=tmp_path)
    check(first)
    before = model.sent.total()
    check(score_part(pa.Table.from_pandas(FRAME), scorer(model), ledger=tmp_path).to_pandas())
    check(pd.DataFrame(score_part({name: FRAME[name].to_numpy() for name in FRAME}, scorer(model), ledger=tmp_path)))
    assert model.sent.total() == before
    again = score_part(FRAME, scorer(model), ledger=tmp_path)
    pd.testing.assert_frame_equal(again, first)  # types included


def test_another_table_and_another_model_are_called(tmp_path: Path) -> None:
    model = Doubles()
    check(score_part(FRAME, scorer(model), ledger=tmp_path))
    before = rows_sent(model)
    changed = FRAME.assign(x=FRAME["x"] + 1000)
    check(score_part(changed, scorer(model), ledger=tmp_path), changed)
    assert rows_sent(model) == before + ROWS
    pinned = scorer(model, pinned={"m0.tar.gz": "n0.tar.gz"})
    check(score_part(FRAME, pinned, ledger=tmp_path))
    moved = int((FRAME["tenant"] == "m0.tar.gz").sum())
    assert rows_sent(model) == before + ROWS + moved


def test_failed_rows_are_called_again(tmp_path: Path) -> None:
    model = Doubles()
    model.failing = {"m1.tar.gz"}
    failed = score_part(FRAME, scorer(model), ledger=tmp_path)
    assert set(failed["tenant"][failed["error"].notna()]) == {"m1.tar.gz"}
    model.failing, model.short = set(), {"m1.tar.gz"}
    failed = score_part(FRAME, scorer(model), ledger=tmp_path)
    assert set(failed["error_type"].dropna()) == {"RowCountError"}
    model.short = set()
    model.sent.clear()
    check(score_part(FRAME, scorer(model), ledger=tmp_path))
    assert {target for target, _ in model.sent} == {"m1.tar.gz"}


def test_a_column_of_models_with_rows_that_cannot_be_called(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["a", "b", "c"], "tenant": ["m.tar.gz", None, "../x"], "x": [1, 2, 3]})
    with ThreadPoolExecutor(1) as workers:
        for _ in range(2):
            scored = score(frame, scorer(Doubles()), workers=workers, ledger=tmp_path)
            assert [one is None for one in scored["error_type"]] == [True, False, False]


def test_values_of_every_kind_and_no_model(tmp_path: Path) -> None:
    model = Doubles()
    rows = 50
    frame = pd.DataFrame({"id": range(rows), "x": range(rows)})
    frame["when"] = pd.date_range("2026-01-01", periods=rows, tz="Europe/Paris")
    frame["kind"] = pd.Categorical(["a", "b"] * 25)
    frame["lists"] = [[1, row] for row in range(rows)]
    frame["mixed"] = [None, 1, "a", 2.5, True] * 10
    whole = scorer(model, model=None, ids=["id", "when", "kind", "lists", "mixed"])
    with ThreadPoolExecutor(2) as workers:
        for buckets in (1, 2, 5):
            check(score(frame, whole, workers=workers, buckets=buckets, ledger=tmp_path), frame)
    assert rows_sent(model) == rows


def test_equal_rows_are_each_in_the_result(tmp_path: Path) -> None:
    model = Doubles()
    frame = pd.DataFrame({"id": ["a"] * 40, "tenant": ["m.tar.gz"] * 40, "x": [7] * 40})
    check(score_part(frame, scorer(model), ledger=tmp_path), frame)
    assert model.sent.total() <= 10


class Dies(Executor):
    """Works on the parts one after the other, and ends at a part as a killed process does."""

    def __init__(self, parts: int) -> None:
        self.left, self._max_workers = parts, 4

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self.left -= 1
        if self.left < 0:
            done.set_exception(BrokenProcessPool("a process ended"))
        else:
            done.set_result(work(*arguments, **more))
        return done


def test_a_job_whose_workers_died_is_completed(tmp_path: Path) -> None:
    model = Doubles()
    for parts in (0, 1, 3):
        lost = score(FRAME, scorer(model), workers=Dies(parts), ledger=tmp_path)
        assert set(lost["error_type"].dropna()) == {"OutcomeUnknownError"}
        assert lost["id"].tolist() == FRAME["id"].tolist()
    with ThreadPoolExecutor(2) as workers:
        check(score(FRAME, scorer(model), workers=workers, ledger=tmp_path))
    assert rows_sent(model) == ROWS


class Meeting(Doubles):
    """Answers when two requests of the same rows have come, as two jobs send them at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.met = threading.Barrier(2, timeout=60)
        self.numbers = iter(range(1000))
        self.one = threading.Lock()

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        self.met.wait()
        with self.one:
            number = next(self.numbers)
            self.sent[request.target_model, bytes(request.body)] += 1
        values = [number] * len(request.body.split())  # each call has another answer
        return InvokeResponse(status=200, headers={"content-type": "application/json"}, body=str(values).encode())


def test_two_jobs_at_the_same_time_have_the_same_result(tmp_path: Path) -> None:
    from mme_sdk.runtime.batch.batch import BatchSettings

    model = Meeting()
    one_by_one = BatchSettings(max_concurrency=1)
    with ThreadPoolExecutor(2) as jobs:
        running = [
            jobs.submit(score_part, FRAME[:40], scorer(model, settings=one_by_one), ledger=tmp_path) for _ in range(2)
        ]
        first, second = (one.result() for one in running)
    pd.testing.assert_frame_equal(first, second)
    assert first["id"].tolist() == FRAME["id"][:40].tolist()
    assert set(model.sent.values()) == {2}


def test_errors_of_the_ledger_end_the_job(tmp_path: Path) -> None:
    model = Doubles()
    with ThreadPoolExecutor(2) as workers:
        check(score(FRAME, scorer(model), workers=workers, ledger=tmp_path))
    damaged = min((tmp_path / "requests").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with ThreadPoolExecutor(2) as workers, pytest.raises(IntegrityError, match=damaged.name):
        score(FRAME, scorer(model), workers=workers, buckets=1, ledger=tmp_path)
    for wrong in ("s3://bucket", 5, ""):
        with pytest.raises(InvalidInputError):
            score_part(FRAME, scorer(model), ledger=wrong)  # type: ignore[arg-type]
        with ThreadPoolExecutor(1) as workers, pytest.raises(InvalidInputError):
            score(FRAME, scorer(model), workers=workers, ledger=wrong)  # type: ignore[arg-type]


def test_ranges_are_in_the_buckets_of_their_shares() -> None:
    counts = {"hot": 10_000, "warm": 100, "one": 1, "none": 0}
    for buckets in (1, 2, 3, 8):
        plan = make_plan(counts, buckets)
        ranges = ranges_of(counts, plan, 16)
        assert [len(ranges.buckets[model]) for model in counts] == [40, 1, 1, 1]
        for model in counts:
            assert set(ranges.buckets[model]) <= {bucket for bucket, _ in plan.shares[model]}
        shares = dict(plan.shares["hot"])
        for bucket, rows in shares.items():
            assert abs(ranges.buckets["hot"].count(bucket) * 250 - rows) <= 250
        assert len({one for ids in ranges.ids.values() for one in ids}) == 43


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_ranges_are_whole_however_an_engine_cuts_them(size: int) -> None:
    counts = FRAME["tenant"].value_counts().to_dict()
    ranges = ranges_of(counts, make_plan(counts, 1), 1)
    marked = ranges.mark(FRAME, FRAME["tenant"]).sort_values(RANGE, kind="stable")
    assert set(marked[BUCKET]) == {0}
    tables = [marked.iloc[start : start + size] for start in range(0, len(marked), size)]
    found = list(whole_ranges([marked.iloc[:0], *tables, marked.iloc[:0]]))
    pd.testing.assert_frame_equal(pd.concat(found), marked)
    seen = [one for table in found for one in table[RANGE].unique()]
    assert len(seen) == len(set(seen)) == marked[RANGE].nunique()
    assert list(whole_ranges([])) == []
    assert np.array_equal(np.sort(seen), np.sort(marked[RANGE].unique()))


def test_a_text_that_is_not_unicode_fails_its_rows_and_not_the_table(tmp_path: Path) -> None:
    model = Doubles()
    small = pd.DataFrame({"id": ["a", "b"], "tenant": ["m.tar.gz"] * 2, "x": [1, 2]})
    for column in ("tenant", "x"):
        frame = small.assign(**{column: pd.Series(["\ud800", small[column].iloc[1]], dtype=object)})
        part = score_part(frame, scorer(model, rows_per_call=1), ledger=tmp_path)
        with ThreadPoolExecutor(1) as workers:
            whole = score(frame, scorer(model, rows_per_call=1), workers=workers, ledger=tmp_path)
        for scored in (part, whole):
            assert scored["id"].tolist() == ["a", "b"]
            assert scored["error"].notna().tolist() == [True, False]
