"""A scorer: table in, table of the same kind out, and errors as columns."""

from __future__ import annotations

import json
import pickle
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import attrs
import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mme_sdk import MMEClient
from mme_sdk.aws import Aws
from mme_sdk.endpoints import Endpoint
from mme_sdk.endpoints.collection import Endpoints
from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime import RuntimeInvoker
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from mme_sdk.scale import Scorer, ScoringPlan, score
from mme_sdk.scale.plan import make_plan

FRAME = pd.DataFrame(
    {
        "id": ["r0", "r1", "r2", "r3", "r4", "r5"],
        "tenant": ["a.tar.gz", "b.tar.gz", "a.tar.gz", "bad.tar.gz", None, "../x"],
        "x": [1, 2, 3, 4, 5, 6],
    },
    index=[10, 10, 30, 40, 50, 60],
)


class Doubler:
    """A container that doubles `x`; the model `bad.tar.gz` rejects its rows."""

    name = "doubler"

    def __init__(self, answer: Callable[[float], Any] = lambda x: 2 * x) -> None:
        self.answer = answer
        self.sent: list[tuple[str, int]] = []
        self.threads: dict[str, set[int]] = {}

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        lines = request.body.split()
        self.sent.append((str(request.target_model), len(lines)))
        self.threads.setdefault(str(request.target_model), set()).add(threading.get_ident())
        if request.target_model == "bad.tar.gz":
            why = {"message": "?", "OriginalStatusCode": 400, "OriginalMessage": "no such feature"}
            return InvokeResponse(status=424, headers={"x-amzn-errortype": "ModelError"}, body=json.dumps(why).encode())
        values = [self.answer(float(line)) for line in lines]
        return InvokeResponse(
            status=200, headers={"content-type": "application/json"}, body=json.dumps(values).encode()
        )


def handle(transport: Any = None) -> Endpoint:
    aws = Aws(region="eu-west-3")
    invoker = RuntimeInvoker(aws, transport or Doubler())
    return Endpoints(aws, lambda: invoker).handle("scoring")


def scorer(transport: Any = None, **more: Any) -> Scorer:
    return Scorer(endpoint=handle(transport), **{"model": "tenant", "ids": ["id"]} | more)


def check(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == ["id", "tenant", "prediction", "error", "error_type"]
    assert frame["id"].tolist() == FRAME["id"].tolist()
    assert [None if pd.isna(one) else one for one in frame["prediction"]] == [2, 4, 6, None, None, None]
    names = [None if pd.isna(one) else one for one in frame["error_type"]]
    assert names == [None, None, None, "ModelInputError", "InvalidInputError", "InvalidInputError"]
    assert "no such feature" in frame["error"].iloc[3]
    assert "no target model" in frame["error"].iloc[4]


def test_a_frame() -> None:
    before = FRAME.copy()
    scored = scorer()(FRAME)
    check(scored)
    assert scored.index.tolist() == FRAME.index.tolist()
    assert scored["prediction"].dtype == "float64"
    pd.testing.assert_frame_equal(FRAME, before)


@pytest.mark.parametrize("kind", ["table", "batch"])
def test_arrow(kind: str) -> None:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    given = table.to_batches()[0] if kind == "batch" else table
    scored = scorer()(given)
    assert type(scored) is type(given)
    check(scored.to_pandas())
    assert scored.schema.field("prediction").type == pa.float64()
    assert scored.schema.field("id") == given.schema.field("id")
    empty = scorer()(given.slice(0, 0))
    assert (empty.schema, empty.num_rows) == (scored.schema, 0)


def test_a_dict_of_arrays() -> None:
    scored = scorer()({name: FRAME[name].to_numpy() for name in FRAME.columns})
    assert type(scored) is dict
    assert all(isinstance(column, np.ndarray) for column in scored.values())
    check(pd.DataFrame(scored))
    whole = scorer(answer={"prediction": "int64"})({"id": ["a"], "tenant": ["a.tar.gz"], "x": np.array([2])})
    assert whole["prediction"].dtype == np.int64


@pytest.mark.parametrize("wrong", [None, [1, 2], "x", {"a": [1], "b": [1, 2]}])
def test_another_kind_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError):
        scorer(model=None, ids=())(wrong)


