"""Any frame and any array: the reader gets the same values, or the caller is told which column cannot be sent."""

from __future__ import annotations

import datetime
import io
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sagemaker_inference import decoder

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.containers.python import payloads, prediction
from mme_sdk.runtime.payloads.codecs import CSV, JSON, NPY, PARQUET, Codecs

HEADER = f"{CSV}; header=present"
BIG = 2**53 + 1

# -- what is the same -------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A cell as Python knows it; None where it is missing."""
    if isinstance(value, np.ndarray):
        return [plain(one) for one in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value


def same(sent: Any, got: Any) -> bool:
    """Equal to the last bit, where text is no number; a truth value may come as 0 or 1."""
    if isinstance(sent, list) and isinstance(got, list):
        return len(sent) == len(got) and all(map(same, sent, got))
    return isinstance(sent, (str, bytes)) == isinstance(got, (str, bytes)) and bool(sent == got)


def cells(table: Any) -> list[list[Any]]:
    frame = pd.DataFrame(table)
    columns = [frame.iloc[:, place].astype(object).tolist() for place in range(frame.shape[1])]
    return [[plain(one) for one in row] for row in zip(*columns, strict=True)]


def assert_same(sent: pd.DataFrame, got: Any) -> None:
    left, right = cells(sent), cells(got)
    assert len(left) == len(right)
    assert all(map(same, left, right)), (left, right)


# -- any frame --------------------------------------------------------------------------------------------------------

NASTY = [
    "a,b",
    'say "hi"',
    "two\nlines",
    "\r\n",
    " lead",
    "trail ",
    "NaN",
    "NULL",
    "None",
    "1",
    "1.5e3",
    "true",
    "",
    "ü",
    "💶",
]
NASTY += [
    "'",
    ";",
    "\t",
    "#x",
    "\ufeffx",
    "a\0b",
    "-",
    "0x10",
    "1 2",
    "inf",
    "NA",
    "n/a",
    "x\u2028y",
    "\ud800",
    '"',
    "1_0",
]
texts = st.sampled_from(NASTY) | st.text(max_size=6)
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.1, -0.0, 1e300, 5e-324, 1e16])
small = st.integers(-(2**53), 2**53)
moments = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))

COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "int": (small, "int64"),
    "int8": (st.integers(-128, 127), "int8"),
    "big": (st.integers(-(2**63), 2**63 - 1), "int64"),
    "uint64": (st.integers(0, 2**64 - 1), "uint64"),
    "float": (numbers, "float64"),
    "float32": (st.floats(width=32), "float32"),
    "float16": (st.floats(width=16), "float16"),
    "bool": (st.booleans(), "bool"),
    "Int64": (st.none() | small, "Int64"),
    "BigInt64": (st.none() | st.integers(-(2**63), 2**63 - 1), "Int64"),
    "Float64": (st.none() | st.floats(allow_nan=False), "Float64"),
    "boolean": (st.none() | st.booleans(), "boolean"),
    "string": (st.none() | texts.filter(lambda text: "\ud800" not in text), "string"),
    "text": (texts, object),
    "gappy text": (st.none() | texts, object),
    "category": (st.sampled_from(["a", "b,c", None]), "category"),
    "int category": (st.sampled_from([1, 2, BIG]), "category"),
    "date": (moments, "datetime64[us]"),
    "zoned": (moments, pd.DatetimeTZDtype("us", "Europe/Berlin")),
    "timedelta": (st.timedeltas(datetime.timedelta(0), datetime.timedelta(99)), "timedelta64[us]"),
    "complex": (st.complex_numbers(allow_nan=False), "complex128"),
    "sparse": (st.sampled_from([0.0, 1.5, math.nan]), "Sparse[float]"),
    "arrow": (st.none() | small, "int64[pyarrow]"),
    "python": (st.none() | st.integers(-(2**70), 2**70), object),
    "decimal": (st.decimals(-99, 99, places=2) | st.none(), object),
    "bytes": (st.binary(max_size=3), object),
    "lists": (st.lists(small, max_size=3), object),
    "dicts": (st.dictionaries(st.text(max_size=2), small | st.none(), max_size=2), object),
    "days": (st.dates(), object),
    "mixed": (st.none() | small | numbers | texts | st.booleans() | moments | st.lists(numbers, max_size=2), object),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=0, max_size=4))
    columns = []
    for kind in kinds:
        values, dtype = COLUMNS[kind]
        drawn = pd.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=object)
        if kind == "zoned":
            columns.append(pd.to_datetime(drawn).dt.tz_localize("UTC").astype(dtype))
        else:
            columns.append(drawn if dtype is object else drawn.astype(dtype))
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(rows))
    width = len(kinds)
    names: list[Any] = draw(
        st.sampled_from(
            [
                list(range(width)),
                [f"c{place}" for place in range(width)],
                [f"c{place}" for place in reversed(range(width))],
                ["x"] * width,
                [10 * place for place in range(width)],
                [("a", place) for place in range(width)],
                ['q"uote', "com,ma", "new\nline", ""][:width],
            ]
        )
    )
    frame.columns = pd.MultiIndex.from_tuples(names) if names and isinstance(names[0], tuple) else pd.Index(names)
    index: Any = draw(
        st.sampled_from([range(rows), list("edcba")[:rows], [7] * rows, pd.date_range("2020", periods=rows)])
    )
    frame.index = pd.Index(index)
    return frame


