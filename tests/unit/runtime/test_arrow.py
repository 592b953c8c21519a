"""Tables of libraries other than pandas: what is sent, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from mme_sdk.aws import Aws
from mme_sdk.errors import InvalidInputError, RowCountError
from mme_sdk.runtime import RuntimeInvoker
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.runtime.scripted import Middle, SyncScript, ThreadedFakeClock, answer

TABLE = pa.table({"a": [1, None, 3], "b": [1.5, 2.0, None], "model": ["one", "two", "one"]})


class Frame:
    """A data frame of a library that exports Arrow streams, as polars does: with views and categories."""

    columns = ("a", "c")

    def __init__(self, length: int = 2) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        category = pa.array(["x", "y"], pa.string_view())
        table = pa.table(
            {"a": pa.array([1, 2]), "c": pa.DictionaryArray.from_arrays(pa.array([0, 1]), category), "v": category}
        )
        return table.__arrow_c_stream__(schema)


class Doubled(SyncScript):
    """A model `one` that doubles the first column, and a model `two` that fails."""

    def step(self, request: InvokeRequest, read_timeout: float) -> InvokeResponse:
        if request.target_model == "two":
            return answer({"status": 424, "code": "ModelError", "message": "no", "original_status": 500})
        firsts = [row.split(b",")[0] for row in request.body.split(b"\n") if row]
        return answer({"body": json.dumps([float(first) * 2 for first in firsts])})


def invoker() -> RuntimeInvoker:
    clock = ThreadedFakeClock()
    return RuntimeInvoker(Aws(region="eu-west-1"), Doubled(clock, []), clock=clock, rng=Middle(), wait=clock.wait)


def test_an_integer_beside_a_null_stays_an_integer() -> None:
    body, kind = Codecs().encode(TABLE, "application/json")
    assert json.loads(body)[:2] == [{"a": 1, "b": 1.5, "model": "one"}, {"a": None, "b": 2.0, "model": "two"}]
    assert b'"a":1,' in body
    assert kind == "application/json"
    assert Codecs().encode(TABLE.select(["a", "b"]), None) == (b"1.0,1.5\nnan,2.0\n3.0,nan\n", "text/csv")


def test_any_frame_that_exports_arrow_streams_is_a_table() -> None:
    assert Codecs().encode(Frame(), "text/csv")[0] == b"1,x,x\n2,y,y\n"
    assert Codecs().encode(pd.DataFrame({"a": [1]}), "text/csv")[0] == b"1\n"


def test_a_response_becomes_a_table() -> None:
    found = Codecs().decode(b"a,b\n1,x\n2,y\n", "text/csv; header=present", pa.Table)
    assert found.to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert Codecs().accept(pa.Table) is None
    with pytest.raises(InvalidInputError, match="not supported"):
        Codecs().accept(pa.RecordBatch)


def test_the_rows_of_a_table_go_out_by_model_and_come_back_in_order() -> None:
    found = invoker().invoke_frame("scoring", TABLE, model_of="model", rows_per_call=1)
    assert isinstance(found, pa.Table)
    predictions, errors = found["prediction"].to_pylist(), found["error"].to_pylist()
    assert [predictions[0], predictions[2]] == [2.0, 6.0]
    assert predictions[1] is None
    assert [errors[0], errors[2]] == [None, None]
    assert errors[1] == "scoring (two): the model failed (500): no"
    frame = invoker().invoke_frame("scoring", TABLE.to_pandas(), model_of="model")
    assert isinstance(frame, pd.DataFrame)


def test_a_table_has_a_result_for_each_row() -> None:
    assert invoker().invoke("scoring", TABLE.select(["a"]).slice(2), "one").value == [6.0]
    with pytest.raises(RowCountError, match="3 rows"):
        invoker().invoke("scoring", Frame(3), "one")


def test_a_table_that_pandas_cannot_hold_is_refused() -> None:
    class Broken(Frame):
        def __arrow_c_stream__(self, schema: Any = None) -> Any:
            raise ValueError("no stream")

    with pytest.raises(InvalidInputError, match="this Broken cannot be converted to pandas: no stream"):
        Codecs().encode(Broken(), "text/csv")