def test_rows_are_grouped_and_sent_by_the_limit() -> None:
    transport = Doubler()
    frame = pd.DataFrame({"tenant": [f"m{place % 3}.tar.gz" for place in range(30)], "x": range(30)})
    scored = scorer(transport, ids=(), rows_per_call=4)(frame)
    assert Counter(model for model, _ in transport.sent) == {f"m{one}.tar.gz": 3 for one in range(3)}
    assert max(rows for _, rows in transport.sent) == 4
    assert scored["prediction"].tolist() == [2.0 * one for one in range(30)]


def test_a_function_of_a_row_chooses_the_model() -> None:
    transport = Doubler()
    scored = scorer(transport, model=lambda row: f"m{row['x'] % 2}.tar.gz", ids=["id"])(FRAME[["id", "x"]])
    assert sorted(transport.sent) == [("m0.tar.gz", 3), ("m1.tar.gz", 3)]
    assert list(scored.columns) == ["id", "prediction", "error", "error_type"]


def test_a_single_model_endpoint() -> None:
    scored = scorer(model=None, ids=())(FRAME[["x"]])
    assert list(scored.columns) == ["prediction", "error", "error_type"]
    assert scored["prediction"].tolist() == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize(
    ("kind", "answer", "dtype"),
    [
        ("float32", lambda x: x, "float32"),
        ("int64", lambda x: int(x) + 2**60, "Int64"),
        ("int32", int, "Int32"),
        ("bool", lambda x: x > 2, "boolean"),
        ("string", lambda x: f"v{x:g}", "object"),
        ("float64", lambda x: None if x == 3 else x, "float64"),
    ],
)
def test_the_answers_have_the_types_of_the_schema(kind: str, answer: Any, dtype: str) -> None:
    scored = scorer(Doubler(answer), answer={"prediction": kind})(FRAME)
    assert scored["prediction"].dtype == dtype
    found = [None if pd.isna(one) else one for one in scored["prediction"]]
    assert found == [answer(1.0), answer(2.0), answer(3.0), None, None, None]
    nothing = scorer(Doubler(answer), answer={"prediction": kind})(FRAME.iloc[:0])
    assert nothing.dtypes.to_dict() == scored.dtypes.to_dict()
    pd.testing.assert_frame_equal(scorer(answer={"prediction": kind}).empty(FRAME), nothing)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"prediction": "float64"}, lambda x: f"v{x}"),
        ({"prediction": "int64"}, lambda x: x / 2),
        ({"prediction": "int32"}, lambda x: 2**40),
        ({"prediction": "bool"}, lambda x: 7),
        ({"prediction": "string"}, lambda x: x),
        ({"score": "float64"}, lambda x: {"a": x, "b": x}),
    ],
)
def test_answers_of_another_type_are_not_returned(schema: dict[str, str], answer: Any) -> None:
    with pytest.raises(UndecodableReplyError, match=r"answer=|is not"):
        scorer(Doubler(answer), answer=schema)(FRAME)


def test_without_a_schema_all_columns_are_kept() -> None:
    scored = scorer(Doubler(lambda x: {"prediction": x, "p": [0.5]}), answer=None)(FRAME)
    assert list(scored.columns) == ["id", "tenant", "prediction", "p", "error", "error_type"]


def test_a_table_whose_rows_all_fail_is_returned() -> None:
    scored = scorer()(FRAME[FRAME["tenant"] == "bad.tar.gz"])
    assert scored["error_type"].tolist() == ["ModelInputError"]
    assert scored["prediction"].isna().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "scoring"},
        {"model": 3},
        {"ids": "id"},
        {"ids": [3]},
        {"answer": {}},
        {"answer": {"prediction": "decimal"}},
        {"answer": {"error": "string"}},
        {"answer": {"id": "string"}},
        {"rows_per_call": 0},
        {"deadline": -1},
        {"content_type": "text/csv\n"},
        {"settings": 4},
        {"pinned": 4},
    ],
)
def test_an_invalid_setting_is_refused_by_name(wrong: dict[str, Any]) -> None:
    name = "id" if wrong.get("answer") == {"id": "string"} else next(iter(wrong))
    with pytest.raises(InvalidInputError, match=name):
        attrs.evolve(scorer(), **wrong)