def read_csv(body: bytes, content_type: str) -> pd.DataFrame:
    header = 0 if content_type == HEADER else None
    exact: Any = {} if pd.__version__ >= "3" else {"float_precision": "round_trip"}
    return pd.read_csv(io.StringIO(body.decode()), header=header, **exact)


def by_container(body: bytes, content_type: str) -> Any:
    return prediction._frame(payloads.decode(body, content_type).value)


def numeric(frame: pd.DataFrame) -> bool:
    return all(isinstance(one, (int, float, type(None))) for row in cells(frame) for one in row)


def sent(frame: pd.DataFrame, content_type: str) -> bytes | None:
    """The body; None where it was refused for a reason."""
    try:
        body, kind = Codecs().encode(frame, content_type)
    except InvalidInputError as refusal:
        error = refusal
    else:
        assert kind == content_type
        event(f"{content_type}: sent")
        return body
    assert error.sent is False
    assert "column" in error.message or "the data frame" in error.message
    event(f"{content_type}: refused")
    return None


@given(frames())
def test_any_frame_as_csv(frame: pd.DataFrame) -> None:
    body = sent(frame, CSV)
    if body is None:
        return
    assert_same(frame, read_csv(body, CSV))
    if numeric(frame):
        assert_same(frame, by_container(body, CSV))
        matrix = decoder.decode(body.decode(), CSV)
        assert matrix.dtype.names is None
        assert_same(frame, matrix.reshape(frame.shape))
    else:
        with pytest.raises(payloads.PayloadError, match="the body is not text/csv"):
            by_container(body, CSV)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
def test_any_text_as_csv(pairs: list[tuple[str, str]]) -> None:
    for frame in (pd.DataFrame(pairs, dtype=object), pd.DataFrame([one for one, _ in pairs], dtype=object)):
        body = sent(frame, CSV)
        if body is not None:
            assert_same(frame, read_csv(body, CSV))


@given(frames())
def test_any_frame_as_csv_with_a_header_that_was_asked_for(frame: pd.DataFrame) -> None:
    body = sent(frame, HEADER)
    if body is not None:
        assert_same(frame, read_csv(body, HEADER))
        assert_same(frame, by_container(body, HEADER))
        assert list(
            pd.read_csv(io.StringIO(body.decode()), header=None, nrows=1, keep_default_na=False).iloc[0]
        ) == list(frame.columns)


@given(frames())
def test_any_frame_as_json(frame: pd.DataFrame) -> None:
    body = sent(frame, JSON)
    if body is None:
        return
    rows = json.loads(body)
    if isinstance(rows[0], dict):
        assert all(list(row) == list(frame.columns) for row in rows)
        rows = [list(row.values()) for row in rows]
    assert all(map(same, cells(frame), rows))
    nested = any(isinstance(one, (list, dict)) for row in rows for one in row)
    if isinstance(json.loads(body)[0], dict) or not nested:
        assert_same(frame, by_container(body, JSON))


@settings(max_examples=60)
@given(frames())
def test_any_frame_as_parquet(frame: pd.DataFrame) -> None:
    body = sent(frame, PARQUET)
    if body is not None:
        got = by_container(body, PARQUET)
        assert_same(frame, got)
        assert list(got.columns) == list(frame.columns)


@given(frames())
def test_any_frame_as_npy(frame: pd.DataFrame) -> None:
    body = sent(frame, NPY)
    if body is not None:
        matrix = by_container(body, NPY)
        assert matrix.shape == frame.shape
        assert_same(frame, matrix)
        assert_same(frame, decoder.decode(body, NPY))


