"""The modules that scripts import do what the libraries of AWS do."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mme_sdk.local.containers.python import toolkits

MODULES = toolkits.modules()
CONTENT_TYPES = ("application/json", "text/csv", "application/x-npy")


def test_the_imports_of_published_scripts() -> None:
    framework = MODULES["sagemaker_containers.beta.framework"]
    assert framework.worker.Response is toolkits.Response
    assert framework.content_types.CSV == "text/csv"
    assert framework.encoders.encode([[1, 2]], "application/json") == "[[1, 2]]"
    assert MODULES["sagemaker_inference"].errors.GenericInferenceToolkitError is toolkits.GenericInferenceToolkitError
    handler = MODULES["sagemaker_inference.default_inference_handler"].DefaultInferenceHandler()
    assert handler.default_output_fn([1], "text/html, application/json") == ("[1]", "application/json")
    for call in (lambda: handler.default_output_fn([1], "text/html"), lambda: framework.encoders.decode("", "a/b")):
        with pytest.raises(toolkits.UnsupportedFormatError, match="is not supported"):
            call()


@given(
    arrays.arrays(st.sampled_from(["float64", "int64"]), arrays.array_shapes(min_dims=1, max_dims=2, max_side=4)),
    st.sampled_from(CONTENT_TYPES),
)
def test_encoders_are_equal_to_those_of_the_library(array: Any, content_type: str) -> None:
    decoder = pytest.importorskip("sagemaker_inference.decoder")
    encoder = pytest.importorskip("sagemaker_inference.encoder")
    ours, theirs = (
        MODULES["sagemaker_inference"].encoder.encode(array, content_type),
        encoder.encode(array, content_type),
    )
    assert ours == theirs
    np.testing.assert_array_equal(
        MODULES["sagemaker_inference"].decoder.decode(ours, content_type), decoder.decode(theirs, content_type)
    )


@pytest.mark.parametrize("body", ["a", b"a", ["a"], [b"a"]])
def test_a_response_object(body: Any) -> None:
    response = toolkits.Response(body, "text/csv", headers={"X-A": "1"})
    assert (response.get_data(), response.mimetype, response.status_code, response.headers) == (
        b"a",
        "text/csv",
        200,
        {"X-A": "1"},
    )
    assert toolkits.Response(body, "text/csv", 201, mimetype="text/plain").mimetype == "text/plain"
    assert toolkits.Response().get_data() == b""


def test_libsvm() -> None:
    assert toolkits.libsvm("1 0:1 2:3\n1:2\n").toarray().tolist() == [[1, 0, 3], [0, 2, 0]]
    assert toolkits.libsvm("0:1", 3).toarray().tolist() == [[1, 0, 0]]
    with pytest.raises(ValueError, match="index 3 exceeds the 2 features"):
        toolkits.libsvm("3:1", 2)


def test_data_for_xgboost() -> None:
    pytest.importorskip("xgboost")
    encoder = MODULES["sagemaker_xgboost_container"].encoder
    assert encoder.csv_to_dmatrix("1,2\n3,4").num_row() == 2
    assert encoder.csv_to_dmatrix(b"1,\n3,4").num_nonmissing() == 3
    assert encoder.libsvm_to_dmatrix(b"0:1 1:2").num_col() == 2
    assert encoder.decode("1,2,3", "text/csv; charset=utf-8").num_col() == 3
    with pytest.raises(toolkits.UnsupportedFormatError):
        encoder.decode("{}", "application/json")


def test_installed_libraries_are_not_replaced() -> None:
    inference = pytest.importorskip("sagemaker_inference")
    toolkits.install(["sagemaker_inference"])
    import sagemaker_inference

    assert sagemaker_inference is inference
    assert json.__name__ == "json"