@pytest.mark.parametrize("table", [FRAME[["x"]], FRAME.set_axis(["id", "id", "x"], axis=1)])
def test_a_table_without_a_column_is_refused(table: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"tenant|'id'"):
        scorer()(table)


def test_partitions_are_scored_table_by_table() -> None:
    parts = list(scorer().partition(iter([FRAME.iloc[:3], FRAME.iloc[3:]])))
    check(pd.concat(parts))


@pytest.mark.parametrize("dump", [pickle.dumps, cloudpickle.dumps])
def test_a_scorer_travels(dump: Any) -> None:
    made = Scorer(endpoint=MMEClient(region="eu-west-3").endpoint("scoring"), model="tenant", pinned={"a@b": "c"})
    again, other = pickle.loads(dump(made)), pickle.loads(dump(made))
    assert again.endpoint._context is other.endpoint._context
    assert {**attrs.asdict(again, recurse=False), "endpoint": None} == {
        **attrs.asdict(made, recurse=False),
        "endpoint": None,
    }
    assert made.__name__ == "Scorer"


def test_pinned_aliases_are_called_as_their_versions() -> None:
    transport = Doubler()
    frame = pd.DataFrame({"tenant": ["fraud@live", "b.tar.gz"], "x": [1, 2]})
    scored = scorer(transport, ids=(), pinned={"fraud@live": "fraud/v3.tar.gz"})(frame)
    assert sorted(transport.sent) == [("b.tar.gz", 1), ("fraud/v3.tar.gz", 1)]
    assert scored["tenant"].tolist() == ["fraud@live", "b.tar.gz"]


class TestPlan:
    def test_buckets_are_even_and_models_are_together(self) -> None:
        counts = {f"m{number}": 10 + number % 7 for number in range(200)}
        plan = scorer().plan(counts, 4)
        assert sum(plan.rows) == sum(counts.values())
        assert max(plan.rows) <= 1.02 * sum(counts.values()) / 4
        assert all(len(shares) == 1 for shares in plan.shares.values())
        assert sorted(model for bucket in range(4) for model in plan.models(bucket)) == sorted(counts)

    def test_a_hot_model_is_split(self) -> None:
        plan = scorer().plan({"hot": 1000} | {f"m{number}": 10 for number in range(100)}, 4)
        assert max(plan.rows) <= 1.05 * 500
        assert 2 <= len(plan.shares["hot"]) <= 4
        rows = plan.assign(["hot"] * 1000)
        assert Counter(rows) == dict(plan.shares["hot"])

    def test_parts_of_a_table_are_assigned_alike(self) -> None:
        plan = scorer().plan({"hot": 300, "a": 50, "b": 50}, 4)
        part = Counter(plan.assign(["hot"] * 30 + ["a"] * 5))
        whole = Counter(plan.assign(["hot"] * 300 + ["a"] * 50))
        assert all(abs(10 * part[bucket] - whole[bucket]) <= 20 for bucket in range(4))

    @pytest.mark.parametrize(
        ("counts", "buckets"),
        [({}, 3), ({"a": 0}, 2), ({"a": 1}, 8), ({"a": 3, "b": 1}, 2), ({"a": 5}, 5), ({"a": 7, "b": 7, "c": 7}, 2)],
    )
    def test_edges(self, counts: dict[str, int], buckets: int) -> None:
        plan = scorer().plan(counts, buckets)
        assert sum(plan.rows) == sum(counts.values())
        assert {model: sum(rows for _, rows in shares) for model, shares in plan.shares.items()} == counts
        assert plan.assign(["unknown"])[0] in range(buckets)
        assert pickle.loads(pickle.dumps(plan)) == plan

    @pytest.mark.parametrize(("counts", "buckets"), [({"a": -1}, 2), ({"a": 1.5}, 2), ({"a": 1}, 0), ([1], 2)])
    def test_wrong_numbers_are_refused(self, counts: Any, buckets: Any) -> None:
        with pytest.raises(InvalidInputError):
            scorer().plan(counts, buckets)

    def test_a_plan_is_a_value(self) -> None:
        assert scorer().plan({"a": 1}, 1) == ScoringPlan({"a": ((0, 1),)}, 1)