@pytest.mark.filterwarnings("ignore:Stored array in format")
@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.array_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    )
)
def test_any_array(array: np.ndarray[Any, Any]) -> None:
    for content_type in (NPY, CSV, JSON):
        try:
            body, _ = Codecs().encode(array, content_type)
        except InvalidInputError:
            assert content_type != NPY
            event(f"{content_type}: refused")
            continue
        event(f"{content_type}: sent")
        if content_type == NPY:
            got = decoder.decode(body, NPY)
            assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())
        elif content_type == CSV:
            assert array.ndim == 2
            assert_same(pd.DataFrame(array), read_csv(body, CSV))
        else:
            assert same(array.tolist(), json.loads(body))


# -- what must be sent, and what must not -----------------------------------------------------------------------------


def column(values: list[Any], dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=dtype), "y": range(len(values))})


TABLE: dict[str, tuple[pd.DataFrame, set[str]]] = {
    "integers": (column([1, 2]), {CSV, HEADER, JSON, NPY, PARQUET}),
    "floats": (column([0.1, math.nan]), {CSV, HEADER, JSON, NPY, PARQUET}),
    "infinity": (column([0.1, math.inf]), {CSV, HEADER, NPY, PARQUET}),
    "bools": (column([True, False]), {CSV, HEADER, JSON, NPY, PARQUET}),
    "beyond 2**53": (column([BIG]), {JSON, NPY, PARQUET}),
    "beyond 2**53, one missing": (column([BIG, None], "Int64"), {PARQUET}),
    "beyond 2**53, objects, one missing": (column([BIG, None], object), set()),
    "nullable integers": (column([1, None], "Int64"), {CSV, HEADER, JSON, NPY, PARQUET}),
    "nullable bools": (column([True, None], "boolean"), {CSV, HEADER, JSON, NPY, PARQUET}),
    "nothing": (column([None, None]), {CSV, HEADER, JSON, NPY, PARQUET}),
    "text": (column(["a,b", 'c"', "d\ne", " f "]), {CSV, HEADER, JSON, PARQUET}),
    "text, some missing": (column(["a", None], "string"), {CSV, HEADER, JSON, PARQUET}),
    "text like a number": (column(["007", "a"]), {JSON, PARQUET}),
    "text like nothing": (column(["NULL", "a"]), {JSON, PARQUET}),
    "empty text": (column(["", "a"]), {JSON, PARQUET}),
    "categories": (column(["a", "b"], "category"), {CSV, HEADER, JSON, PARQUET}),
    "numbered categories": (column([3, 4], "category"), {CSV, HEADER, JSON, NPY, PARQUET}),
    "dates": (column([pd.Timestamp("2024-01-01")]), {PARQUET}),
    "dates with zones": (column([pd.Timestamp("2024-01-01", tz="UTC")]), {PARQUET}),
    "durations": (column([pd.Timedelta("1h")]), {PARQUET}),
    "periods": (column([pd.Period("2024-01")]), {PARQUET}),
    "days": (column([datetime.date(2024, 1, 1)], object), {PARQUET}),
    "days and moments": (column([datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 3)], object), set()),
    "decimals": (column([Decimal("1.10")], object), {PARQUET}),
    "bytes": (column([b"a"], object), {PARQUET}),
    "bytes and text": (column([b"a", "a"], object), set()),
    "lists": (column([[1, 2], [3]]), {JSON, PARQUET}),
    "lists with NaN": (column([[math.nan]]), {PARQUET}),
    "dictionaries": (column([{"a": 1}, {"b": [2]}]), {JSON}),
    "sets": (column([{1, 2}]), set()),
    "numbers and text": (column([1, "a"], object), {JSON}),
    "complex": (column([1j]), set()),
    "sparse": (column([0.0, 1.5], "Sparse[float]"), {CSV, HEADER, JSON, NPY, PARQUET}),
    "long doubles": (column(list(np.array([1.5], np.longdouble)), np.longdouble), set()),
    "huge integers": (column([2**70], object), {JSON}),
    "arrow": (column([1, None], "int64[pyarrow]"), {CSV, HEADER, JSON, NPY, PARQUET}),
    "surrogates": (column(["\ud800"], object), set()),
    "objects": (column([object()], object), set()),
    "names twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), {CSV, NPY}),
    "no names": (pd.DataFrame([[1, 2.5]]), {CSV, JSON, NPY}),
    "numbers for names": (pd.DataFrame([[1, 2]], columns=[3, 4]), {CSV, NPY}),
    "names of two levels": (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), {CSV, NPY}),
    "no rows": (pd.DataFrame({"a": [1.0]}).iloc[:0], {NPY, PARQUET}),
    "no columns": (pd.DataFrame(index=range(3)), {NPY}),
    "any index": (pd.DataFrame({"a": [1, 2]}, index=["x", "x"]), {CSV, HEADER, JSON, NPY, PARQUET}),
}


