"""Data frame in, data frame out."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mme_sdk.aws import Aws
from mme_sdk.errors import InvalidInputError, MissingExtraError, ModelInputError, RowCountError, UndecodableReplyError
from mme_sdk.runtime import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.runtime.batch.batch import BatchSettings
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from mme_sdk.types import ModelVersion
from tests.support.runtime.keywords import gathered

FRAME = pd.DataFrame(
    {"tenant": ["a", "b", "a", "bad", "b", "a"], "x": [1, 2, 3, 4, 5, 6]}, index=[10, 20, 30, 40, 50, 60]
)
DOUBLE = [2, 4, 6, 8, 10, 12]


def parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


class Doubler:
    """A container that doubles `x`, and answers in the form that it is told to."""

    name = "doubler"

    def __init__(self, form: str = "json", refuse: int | None = None) -> None:
        self.form = form
        self.refuse = refuse
        self.sent: list[InvokeRequest] = []

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        self.sent.append(request)
        status = self.refuse or (400 if request.target_model == "bad" else None)
        if status is not None:
            body = {"message": "?", "OriginalStatusCode": status, "OriginalMessage": "no such feature"}
            return InvokeResponse(
                status=424, headers={"x-amzn-errortype": "ModelError"}, body=json.dumps(body).encode()
            )
        rows = [int(line) for line in request.body.split()]
        values = [2 * row for row in rows]
        kind, body = {
            "json": ("application/json", json.dumps(values)),
            "columns": ("application/json", json.dumps([[value] for value in values])),
            "wrapped": ("application/json", json.dumps({"predictions": values})),
            "named": ("application/json", json.dumps({"predictions": [{"y": value} for value in values]})),
            "several": ("application/json", json.dumps([{"y": value, "error": "e", "p": [0.5]} for value in values])),
            "own": ("application/json", json.dumps([{"prediction": value, "p": 0.5} for value in values])),
            "pairs": ("application/json", json.dumps([[value, -value] for value in values])),
            "ragged": ("application/json", json.dumps([[0] * row for row in rows])),
            "members": ("application/json", json.dumps({"y": values, "p": [[0.5]] * len(values)})),
            "said once": ("application/json", json.dumps({"model": "m1", "y": values})),
            "split": ("application/json", pd.DataFrame({"y": values, "p": 0.5}).to_json(orient="split")),
            "both": ("application/json", json.dumps({"predictions": values, "p": [0.5] * len(values)})),
            "mapping": ("application/json", json.dumps({"y": values, "meta": {"a": 1}})),
            "words": ("application/json", json.dumps({"model": "m1", "version": "v1"})),
            "labels": ("text/csv", "".join(f'"a,{value}"\n' for value in values)),
            "csv": ("text/csv", "\n".join(map(str, values)) + "\n"),
            "one line": ("text/csv", ",".join(map(str, values))),
            "header": ("text/csv; header=present", "y\n" + "\n".join(map(str, values)) + "\n"),
            "hidden header": ("text/csv", "y\n" + "\n".join(map(str, values)) + "\n"),
            "parquet": ("application/x-parquet", parquet(pd.DataFrame({"y": values}))),
            "npy": ("application/x-npy", npy(np.array(values))),
            "big": ("application/json", json.dumps([2**53 + value + 1 for value in values])),
            "short": ("application/json", json.dumps(values[:-1])),
            "short object": ("application/json", json.dumps({"predictions": values[:-1]})),
            "number": ("application/json", "1"),
            "text": ("text/plain", "fine"),
        }[self.form]
        return InvokeResponse(
            status=200, headers={"content-type": kind}, body=body if isinstance(body, bytes) else body.encode()
        )

    def close(self) -> None:
        pass


class AsyncDoubler(Doubler):
    async def send(self, request: InvokeRequest, **times: float) -> InvokeResponse:  # type: ignore[override]
        return Doubler.send(self, request, **times)

    async def close(self) -> None:  # type: ignore[override]
        pass


def invoke(twin: str, transport: str | Doubler, frame: pd.DataFrame = FRAME, **options: Any) -> pd.DataFrame:
    aws = Aws(region="us-east-1")
    form, refuse = (transport, None) if isinstance(transport, str) else (transport.form, transport.refuse)
    made = (Doubler if twin == "sync" else AsyncDoubler)(form, refuse)
    if isinstance(transport, Doubler):
        made.sent = transport.sent
    if twin == "sync":
        return RuntimeInvoker(aws, made).invoke_frame("scoring", frame, **gathered(options))
    return asyncio.run(AsyncRuntimeInvoker(aws, made).invoke_frame("scoring", frame, **gathered(options)))  # type: ignore[arg-type]


twins = pytest.mark.parametrize("twin", ["sync", "async"])


@twins
@pytest.mark.parametrize(
    ("form", "column"),
    [
        ("json", "prediction"),
        ("columns", "prediction"),
        ("wrapped", "prediction"),
        ("named", "y"),
        ("named", "prediction"),
        ("members", "y"),
        ("split", "y"),
        ("own", "prediction"),
        ("both", "prediction"),
        ("several", "y"),
        ("csv", "prediction"),
        ("one line", "prediction"),
        ("header", "y"),
        ("header", "prediction"),
        ("parquet", "y"),
        ("npy", "prediction"),
        ("pairs", "0"),
    ],
)
@pytest.mark.parametrize("rows_per_call", [1, 2, 4, 256])
def test_every_row_gets_its_answer_or_its_error(form: str, column: str, rows_per_call: int, twin: str) -> None:
    answer = invoke(twin, form, model_of="tenant", rows_per_call=rows_per_call)
    assert answer.index.tolist() == FRAME.index.tolist()
    assert {"prediction", "error"} <= set(answer.columns)
    good = answer[FRAME["tenant"] != "bad"]
    assert good[column].tolist() == [2, 4, 6, 10, 12]
    assert good["error"].isna().all()
    assert pd.isna(answer.loc[40, "prediction"])
    assert "no such feature" in str(answer.loc[40, "error"])


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("several", {"y": 2, "error": "e", "p": [0.5]}),
        ("members", {"y": 2, "p": [0.5]}),
        ("pairs", [2, -2]),
        ("ragged", [0]),
        ("said once", {"model": "m1", "y": 2}),
        ("labels", "a,2"),
    ],
)
def test_a_prediction_is_the_whole_answer_to_a_row(form: str, first: Any) -> None:
    answer = invoke("sync", form, FRAME[["x"]])
    assert answer["prediction"].iloc[0] == first
    assert answer["error"].isna().all()


def test_integers_that_floats_would_round_stay_whole_beside_errors() -> None:
    answer = invoke("sync", "big", model_of="tenant")
    assert answer["prediction"].tolist()[:3] == [2**53 + 3, 2**53 + 5, 2**53 + 7]
    assert answer["prediction"].iloc[3] is None


@twins
def test_a_function_names_the_model_of_a_row_by_its_own_values(twin: str) -> None:
    frame = pd.DataFrame({"weight": [0.5, 1.5], "tenant": [7, 2**53 + 1]})
    transport = Doubler(refuse=500)
    invoke(twin, transport, frame, model_of=lambda row: f"m{row.tenant}", content_type="application/x-parquet")
    assert sorted(str(sent.target_model) for sent in transport.sent) == ["m7", "m9007199254740993"]


@pytest.mark.parametrize(
    "index",
    [
        [5, 5, 5, 5, 5, 5],
        list("fedcba"),
        pd.date_range("2024-01-01", periods=6, tz="Europe/Berlin"),
        pd.MultiIndex.from_product([["u", "v"], [1, 2, 3]]),
        pd.CategoricalIndex(list("aabbcc")),
        [None, "x", 1, 2.5, (1, 2), "x"],
    ],
)
def test_rows_order_and_index_are_those_of_the_input(index: Any) -> None:
    frame = FRAME.copy()
    frame.index = index if isinstance(index, pd.Index) else pd.Index(index, tupleize_cols=False)
    answer = invoke(
        "sync",
        "json",
        frame,
        model_of="tenant",
        rows_per_call=1,
        settings=BatchSettings(ordered=False, max_concurrency=3),
    )
    assert answer.index.equals(frame.index)
    assert [None if pd.isna(one) else one for one in answer["prediction"]] == [2, 4, 6, None, 10, 12]


@twins
def test_categories_name_models(twin: str) -> None:
    frame = FRAME[FRAME["tenant"] != "bad"].astype({"tenant": "category"})
    transport = Doubler()
    assert invoke(twin, transport, frame, model_of="tenant")["prediction"].tolist() == [2, 4, 6, 10, 12]
    assert sorted(str(sent.target_model) for sent in transport.sent) == ["a", "b"]
    for tenant, group in frame.groupby("tenant", observed=True):
        assert invoke(twin, "json", group[["x"]], model_of=lambda _, tenant=tenant: str(tenant)).index.equals(
            group.index
        )


@twins
def test_parts_are_as_large_as_asked(twin: str) -> None:
    transport = Doubler()
    invoke(twin, transport, model_of="tenant", rows_per_call=2)
    sizes = sorted((str(sent.target_model), sent.body.count(b"\n")) for sent in transport.sent)
    assert sizes == [("a", 1), ("a", 2), ("b", 2), ("bad", 1)]
    assert {sent.content_type for sent in transport.sent} == {"text/csv"}


@twins
@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ({}, {"model_of": "absent"}, "no column 'absent'"),
        ({}, {"rows_per_call": 0}, "rows_per_call"),
        ({}, {"rows_per_call": 2.5}, "rows_per_call"),
        ({}, {"rows_per_call": True}, "rows_per_call"),
        ({"tenant": ["a", None, "a", "a", "a", "a"]}, {"model_of": "tenant"}, "row 1 .*no target model"),
        ({"tenant": [1, 2, 3, 4, 5, 6]}, {"model_of": "tenant"}, "row 0 .*no target model"),
        ({"tenant": ["a", "../b", "a", "a", "a", "a"]}, {"model_of": "tenant"}, "outside the endpoint's S3 prefix"),
        ({}, {"model_of": lambda row: 7}, "row 0 .*model_of returned 7"),
        ({"x": pd.date_range("2024", periods=6)}, {"model_of": "tenant"}, "column 'x'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_answered(
    change: dict[str, Any], options: dict[str, Any], text: str, twin: str
) -> None:
    transport = Doubler()
    with pytest.raises(InvalidInputError, match=text):
        invoke(twin, transport, FRAME.assign(**change), **options)
    assert transport.sent == []


@twins
@pytest.mark.parametrize(
    ("options", "doing"),
    [
        ({"content_type": "application/x-parquet"}, "encoding as Parquet needs pyarrow"),
        ({"content_type": "Application/X-Parquet; a=b"}, "encoding as Parquet needs pyarrow"),
        ({"accept": "application/x-parquet"}, "decoding Parquet needs pyarrow"),
    ],
)
def test_a_missing_package_is_an_error_before_the_first_call(
    options: dict[str, Any], doing: str, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    transport = Doubler()
    with pytest.raises(MissingExtraError, match=doing):
        invoke(twin, transport, model_of="tenant", **options)
    assert transport.sent == []


@pytest.mark.parametrize(
    ("missing", "options"),
    [
        ("pyarrow", {"accept": "application/x-parquet", "response_type": pd.DataFrame}),
        ("pyarrow", {"response_type": pa.Table}),
        ("pandas", {"response_type": pa.Table}),
    ],
)
def test_a_package_that_decoding_needs_is_missed_before_the_call(
    missing: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    transport = Doubler()
    with pytest.raises(MissingExtraError, match=missing):
        RuntimeInvoker(Aws(region="us-east-1"), transport).invoke("scoring", b"1", **gathered(options))
    assert transport.sent == []


def test_a_codec_of_the_caller_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        media_type = "application/x-parquet"

        def accepts(self, data: Any) -> bool:
            return True

        def encode(self, data: Any) -> tuple[bytes, str]:
            return b"\n".join(str(one).encode() for one in data["x"]), self.media_type

        def decode(self, body: bytes, content_type: str) -> Any:
            return json.loads(body)

    class Plain(Doubler):
        def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
            body = json.dumps([2 * int(line) for line in request.body.split()]).encode()
            return InvokeResponse(status=200, headers={"content-type": "application/json"}, body=body)

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    invoker = RuntimeInvoker(Aws(region="us-east-1"), Plain(), codecs=Codecs([Mine()]))
    found = invoker.invoke_frame("scoring", FRAME[["x"]], InvokeOptions(content_type="application/x-parquet"))
    assert found["prediction"].tolist() == DOUBLE


def test_only_frames_and_single_columns_will_do() -> None:
    with pytest.raises(InvalidInputError, match="not a Series"):
        invoke("sync", "json", FRAME["x"])  # type: ignore[arg-type]
    twice = pd.concat([FRAME, FRAME[["tenant"]]], axis=1)
    with pytest.raises(InvalidInputError, match="2 columns named 'tenant'"):
        invoke("sync", "json", twice, model_of="tenant")


@twins
@pytest.mark.parametrize(
    ("form", "rows", "answers"), [("short", 2, 1), ("short object", 2, 1), ("hidden header", 2, 3)]
)
def test_another_number_of_answers_is_an_error(form: str, rows: int, answers: int, twin: str) -> None:
    with pytest.raises(RowCountError, match=f"{answers} results? for {rows} rows") as caught:
        invoke(twin, form, model_of="tenant", rows_per_call=2)
    assert (caught.value.rows, caught.value.answers) == (rows, answers)


@twins
@pytest.mark.parametrize("form", ["number", "text", "words", "mapping"])
def test_an_answer_that_is_no_table_is_an_error(form: str, twin: str) -> None:
    with pytest.raises(UndecodableReplyError, match="not a table"):
        invoke(twin, form, FRAME[["x"]])


@twins
@pytest.mark.parametrize(("status", "at_most"), [(415, 2), (400, 9)])
def test_a_form_that_the_model_refuses_ends_it_early(status: int, at_most: int, twin: str) -> None:
    transport = Doubler(refuse=status)
    frame = pd.DataFrame({"x": range(100)})
    with pytest.raises(ModelInputError, match="content_type=") as caught:
        invoke(twin, transport, frame, rows_per_call=1, settings=BatchSettings(max_concurrency=1))
    assert caught.value.original_status == status
    assert len(transport.sent) <= at_most


@twins
def test_a_model_that_fails_gives_its_rows_errors(twin: str) -> None:
    answer = invoke(twin, Doubler(refuse=500), FRAME[["x"]], rows_per_call=2)
    assert list(answer.columns) == ["prediction", "error"]
    assert answer["prediction"].isna().all()
    assert answer["error"].notna().all()
    with pytest.raises(ModelInputError):  # every row is refused
        invoke(twin, Doubler(refuse=400), FRAME[["x"]], rows_per_call=2)


@twins
def test_no_rows_are_no_calls(twin: str) -> None:
    transport = Doubler()
    answer = invoke(twin, transport, FRAME.iloc[:0], model_of="tenant")
    assert answer.shape == (0, 2)
    assert list(answer.columns) == ["prediction", "error"]
    assert transport.sent == []


@twins
def test_models_that_are_not_a_column_say_how_to_name_them(twin: str) -> None:
    version = ModelVersion(name="fraud", version="v1", uri="s3://b/p/fraud/v1.tar.gz", target_model="fraud/v1.tar.gz")
    for wrong, message, hint in (
        (FRAME["tenant"], "not a Series", r"frame\.assign\(model=…\)"),
        (["a", "b"], "not a list", r"frame\.assign\(model=…\)"),
        (version, "fraud/v1", r"model_of=lambda row: 'fraud/v1\.tar\.gz'"),
        (0, "not 0", r"row\[0\]"),
    ):
        with pytest.raises(InvalidInputError, match=message) as caught:
            invoke(twin, Doubler(), FRAME, model_of=wrong)
        assert re.search(hint, caught.value.hint or "")
