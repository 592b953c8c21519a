"""Data frame in, data frame out."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pandas as pd
import pytest

from mme_sdk.aws import Aws
from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime.invoker import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.runtime.wire import InvokeAnswer, InvokeRequest

FRAME = pd.DataFrame(
    {"tenant": ["a", "b", "a", "bad", "b", "a"], "x": [1, 2, 3, 4, 5, 6]}, index=[10, 20, 30, 40, 50, 60]
)


class Doubler:
    """A container that doubles `x`, and answers in the form its model's name asks for."""

    name = "doubler"

    def __init__(self, form: str = "json") -> None:
        self.form = form
        self.sent: list[InvokeRequest] = []

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        self.sent.append(request)
        if request.target_model == "bad":
            body = {"message": "?", "OriginalStatusCode": 400, "OriginalMessage": "no such feature"}
            return InvokeAnswer(status=424, headers={"x-amzn-errortype": "ModelError"}, body=json.dumps(body).encode())
        rows = pd.read_csv(io.BytesIO(request.body))
        assert list(rows.columns) == ["x"]
        values = (rows["x"] * 2).tolist()
        kind, body = {
            "json": ("application/json", json.dumps(values)),
            "named": ("application/json", json.dumps({"predictions": [{"y": value} for value in values]})),
            "csv": ("text/csv", "\n".join(map(str, values)) + "\n"),
            "header": ("text/csv", "y\n" + "\n".join(map(str, values)) + "\n"),
            "short": ("application/json", json.dumps(values[:-1])),
        }[self.form]
        return InvokeAnswer(status=200, headers={"content-type": kind}, body=body.encode())

    def close(self) -> None:
        pass


class AsyncDoubler(Doubler):
    async def send(self, request: InvokeRequest, **times: float) -> InvokeAnswer:  # type: ignore[override]
        return Doubler.send(self, request, **times)

    async def close(self) -> None:  # type: ignore[override]
        pass


def invoke(form: str, **options: Any) -> pd.DataFrame:
    return RuntimeInvoker(Aws(region="us-east-1"), Doubler(form)).invoke_frame("scoring", FRAME, **options)


@pytest.mark.parametrize(
    ("form", "column"), [("json", "prediction"), ("named", "y"), ("csv", "prediction"), ("header", "y")]
)
def test_every_row_gets_its_answer_or_its_error(form: str, column: str) -> None:
    answer = invoke(form, model_of="tenant", rows_per_call=2)
    assert answer.index.tolist() == FRAME.index.tolist()
    good = answer[FRAME["tenant"] != "bad"]
    assert good[column].tolist() == [2, 4, 6, 10, 12]
    assert good["error"].isna().all()
    assert "no such feature" in str(answer.loc[40, "error"])


def test_the_twin_answers_alike() -> None:
    invoker = AsyncRuntimeInvoker(Aws(region="us-east-1"), AsyncDoubler())
    numbers = FRAME[["x"]]
    answer = asyncio.run(invoker.invoke_frame("scoring", numbers, model_of=lambda row: f"m{row.x % 2}"))
    assert answer["prediction"].tolist() == [2, 4, 6, 8, 10, 12]


def test_parts_are_as_large_as_asked() -> None:
    transport = Doubler()
    RuntimeInvoker(Aws(region="us-east-1"), transport).invoke_frame(
        "scoring", FRAME, model_of="tenant", rows_per_call=2
    )
    sizes = sorted((str(sent.target_model), sent.body.count(b"\n") - 1) for sent in transport.sent)
    assert sizes == [("a", 1), ("a", 2), ("b", 2), ("bad", 1)]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no column"):
        invoke("json", model_of="absent")
    with pytest.raises(InvalidInputError, match="rows_per_call"):
        invoke("json", model_of="tenant", rows_per_call=0)
    with pytest.raises(UndecodableReplyError, match="answered 2 rows with 1"):
        invoke("short", model_of="tenant", rows_per_call=2)


def test_no_rows_are_no_calls() -> None:
    transport = Doubler()
    answer = RuntimeInvoker(Aws(region="us-east-1"), transport).invoke_frame(
        "scoring", FRAME.iloc[:0], model_of="tenant"
    )
    assert len(answer) == 0
    assert transport.sent == []