class Breaking(Executor):
    """An executor whose second task loses its worker."""

    _max_workers = 2

    def __init__(self) -> None:
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        future: Future[Any] = Future()
        if self.count == 2:
            future.set_exception(BrokenProcessPool("gone"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


class Unsendable(Executor):
    """An executor that cannot pickle its task."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(pickle.PicklingError("Can't pickle <function <lambda>>"))
        return future


class TestScore:
    def frame(self) -> pd.DataFrame:
        rows = [f"m{number % 7}.tar.gz" for number in range(70)]
        return pd.DataFrame({"tenant": rows, "x": range(70)}, index=[f"i{number % 9}" for number in range(70)])

    @pytest.mark.parametrize("buckets", [None, 1, 3, 50])
    def test_each_row_is_scored_once_in_its_place(self, buckets: int | None) -> None:
        transport, frame = Doubler(), self.frame()
        with ThreadPoolExecutor(4) as workers:
            scored = score(frame, scorer(transport, ids=()), workers=workers, buckets=buckets)
        assert scored["prediction"].tolist() == [2.0 * number for number in range(70)]
        assert scored.index.tolist() == frame.index.tolist()
        assert sum(rows for _, rows in transport.sent) == 70
        assert scored["error"].isna().all()
        if buckets != 50:
            assert len(transport.sent) == 7

    def test_other_kinds_come_back(self) -> None:
        table = pa.Table.from_pandas(FRAME, preserve_index=False)
        with ThreadPoolExecutor(2) as workers:
            check(score(FRAME, scorer(), workers=workers))
            check(score(table, scorer(), workers=workers).to_pandas())
            assert score(table.slice(0, 0), scorer(), workers=workers).num_rows == 0
            check(pd.DataFrame(score(FRAME.to_dict("list"), scorer(), workers=workers)))

    def test_the_rows_of_a_lost_worker_have_an_error(self) -> None:
        scored = score(self.frame(), scorer(ids=()), workers=Breaking())
        assert len(scored) == 70
        lost = scored[scored["error_type"] == "OutcomeUnknownError"]
        assert 20 <= len(lost) <= 50
        assert lost["prediction"].isna().all()
        done = scored[scored["error_type"].isna()]
        assert done["prediction"].notna().all()
        assert len(lost) + len(done) == 70

    def test_a_scorer_that_cannot_be_sent_is_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="cannot be sent to the workers"):
            score(self.frame(), scorer(ids=()), workers=Unsendable())

    def test_an_error_of_the_work_is_not_one_of_the_sending(self) -> None:
        def fails(_: Any) -> Any:
            raise TypeError("'NoneType' object is not callable")

        with ThreadPoolExecutor(2) as workers:
            workers.submit = lambda *_: ThreadPoolExecutor.submit(workers, fails, None)  # type: ignore[method-assign]
            with pytest.raises(TypeError, match="not callable"):
                score(self.frame(), scorer(ids=()), workers=workers)

    @pytest.mark.parametrize("wrong", [{"workers": 4}, {"buckets": 0}, {"scorer": lambda frame: frame}])
    def test_a_wrong_argument_is_refused(self, wrong: dict[str, Any]) -> None:
        given: dict[str, Any] = {"scorer": scorer(ids=()), "workers": Breaking()} | wrong
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            score(self.frame(), **given)


def test_the_largest_models_are_placed_first() -> None:
    """In the order of the mapping, the last and largest model would make its bucket twice as large as the other."""
    assert make_plan({"a": 2, "b": 2, "c": 2, "d": 6}, 2).rows == (6, 6)
