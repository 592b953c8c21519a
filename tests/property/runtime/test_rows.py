"""The number of answers is checked against the number of rows wherever both are known, and nowhere else."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from mme_sdk.aws import Aws
from mme_sdk.errors import RowCountError, UndecodableReplyError
from mme_sdk.runtime import AsyncRuntimeInvoker, Codecs, RuntimeInvoker, TritonCodec
from mme_sdk.runtime.batch.batch import BatchSettings
from mme_sdk.runtime.payloads.codecs import CSV, JSON, NPY, PARQUET
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.runtime.keywords import gathered

TRITON = TritonCodec.media_type


class Says:
    """A container that gives one answer to anything."""

    name = "says"

    def __init__(self, body: bytes, content_type: str) -> None:
        self._answer = InvokeResponse(
            status=200, headers={"content-type": content_type, "x-amzn-requestid": "r1"}, body=body
        )

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        return self._answer

    def close(self) -> None:
        pass


class AsyncSays(Says):
    async def send(self, request: InvokeRequest, **times: float) -> InvokeResponse:  # type: ignore[override]
        return self._answer

    async def close(self) -> None:  # type: ignore[override]
        pass


class Score(BaseModel):
    score: float


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def as_parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def tensors(**arrays: Any) -> tuple[bytes, str]:
    body, content_type = Codecs([TritonCodec()]).encode(arrays)
    size = int(content_type.rpartition("=")[2])
    header = json.dumps({"outputs": json.loads(body[:size])["inputs"]}).encode()
    return header + body[size:], f"{TRITON};json-header-size={len(header)}"


def invoke(twin: str, data: Any, body: bytes, said: str, /, **options: Any) -> Any:
    aws, codecs = Aws(region="us-east-1"), Codecs([TritonCodec()])
    if twin == "sync":
        return RuntimeInvoker(aws, Says(body, said), codecs=codecs).invoke("e", data, model="m", **gathered(options))

    async def main() -> Any:
        invoker = AsyncRuntimeInvoker(aws, AsyncSays(body, said), codecs=codecs)
        return await invoker.invoke("e", data, model="m", **gathered(options))

    return asyncio.run(main())


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
MATRIX = FRAME.to_numpy()
SQUARE = pd.DataFrame(np.eye(3), columns=["a", "b", "c"], index=["r", "s", "t"])

COUNTED: dict[str, tuple[Any, bytes, str, int, dict[str, Any]]] = {
    "a list": (FRAME, b"[1,2,3,4]", JSON, 4, {}),
    "pandas' split form": (FRAME, SQUARE.iloc[:2].to_json(orient="split").encode(), JSON, 2, {}),
    "a list, of a matrix": (MATRIX, b"[1,2]", JSON, 2, {}),
    "a list, of a series": (FRAME["a"], b"[]", JSON, 0, {}),
    "a list of lists": (FRAME, b"[[1,2,3]]", JSON, 1, {}),
    "a list of objects": (FRAME, b'[{"score": 1}]', JSON, 1, {}),
    "typed": (FRAME, b'[{"score": 1}]', JSON, 1, {"response_type": list[Score]}),
    "NPY": (FRAME, npy(np.zeros((4, 2))), NPY, 4, {}),
    "NPY as an array": (FRAME, npy(np.zeros(2)), NPY, 2, {"response_type": np.ndarray}),
    "NPY as a frame": (FRAME, npy(np.zeros((2, 2))), NPY, 2, {"response_type": pd.DataFrame}),
    "CSV": (FRAME, b"1\n2\n3\n4\n", CSV, 4, {}),
    "CSV of a header that it does not admit": (FRAME, b"y\n1\n2\n3\n", CSV, 4, {}),
    "CSV with a header": (FRAME, b"y\n1\n2\n", f"{CSV}; header=present", 2, {}),
    "CSV with line breaks in quotes": (FRAME, b'"a\nb"\n"c\nd"\n', CSV, 2, {}),
    "CSV as an array": (FRAME, b"1\n2\n", CSV, 2, {"response_type": np.ndarray}),
    "CSV as a frame": (MATRIX, b"1,2\n3,4\n", CSV, 2, {"response_type": pd.DataFrame}),
    "JSON as a frame": (FRAME, b"[1,2]", JSON, 2, {"response_type": pd.DataFrame}),
    "one row": (FRAME.iloc[:1], b"[1,2]", JSON, 2, {}),
    "predictions": (FRAME, b'{"predictions": [1]}', JSON, 1, {}),
    "scores of XGBoost": (FRAME, b'{"predictions": [{"score": 0.5}]}', JSON, 1, {}),
    "predictions as an object": (FRAME, b'{"predictions": [1, 2]}', JSON, 2, {"response_type": dict[str, list[int]]}),
    "no rows": (np.zeros((0, 2)), b"[1]", JSON, 1, {}),
    "Parquet": (FRAME, as_parquet(FRAME.iloc[:2]), PARQUET, 2, {}),
    "Parquet as a frame": (FRAME, as_parquet(FRAME.iloc[:2]), PARQUET, 2, {"response_type": pd.DataFrame}),
    "tensors": ({"x": MATRIX, "y": MATRIX}, *tensors(z=np.zeros((2, 1))), 2, {}),
    "a structured array": (FRAME.to_records(index=False).view(np.ndarray), b"[1]", JSON, 1, {}),
}

FINE: dict[str, tuple[Any, bytes, str, dict[str, Any]]] = {
    "an answer a row": (FRAME, b"[1,2,3]", JSON, {}),
    "one row, several values in CSV": (FRAME.iloc[:1], b"0.1,0.9\n", CSV, {}),
    "an object": (FRAME, b'{"classes": [1]}', JSON, {}),
    "an object of several members": (FRAME, b'{"predictions": [1], "model": "a"}', JSON, {}),
    "predictions that are no list": (FRAME, b'{"predictions": 1}', JSON, {}),
    "instances": ({"instances": [[1], [2]]}, b'{"predictions": [1]}', JSON, {}),
    "a number": (FRAME, b"0.5", JSON, {}),
    "an array without dimensions": (FRAME, npy(np.float64(1)), NPY, {}),
    "text": (FRAME, b"fine\nall of it\n", "text/plain", {}),
    "bytes were asked for": (FRAME, b"[1]", JSON, {"response_type": bytes}),
    "text was asked for": (FRAME, b"[1]", JSON, {"response_type": str}),
    "a list that was sent": ([[1, 2], [3, 4]], b"[1]", JSON, {}),
    "bytes that were sent": (b"1\n2\n", b"[1]", JSON, {}),
    "one dimension": (np.zeros(3), b"[1]", JSON, {}),
    "a batch of images": (np.zeros((1, 28, 28)), b"[1,2,3]", JSON, {}),
    "an object of arrays as JSON": ({"image": np.zeros((28, 28))}, b"[1,2,3]", JSON, {"content_type": JSON}),
    "tensors of several lengths": ({"x": MATRIX}, *tensors(z=np.zeros((2, 1)), y=np.zeros(1)), {}),
    "no rows, no answers": (np.zeros((0, 2)), b"[]", JSON, {}),
    "a tensor an answer": ({"x": MATRIX}, *tensors(z=np.zeros((3, 1))), {}),
}


@pytest.mark.parametrize("twin", ["sync", "async"])
@pytest.mark.parametrize("name", list(COUNTED))
def test_answers_that_are_not_one_for_each_row_are_refused(name: str, twin: str) -> None:
    data, body, content_type, answers, options = COUNTED[name]
    if isinstance(data, dict):
        options = {**options, "content_type": TRITON}
    with pytest.raises(RowCountError) as caught:
        invoke(twin, data, body, content_type, **options)
    error, rows = caught.value, len(next(iter(data.values())) if isinstance(data, dict) else data)
    assert isinstance(error, UndecodableReplyError)
    assert (error.rows, error.answers, error.body, error.request_id) == (rows, answers, body, "r1")
    assert f"{answers} result{'' if answers == 1 else 's'} for {rows} rows" in error.message
    assert ("header" in str(error.hint)) == (content_type == CSV and answers == rows + 1)


@pytest.mark.parametrize("twin", ["sync", "async"])
@pytest.mark.parametrize("name", list(FINE))
def test_what_is_no_answer_for_each_row_is_not_counted(name: str, twin: str) -> None:
    data, body, content_type, options = FINE[name]
    if isinstance(data, dict) and content_type.startswith(TRITON):
        options = {**options, "content_type": TRITON}
    assert invoke(twin, data, body, content_type, **options).body == body


@pytest.mark.parametrize(
    ("body", "content_type", "frame"),
    [
        (b"1\n2\n3\n", CSV, pd.DataFrame({0: [1, 2, 3]})),
        (b"1,x\n2,y\n3,z\n", CSV, pd.DataFrame({0: [1, 2, 3], 1: ["x", "y", "z"]})),
        (b'"a,b",""\n"c\nd",2\n"e""",3\n', CSV, pd.DataFrame({0: ["a,b", "c\nd", 'e"'], 1: [None, 2.0, 3.0]})),
        (b"y\n1\n2\n3\n", f"{CSV}; header=present", pd.DataFrame({"y": [1, 2, 3]})),
        (b"0.1,0.2,0.3\n", CSV, pd.DataFrame({0: [0.1, 0.2, 0.3]})),  # as SageMaker's XGBoost says it
        (b"NA\nnull\nnan\n", CSV, pd.DataFrame({0: ["NA", "null", "nan"]})),  # labels, not missing values
        (b"007\n010\n1\n", CSV, pd.DataFrame({0: ["007", "010", "1"]})),
        (b"nan\n\n0.1\n", CSV, pd.DataFrame({0: [None, None, 0.1]})),
        (b"True\nFalse\nTrue\n", CSV, pd.DataFrame({0: [True, False, True]})),
        (b"9007199254740993\n\n1\n", CSV, pd.DataFrame({0: pd.Series([9007199254740993, None, 1], dtype=object)})),
        (b"[1,2,3]", JSON, pd.DataFrame({0: [1, 2, 3]})),
        (b"[[1,2],[3,4],[5,6]]", JSON, pd.DataFrame({0: [1, 3, 5], 1: [2, 4, 6]})),
        (b'[{"a":1},{"a":2,"b":"x"},{"b":"y"}]', JSON, pd.DataFrame({"a": [1, 2, None], "b": [None, "x", "y"]})),
        (b"[9007199254740993,null,1]", JSON, pd.DataFrame({0: pd.Series([9007199254740993, None, 1], dtype=object)})),
        (b'{"predictions":[{"score":1},{"score":2},{"score":3}]}', JSON, pd.DataFrame({"score": [1, 2, 3]})),
        (b'{"a":[1,2,3],"b":[4,5,6]}', JSON, pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})),
        (b'{"model":"m","y":[4,5,6]}', JSON, pd.DataFrame({"model": ["m"] * 3, "y": [4, 5, 6]})),
        (b'{"a":{"0":1,"1":2,"2":3}}', JSON, pd.DataFrame({"a": [1, 2, 3]})),  # DataFrame.to_json()
        (SQUARE.to_json(orient="split").encode(), JSON, SQUARE),
        (SQUARE.to_json(orient="split", index=False).encode(), JSON, SQUARE.reset_index(drop=True)),
        (npy(np.array([1, 2, 3])), NPY, pd.DataFrame({0: [1, 2, 3]})),
        (npy(np.array([[1.0], [2.0], [3.0]], dtype=">f4")), NPY, pd.DataFrame({0: [1.0, 2.0, 3.0]})),
        (npy(np.array([(1,), (2,), (3,)], dtype=[("y", "i8")])), NPY, pd.DataFrame({"y": [1, 2, 3]})),
        (as_parquet(FRAME), PARQUET, FRAME),
    ],
)
def test_answers_as_frames(body: bytes, content_type: str, frame: pd.DataFrame) -> None:
    value = invoke("sync", FRAME, body, content_type, response_type=pd.DataFrame).value
    pd.testing.assert_frame_equal(value, frame, check_dtype=False, check_column_type=False)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"1,2\n3\n4,5\n", CSV),
        (b"1,2\n\n4,5\n", CSV),
        (b"[[1,2],[3],[4]]", JSON),
        (b"[1,[2],3]", JSON),
        (b"null", JSON),
        (b'{"a":[1,2,3],"b":[1]}', JSON),
        (b'{"a":1}', JSON),
        (b'{"a":[1],"b":{"c":1}}', JSON),
        (b'{"columns":["a","b"],"index":[0,1],"data":[[1],[2]]}', JSON),
        (b'{"columns":["a"],"index":[0],"data":[[1],[2]]}', JSON),
        (b'{"columns":["a","b"],"data":[1,2]}', JSON),
        (b"[" * 100_000, JSON),
        (npy(np.zeros((3, 1, 1))), NPY),
        (b"PAR1", PARQUET),
        (b"y\n1\n", f"{CSV}; header=maybe"),
    ],
)
def test_answers_that_are_no_tables(body: bytes, content_type: str) -> None:
    with pytest.raises(UndecodableReplyError) as caught:
        invoke("sync", b"", body, content_type, response_type=pd.DataFrame)
    assert caught.value.body == body


