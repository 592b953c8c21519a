"""Payloads to bytes and back."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from scipy import sparse

from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime.payloads.codecs import CSV, JSON, NPY, PARQUET, Codecs
from mme_sdk.types import matrix
from mme_sdk.types.reply import Reply


class Payment(BaseModel):
    amount: float
    note: str = ""


class Score(BaseModel):
    score: float


FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})


@pytest.mark.parametrize(
    ("data", "content_type", "body", "sent_as"),
    [
        (b"raw", None, b"raw", "application/octet-stream"),
        (b"raw", "image/png", b"raw", "image/png"),
        (bytearray(b"raw"), None, b"raw", "application/octet-stream"),
        (memoryview(b"raw"), None, b"raw", "application/octet-stream"),
        ("täxt", None, "täxt".encode(), "text/plain"),
        ('{"a": 1}', JSON, b'{"a": 1}', JSON),
        ("täxt", "text/plain; charset=latin-1", b"t\xe4xt", "text/plain; charset=latin-1"),
        ("täxt", "text/plain; charset=UTF-8", "täxt".encode(), "text/plain; charset=UTF-8"),
        (pd.DataFrame({"a": ["ä"]}), "text/csv; charset=latin-1", b"\xe4\n", "text/csv; charset=latin-1"),
        ("täxt".encode(), "text/plain; charset=latin-1", "täxt".encode(), "text/plain; charset=latin-1"),
        ({"a": [1, None, "ü"]}, None, b'{"a":[1,null,"\\u00fc"]}', JSON),
        ([1, 2.5], None, b"[1,2.5]", JSON),
        (7, None, b"7", JSON),
        (None, None, b"null", JSON),
        (Payment(amount=2), None, b'{"amount":2.0,"note":""}', JSON),
        (Payment(amount=2, note="null"), None, b'{"amount":2.0,"note":"null"}', JSON),
        ([Payment(amount=2)], None, b'[{"amount":2.0,"note":""}]', JSON),
        ({"x": np.array([1, 2]), "y": np.float32(0.5)}, None, b'{"x":[1,2],"y":0.5}', JSON),
        (np.array([[1, 2], [3, 4]]), JSON, b"[[1,2],[3,4]]", JSON),
        (np.array([[1, 2], [3, 4]]), CSV, b"1,2\n3,4\n", CSV),
        (FRAME, None, b"1.0,0.5\n2.0,1.5\n", CSV),
        (FRAME, JSON, b'[{"a":1,"b":0.5},{"a":2,"b":1.5}]', JSON),
    ],
)
def test_what_goes_out(data: Any, content_type: str | None, body: bytes, sent_as: str) -> None:
    assert Codecs().encode(data, content_type) == (body, sent_as)


def test_arrays_and_tables_come_back_as_they_went() -> None:
    codecs = Codecs()
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    body, kind = codecs.encode(array)
    assert kind == NPY
    assert np.array_equal(codecs.decode(body, kind, np.ndarray), array)
    assert codecs.decode(body, kind, np.ndarray).dtype == np.float32
    for media in (CSV + "; header=present", JSON, PARQUET):
        body, kind = codecs.encode(FRAME, media)
        back = codecs.decode(body, kind, pd.DataFrame)
        pd.testing.assert_frame_equal(back, FRAME, check_dtype=media == PARQUET)


def test_replies_become_what_is_asked_for() -> None:
    codecs = Codecs()
    assert codecs.decode(b'{"score": 0.5}', JSON, Score) == Score(score=0.5)
    assert codecs.decode(b"[0.5, 1]", JSON, list[float]) == [0.5, 1.0]
    assert codecs.decode(b"0.5", JSON, float) == 0.5
    assert codecs.decode(b"x", "text/plain", bytes) == b"x"
    assert codecs.decode("ü".encode(), "text/plain", str) == "ü"
    assert codecs.decode(b"\xfc", "text/plain; charset=ISO-8859-1", str) == "ü"
    assert codecs.decode(b"\xfc\n", "text/csv; charset=ISO-8859-1", pd.DataFrame)[0].tolist() == ["ü"]
    assert codecs.decode(b'"\xfc"', "application/json; charset=ISO-8859-1", str | int) == "ü"
    assert Reply[Any](body=b"\xfc", content_type='text/plain; charset="ISO-8859-1"').value == "ü"
    assert Reply[Any](body="ü".encode(), content_type="text/plain; charset=nope").text == "ü"


@pytest.mark.parametrize(
    ("body", "kind", "wanted"),
    [
        (b"{", JSON, Score),
        (b'{"score": "x"}', JSON, Score),
        (b"", JSON, Score),
        (b"\xff", "text/plain", str),
        (b"a", "text/plain; charset=nope", str),
        (b"a", "text/plain; charset=base64", str),
        (b"\x93NUMPY", NPY, np.ndarray),
        (b"PAR1", PARQUET, pd.DataFrame),
        (b"{}", CSV, np.ndarray),
        (b'{"a": 1}', JSON, np.ndarray),
    ],
)
def test_what_cannot_be_decoded_keeps_its_bytes(body: bytes, kind: str, wanted: Any) -> None:
    with pytest.raises(UndecodableReplyError) as caught:
        Codecs().decode(body, kind, wanted)
    assert caught.value.body == body
    assert caught.value.content_type == kind


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (object(), None),
        ({"a": {1, 2}}, None),
        (float("inf"), None),
        (Payment(amount=float("nan")), None),
        ([Payment(amount=float("inf"))], None),
        ({1: object()}, None),
        (np.array([object()]), None),
        (np.zeros((2, 2, 2)), CSV),
        (np.zeros(2), "image/png"),
        (FRAME, "image/png"),
        ({"a": 1}, "image/png"),
        ({(1, 2): 3}, None),
        ("€", "text/plain; charset=latin-1"),
        ("a", "text/plain; charset=nope"),
        ("a", "text/plain; charset=rot13"),
    ],
)
def test_what_cannot_be_encoded_is_refused(data: Any, content_type: str | None) -> None:
    with pytest.raises(InvalidInputError):
        Codecs().encode(data, content_type)


def test_a_pickle_is_never_read() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UndecodableReplyError):
        Codecs().decode(buffer.getvalue(), NPY, np.ndarray)
    with pytest.raises(UndecodableReplyError):
        Reply[Any](body=buffer.getvalue(), content_type=NPY).value  # noqa: B018


class Shout:
    media_type = "application/x-shout"

    def accepts(self, data: Any) -> bool:
        return isinstance(data, tuple)

    def encode(self, data: Any) -> tuple[bytes, str]:
        return " ".join(data).upper().encode(), self.media_type

    def decode(self, body: bytes, content_type: str) -> Any:
        if not body:
            raise ValueError("silence")
        return tuple(body.decode().lower().split())


def test_codecs_of_ones_own() -> None:
    codecs = Codecs([Shout()])
    assert codecs.encode(("a", "b")) == (b"A B", "application/x-shout")
    assert codecs.has("application/x-shout; v=1")
    assert codecs.decode(b"A B", "application/x-shout") == ("a", "b")
    assert codecs.decode(b"A B", "text/plain", Shout()) == ("a", "b")
    assert codecs.accept(Shout()) == "application/x-shout"
    with pytest.raises(UndecodableReplyError):
        codecs.decode(b"", "application/x-shout")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values.filter(lambda value: not isinstance(value, str)))
def test_anything_json_can_say_round_trips(value: Any) -> None:
    body, kind = Codecs().encode(value)
    assert kind == JSON
    assert json.loads(body) == value


@given(st.binary(), st.sampled_from([JSON, NPY, CSV, PARQUET, "text/plain", "", ";;", "application/x+json"]))
def test_no_answer_breaks_a_reply(body: bytes, kind: str) -> None:
    reply = Reply[Any](body=body, content_type=kind)
    for read in (lambda: reply.value, reply.json, reply.numpy, lambda: reply.text):
        try:
            read()
        except UndecodableReplyError as error:
            assert error.body == body  # noqa: PT017


@pytest.mark.parametrize(
    "text", ["1.9976856708526611", "-0.15562868118286133", "1e-9007199254740993", ".1234567890123456789"]
)
def test_digits_after_a_point_are_no_integer_of_a_csv(text):
    assert matrix.array_of(f"{text},2".encode(), "text/csv").tolist() == [[float(text), 2.0]]


@pytest.mark.parametrize("text", ["9007199254740993", "-9007199254740993", "+9007199254740993"])
def test_an_integer_of_a_csv_that_no_float_holds_is_refused(text):
    for row in (text, f"1.5,{text}", f"1e5,{text}"):
        with pytest.raises(ValueError, match="more digits than a float"):
            matrix.array_of(row.encode(), "text/csv")


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", ">i4", "<i8", "f2", "f4", ">f8", "c16", "U3", "S2", "M8[s]"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (0, 4), (2, 1, 3), (70_000,)])
@pytest.mark.parametrize("order", ["C", "F", "step"])
def test_npy_is_what_numpy_writes(dtype: str, shape: tuple[int, ...], order: str) -> None:
    array = np.zeros(shape, dtype=dtype, order="F" if order == "F" else "C")
    array = array[..., ::-1] if order == "step" and shape else array
    for _ in range(2):  # the second time with a header that is known
        buffer = io.BytesIO()
        np.save(buffer, array)
        assert Codecs().encode(array) == (buffer.getvalue(), "application/x-npy")


@dataclasses.dataclass
class Payment:
    amount: float


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ([1.0, float("nan")], "send None in their place"),
        (Path("row.json"), "read the file"),
        (io.BytesIO(b"1"), "read the file"),
        (sparse.csr_matrix(np.eye(2)), r"call toarray\(\)"),
        ([Payment(1.0)], r"dataclasses\.asdict"),
        ({"amount": Decimal("1.5")}, "a pydantic model"),
        ({"at": datetime.date(2026, 1, 1)}, "a pydantic model"),
        (object(), "encode it to bytes"),
    ],
)
def test_a_payload_that_json_cannot_hold_says_what_to_pass(data: Any, hint: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Codecs().encode(data)
    assert re.search(hint, caught.value.hint or "")
