"""Items of one model in one request: what is joined, and how the answer is divided."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mme_sdk.aws import Aws
from mme_sdk.errors import InvalidInputError, ModelInputError, RowCountError, UndecodableReplyError
from mme_sdk.runtime import AsyncRuntimeInvoker, BatchSettings, InvokeOptions, ItemResult, RuntimeInvoker
from mme_sdk.runtime.batch.merging import merge
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

CSV = InvokeOptions(content_type="text/csv")


def as_npy(values: list[float]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(values))
    return out.getvalue()


FORMS: dict[str, tuple[str, Callable[[list[float]], bytes]]] = {
    "json": ("application/json", lambda values: json.dumps(values).encode()),
    "wrapped": ("application/json", lambda values: json.dumps({"predictions": values}).encode()),
    "csv": ("text/csv", lambda values: "".join(f"{value}\n" for value in values).encode()),
    "csv with header": ("text/csv; header=present", lambda values: ("y\n" + "\n".join(map(str, values))).encode()),
    "one line": ("text/csv", lambda values: ",".join(map(str, values)).encode()),
    "npy": ("application/x-npy", as_npy),
    "object": ("application/json", lambda values: json.dumps({"y": values, "n": 1}).encode()),
    "too few": ("application/json", lambda values: json.dumps(values[1:]).encode()),
}


class Tripler:
    """A container that triples each line; it rejects requests with a row 13."""

    name = "tripler"

    def __init__(self, form: str = "json") -> None:
        self.content_type, self.encode = FORMS[form]
        self.sent: list[tuple[str, list[float]]] = []

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        rows = self.rows(request)
        self.sent.append((str(request.target_model), rows))
        if 13.0 in rows:
            why = {"message": "?", "OriginalStatusCode": 400, "OriginalMessage": "no thirteen"}
            return InvokeResponse(status=424, headers={"x-amzn-errortype": "ModelError"}, body=json.dumps(why).encode())
        return InvokeResponse(
            status=200, headers={"content-type": self.content_type}, body=self.encode([3 * row for row in rows])
        )

    def rows(self, request: InvokeRequest) -> list[float]:
        if request.body[:6] == b"\x93NUMPY":
            return [float(row[0]) for row in np.load(io.BytesIO(request.body))]
        return [float(line) for line in request.body.split()]

    def close(self) -> None:
        """Do nothing."""


class AsyncTripler(Tripler):
    async def send(self, request: InvokeRequest, **timeouts: float) -> InvokeResponse:  # type: ignore[override]
        return Tripler.send(self, request, connect_timeout=1, read_timeout=1)


def run(
    items: list[Any],
    form: str = "json",
    *,
    twin: str = "sync",
    options: InvokeOptions = CSV,
    data_of: Any = lambda item: f"{item}\n",
    **more: Any,
) -> tuple[list[ItemResult[Any]], list[tuple[str, list[float]]]]:
    given = {
        "model_of": lambda item: f"m{int(np.ravel(item)[0]) % 2}.tar.gz",
        "data_of": data_of,
        "rows_per_call": 8,
        "settings": BatchSettings(max_concurrency=2),
    } | more
    if twin == "sync":
        transport: Any = Tripler(form)
        return list(RuntimeInvoker(Aws(region="a"), transport).invoke_many("scoring", items, options, **given)), (
            transport.sent
        )
    transport = AsyncTripler(form)

    async def gather() -> list[ItemResult[Any]]:
        invoker = AsyncRuntimeInvoker(Aws(region="a"), transport)
        return [result async for result in invoker.invoke_many("scoring", items, options, **given)]

    return asyncio.run(gather()), transport.sent


@pytest.mark.parametrize("twin", ["sync", "async"])
@pytest.mark.parametrize("form", ["json", "wrapped", "csv", "csv with header", "one line", "npy"])
def test_each_item_gets_its_part_of_the_answer(form: str, twin: str) -> None:
    items = [row for row in range(40) if row != 13]
    together, sent = run(items, form, twin=twin)
    single, many = run(items, form, twin=twin, rows_per_call=1)
    assert [result.index for result in together] == list(range(39))
    for one, other in zip(together, single, strict=True):
        assert repr(one.value).replace("\\n'", "'") == repr(other.value).replace("\\n'", "'")  # the last line may end
    assert len(many) == 39
    assert len(sent) < 15
    assert max(len(rows) for _, rows in sent) == 8
    assert all(int(row) % 2 == int(model[1]) for model, rows in sent for row in rows)


def test_a_response_type_is_that_of_each_item() -> None:
    results, sent = run([2, 4, 6], options=CSV._replace(response_type=list[float]))
    assert [result.value for result in results] == [[6.0], [12.0], [18.0]]
    assert len(sent) <= 2


def test_a_rejected_request_is_sent_again_item_by_item() -> None:
    results, _ = run([11, 13, 15, 17, 19])
    assert [type(result.error) for result in results] == [type(None), ModelInputError, *[type(None)] * 3]
    assert [result.value for result in results if result.error is None] == [[33.0], [45.0], [51.0], [57.0]]


@pytest.mark.parametrize(("form", "error"), [("too few", RowCountError), ("object", UndecodableReplyError)])
def test_an_answer_that_cannot_be_divided_is_an_error_of_its_items(form: str, error: type[Exception]) -> None:
    results, sent = run([2, 4, 6, 8, 10], form)
    joined = {row for _, rows in sent if len(rows) > 1 for row in rows}
    assert joined
    assert {result.item for result in results if type(result.error) is error} == joined
    assert sum(len(rows) for _, rows in sent) == 5  # nothing was called twice


def test_frames_and_arrays_of_several_rows_are_joined() -> None:
    frames = [pd.DataFrame({"x": [number, number + 2]}) for number in (2, 4, 6, 8)]
    arrays = [frame.to_numpy() for frame in frames]
    for items, options in ((frames, CSV), (arrays, InvokeOptions())):
        results, sent = run(items, options=options, data_of=None, rows_per_call=6)
        assert [result.value for result in results] == [[6, 12], [12, 18], [18, 24], [24, 30]]
        assert max(len(rows) for _, rows in sent) <= 6
        assert len(sent) < 4


@pytest.mark.parametrize(
    ("payloads", "content_type", "places"),
    [
        (["1\n", "2", "3\n\n"], "text/csv", [(0, 1, 2)]),
        (["1\n", "2\n"], "text/plain", [(0,), (1,)]),
        (["1\n", "2\n"], "text/csv; header=present", [(0,), (1,)]),
        ([b"1", "2", "3"], "text/csv", [(0,), (1, 2)]),
        ([{"a": 1}, {"a": 2}], None, [(0,), (1,)]),
        (["", "1", "2"], "text/csv", [(0,), (1, 2)]),
        (['"a\nb"', "2\n3\n4", "5"], "text/csv", [(0, 1), (2,)]),
        ([np.ones((1, 2)), np.ones((1, 3)), np.ones((2, 3)), np.ones(3)], None, [(0,), (1, 2), (3,)]),
        ([np.ones((1, 2)), np.ones((1, 2), dtype=int)], None, [(0,), (1,)]),
        ([np.ones((9, 2)), np.ones((1, 2))], None, [(0,), (1,)]),
    ],
)
def test_only_payloads_of_one_form_are_joined(payloads: Any, content_type: Any, places: Any) -> None:
    merged = merge(payloads, content_type, 4)
    assert [one.places for one in merged] == places


def test_joined_text_has_a_line_for_each_row() -> None:
    (one,) = merge(["1", "2\n\n", "3\r\n"], "text/csv", 9)
    assert (one.data, one.rows) == ("1\n2\n3\n", (1, 1, 1))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "8", True])
def test_a_wrong_number_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="rows_per_call"):
        run([1], rows_per_call=wrong)