@pytest.mark.parametrize(
    ("body", "content_type", "wanted"),
    [
        (b"1\n2\n3\n", CSV, np.array([1.0, 2.0, 3.0])),
        (b"1,2\n3,4\n5,\n", CSV, np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan]])),
        (b"y\n1\n2\n3\n", f"{CSV}; header=present", np.array([1.0, 2.0, 3.0])),
        (b"0.1,0.2,0.3\n", CSV, np.array([0.1, 0.2, 0.3])),
        (b"[[1],[2],[3]]", JSON, np.array([[1], [2], [3]])),
    ],
)
@pytest.mark.parametrize("read", ["response_type", "numpy"])
def test_answers_as_arrays(body: bytes, content_type: str, wanted: Any, read: str) -> None:
    if read == "numpy":
        value = invoke("sync", FRAME, body, content_type).numpy()
        value = value[0] if body == b"0.1,0.2,0.3\n" else value
    else:
        value = invoke("sync", FRAME, body, content_type, response_type=np.ndarray).value
    np.testing.assert_array_equal(value, wanted)


def test_one_row_of_several_values_stays_a_row() -> None:
    reply = invoke("sync", FRAME.iloc[:1], b"0.1,0.9\n", CSV, response_type=np.ndarray)
    assert reply.value.shape == (1, 2)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[1,"a",2]', JSON),
        (b"[9007199254740993,0.5,1]", JSON),
        (b"[1,null,2]", JSON),
        (b"9007199254740993\n1\n2\n", CSV),
        (b"[" * 100_000, JSON),
    ],
)
def test_an_array_changes_no_value(body: bytes, content_type: str) -> None:
    for read in (
        lambda: invoke("sync", b"", body, content_type, response_type=np.ndarray),
        lambda: invoke("sync", b"", body, content_type).numpy(),
    ):
        with pytest.raises(UndecodableReplyError):
            read()


