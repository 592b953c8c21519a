"""Triton's binary tensors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.payloads.triton import TritonCodec

CODECS = Codecs([TritonCodec()])


def as_answer(body: bytes, kind: str) -> tuple[bytes, str]:
    """A request, made the answer that would echo it."""
    size = int(kind.rpartition("=")[2])
    header = json.loads(body[:size])
    renamed = json.dumps({"outputs": header["inputs"]}).encode()
    return renamed + body[size:], f"{TritonCodec.media_type};json-header-size={len(renamed)}"


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        hnp.arrays(
            st.sampled_from(["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">f4", ">i8"]),
            hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_arrays_come_back_as_they_went(arrays: dict[str, Any]) -> None:
    body, kind = CODECS.encode(arrays)
    back = CODECS.decode(*as_answer(body, kind), TritonCodec())
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype.newbyteorder("<")


def test_the_header_is_what_triton_reads() -> None:
    body, kind = CODECS.encode({"x": np.array([[1.5, 2.5]], dtype=np.float32), "s": np.array(["ä", "b"])})
    size = int(kind.rpartition("=")[2])
    assert json.loads(body[:size]) == {
        "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "s", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 11}},
        ],
        "parameters": {"binary_data_output": True},
    }
    assert body[size:] == b"\x00\x00\xc0?\x00\x00 @" + b"\x02\x00\x00\x00\xc3\xa4" + b"\x01\x00\x00\x00b"
    asked, _ = Codecs([TritonCodec(["y"])]).encode({"x": np.zeros(1)})
    assert b'"outputs":[{"name":"y"' in asked


def test_json_tensors_and_strings() -> None:
    answer = {"outputs": [{"name": "y", "shape": [2], "datatype": "FP64", "data": [1, 2]}]}
    assert CODECS.decode(json.dumps(answer).encode(), "application/json", TritonCodec())["y"].tolist() == [1.0, 2.0]
    body, kind = as_answer(*CODECS.encode({"s": np.array(["ä", ""], dtype=object)}))
    assert CODECS.decode(body, kind, TritonCodec())["s"].tolist() == ["ä".encode(), b""]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"outputs": [{}]}',
        b'{"outputs": 3}',
        b'{"outputs": [{"name": "y", "shape": [9], "datatype": "FP32", "parameters": {"binary_data_size": 36}}]}',
        b'{"outputs": [{"name": "y", "shape": [9], "datatype": "FP32", "data": [1]}]}',
        b'{"outputs": [{"name": "y", "shape": [1], "datatype": "NOPE", "parameters": {"binary_data_size": 0}}]}',
    ],
)
def test_what_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(UndecodableReplyError):
        CODECS.decode(body, TritonCodec.media_type, TritonCodec())


def test_what_triton_has_no_type_for_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Triton does not support"):
        CODECS.encode({"x": np.zeros(1, dtype=complex)})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"x": np.array(["a", None], dtype=object)}, "input x: an array of objects"),
        ({"x": np.array([1, 2], dtype=object)}, "input x: an array of objects"),
        ({"x": np.ma.masked_equal([1, 2], 2)}, "input x: Triton does not support masked arrays"),
        ({0: np.zeros(1)}, "name of an input must be text, not 0"),
        (pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}), "input n: Triton does not support missing"),
        (pd.DataFrame({"n": pd.array([True, None], dtype="boolean")}), "input n: Triton does not support missing"),
        (pd.DataFrame({"d": pd.to_datetime(["2024"])}), "input d: Triton does not support"),
        (pd.DataFrame([[1]]), "name of an input must be text, not 0"),
    ],
)
def test_values_that_would_become_other_text_are_refused(data: Any, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        CODECS.encode(data, TritonCodec.media_type)


def test_a_frame_goes_as_one_tensor_a_column() -> None:
    frame = pd.DataFrame({"a": [1, 2], "t": ["x", "y"], "c": pd.Categorical(["u", "v"])}, index=[7, 7])
    back = CODECS.decode(*as_answer(*CODECS.encode(frame, TritonCodec.media_type)), TritonCodec())
    assert {name: tensor.tolist() for name, tensor in back.items()} == {
        "a": [1, 2],
        "t": [b"x", b"y"],
        "c": [b"u", b"v"],
    }