@pytest.mark.parametrize("content_type", [CSV, HEADER, JSON, NPY, PARQUET])
@pytest.mark.parametrize("name", list(TABLE))
def test_each_kind_of_column_goes_or_is_refused_by_name(name: str, content_type: str) -> None:
    frame, accepted = TABLE[name]
    if content_type in accepted:
        body, _ = Codecs().encode(frame, content_type)
        if len(frame) and frame.shape[1]:
            assert_same(frame, by_container(body, content_type) if content_type != CSV else read_csv(body, CSV))
        return
    with pytest.raises(InvalidInputError) as caught:
        Codecs().encode(frame, content_type)
    if "x" in frame.columns:
        assert "column 'x'" in caught.value.message


def test_numbers_are_written_so_that_awss_toolkit_reads_one_matrix() -> None:
    body, _ = Codecs().encode(pd.DataFrame({"a": [1, 2], "b": [True, False], "c": [0.5, math.nan]}))
    assert body == b"1.0,1.0,0.5\n2.0,0.0,nan\n"
    assert decoder.decode(body.decode(), CSV).shape == (2, 3)
    assert Codecs().encode(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))[0] == b"1,3\n2,4\n"
    assert Codecs().encode(pd.DataFrame({"a": [0.1]}, dtype="float32"))[0] == b"0.10000000149011612\n"


def test_a_series_is_one_column() -> None:
    series = pd.Series([1.5, 2.5], index=["a", "b"])
    assert Codecs().encode(series) == (b"1.5\n2.5\n", CSV)
    assert Codecs().encode(series, JSON)[0] == b"[1.5,2.5]"
    assert np.load(io.BytesIO(Codecs().encode(series, NPY)[0])).tolist() == [1.5, 2.5]
    with pytest.raises(InvalidInputError, match="requires names of type str"):
        Codecs().encode(series, PARQUET)


@pytest.mark.parametrize(
    ("array", "content_type", "text"),
    [
        (np.array([1.0, 2.0]), CSV, "1 dimension"),
        (np.array(1.0), CSV, "0 dimensions"),
        (np.zeros((2, 2, 2)), CSV, "3 dimensions"),
        (np.zeros((0, 2)), CSV, "empty"),
        (np.zeros(2, dtype=[("a", "f8")]), CSV, "records"),
        (np.array([[BIG]]), CSV, "column 0"),
        (np.array([["1"]]), CSV, "column 0"),
        (np.array([["2024-01-01"]], dtype="M8[ns]"), CSV, "datetime64"),
        (np.array([["2024-01-01"]], dtype="M8[ns]"), JSON, "datetime64"),
        ({"when": np.datetime64("2024-01-01", "ns")}, None, "datetime64"),
        (np.zeros(2, dtype=[("a", "f8")]), JSON, "does not support"),
        (np.array([math.nan]), JSON, "NaN"),
        (np.array([1], np.longdouble), JSON, "does not support"),
        (np.ma.masked_equal([1, 2], 2), NPY, "mask"),
        (np.ma.masked_equal([[1, 2]], 2), CSV, "mask"),
        ({"x": np.ma.masked_equal([1, 2], 2)}, None, "mask"),
        (np.zeros((1, 1)), HEADER, "header"),
        (pd.DataFrame({"a": [1]}), f"{CSV}; header=maybe", "header=maybe"),
    ],
)
def test_arrays_that_would_change_are_refused(array: Any, content_type: str | None, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        Codecs().encode(array, content_type)


def test_tables_of_text_and_numbers_as_arrays() -> None:
    encode: Callable[[Any, str], tuple[bytes, str]] = Codecs().encode
    assert encode(np.array([["a,b", "c"]]), CSV)[0] == b'"a,b",c\n'
    assert encode(np.array([[True, False]]), CSV)[0] == b"1,0\n"
    assert encode(np.array([[0.1]], dtype="f4"), CSV)[0] == b"0.10000000149011612\n"
    assert encode(np.ma.array([[1, 2]]), CSV)[0] == b"1,2\n"