def test_counting_decodes_once_and_leaves_the_rest_to_the_reader() -> None:
    reply = invoke("sync", FRAME, b"[1,2,3]", JSON)
    assert reply.value is reply.value == [1, 2, 3]
    broken = invoke("sync", FRAME, b"{", JSON)
    with pytest.raises(UndecodableReplyError):
        broken.value  # noqa: B018


def test_each_item_of_many_is_counted() -> None:
    def check(results: list[Any]) -> None:
        assert [type(result.error) for result in results] == [type(None), RowCountError]

    items: list[Any] = [FRAME.iloc[:2], FRAME]
    aws, settings = Aws(region="us-east-1"), BatchSettings(max_concurrency=1)
    check(list(RuntimeInvoker(aws, Says(b"[1,2]", JSON)).invoke_many("e", items, settings=settings)))

    async def main() -> list[Any]:
        invoker = AsyncRuntimeInvoker(aws, AsyncSays(b"[1,2]", JSON))
        return [result async for result in invoker.invoke_many("e", items, settings=settings)]

    check(asyncio.run(main()))


def test_the_error_travels_between_processes() -> None:
    import pickle

    error = RowCountError("m answered 3 rows with 4", rows=3, answers=4, body=b"x", content_type=CSV)
    again: Callable[[], Any] = lambda: pickle.loads(pickle.dumps(error))  # noqa: E731
    assert (again().rows, again().answers, again().body) == (3, 4, b"x")
