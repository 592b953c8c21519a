"""The Python container behaves as the image that it replaces."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mme_sdk.artifacts.profiles import profile_of
from mme_sdk.local.containers import command_for
from tests.support.containers.harness import Container, running, script

XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
CSV, JSON, LIBSVM = "text/csv", "application/json", "text/libsvm"
ROWS = np.array([[0.0, 1.0], [1.0, np.nan], [np.nan, 3.0]])


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (XGBOOST, "xgboost"),
        (SKLEARN, "sklearn"),
        (f"{DLC}/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker", "pytorch"),
        (f"{DLC}/tensorflow-inference:2.19.0-cpu-py312", "tensorflow"),
        (f"{DLC}/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu-py312", "huggingface"),
        (f"{DLC}/huggingface-tensorflow-inference:2.11.1-transformers4.26.0-cpu-py39", "huggingface"),
        ("785573368785.dkr.ecr.us-east-1.amazonaws.com/sagemaker-tritonserver:24.09-py3", "triton"),
        ("own/server:1", "any"),
        ("", "any"),
    ],
)
def test_the_name_of_an_image_selects_its_profile(image: str, name: str) -> None:
    assert profile_of(image).name == name
    assert command_for(image, {}).environment == {"MME_IMAGE": image}


@pytest.fixture(scope="module")
def booster() -> Any:
    xgboost = pytest.importorskip("xgboost")
    return xgboost.train({"nthread": 1, "min_child_weight": 0}, xgboost.DMatrix(ROWS, [0, 1, 2]), 3)


@pytest.fixture(scope="module")
def many() -> Iterator[Container]:
    with running("--preload", "", env={**os.environ, "MME_IMAGE": XGBOOST}) as container:
        yield container.healthy()


@contextmanager
def one(directory: Path, image: str) -> Iterator[Container]:
    with running("--model", str(directory), "--preload", "", env={**os.environ, "MME_IMAGE": image}) as container:
        yield container.healthy()


def predicted(booster: Any) -> list[float]:
    import xgboost

    return booster.predict(xgboost.DMatrix(ROWS)).tolist()


@pytest.mark.parametrize("file", ["xgboost-model", "fraud.bin", "model.pkl"])
@pytest.mark.parametrize("how", ["pickle", "ubj", "json"])
def test_a_booster_under_any_name(many: Container, booster: Any, tmp_path: Path, file: str, how: str) -> None:
    data = pickle.dumps(booster) if how == "pickle" else bytes(booster.save_raw(how))
    (tmp_path / file).write_bytes(data)
    (tmp_path / "._fraud.bin").write_bytes(b"\0")
    name = f"{file}-{how}"
    status, said = many.load(name, tmp_path)
    assert status == 200, said
    status, body, headers = many.invoke(name, b"0,1\n1,\n,3\n", CSV)
    assert (status, headers["content-type"]) == (200, JSON)
    np.testing.assert_allclose(json.loads(body), predicted(booster), rtol=1e-6)
    many.ask("DELETE", f"/models/{name}")


def test_the_algorithm_mode_of_a_multi_model_endpoint(many: Container, booster: Any, tmp_path: Path) -> None:
    (tmp_path / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
    assert many.load("algorithm", tmp_path)[0] == 200
    expected = predicted(booster)
    for content_type, sent in (
        (CSV, b"0,1\n1,\n,3"),
        (CSV, b"0;1\n1;nan\nnan;3\n"),
        (f"{CSV}; charset=utf-8", b"0,1\r\n1,\r\n,3\r\n"),
        (LIBSVM, b"0:0 1:1\n0:1\n1:3\n"),
        ("text/x-libsvm", b"5 0:0 1:1\n5 0:1\n5 1:3"),
    ):
        status, body, headers = many.invoke("algorithm", sent, content_type, CSV)
        assert (status, headers["content-type"]) == (200, CSV), body
        np.testing.assert_allclose([float(value) for value in body.decode().split(",")], expected, rtol=1e-6)
    status, body, _ = many.invoke("algorithm", b"0:1", LIBSVM)
    assert (status, len(json.loads(body))) == (200, 1)
    for sent, content_type, accept, status, text in (
        (b"[[0, 1]]", JSON, JSON, 415, "send text/csv or text/libsvm"),
        (b"\x93NUMPY", "application/x-npy", JSON, 415, "not supported by the XGBoost image"),
        (b"a,b", CSV, JSON, 415, "is not text/csv"),
        (b"0:x", LIBSVM, JSON, 415, "is not text/libsvm"),
        (b"1,2,3", CSV, JSON, 400, "3 columns; the model has 2 features"),
        (b"2:1", LIBSVM, JSON, 400, "index 2; the model has 2 features"),
        (b"1,2", CSV, "application/x-npy", 415, "Accept 'application/x-npy'"),
    ):
        answer = many.invoke("algorithm", sent, content_type, accept)
        assert answer[0] == status, answer
        assert text in json.loads(answer[1])["message"]


def test_the_algorithm_mode_of_a_single_model_endpoint(booster: Any, tmp_path: Path) -> None:
    (tmp_path / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
    expected = predicted(booster)
    with one(tmp_path, XGBOOST) as container:
        for accept, content_type in ((None, CSV), ("*/*", CSV), (CSV, CSV), (JSON, JSON)):
            headers = {"Content-Type": CSV, **({"Accept": accept} if accept else {})}
            status, body, given = container.ask("POST", "/invocations", b"0,1\n1,\n,3", headers)
            assert (status, given["content-type"]) == (200, content_type)
            if content_type == CSV:
                values = [float(value) for value in body.decode().split(",")]
            else:
                values = [value["score"] for value in json.loads(body)["predictions"]]
            np.testing.assert_allclose(values, expected, rtol=1e-6)
        headers = {"Content-Type": CSV, "Accept": "application/x-npy"}
        assert container.ask("POST", "/invocations", b"0,1", headers)[0] == 406


@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softmax"])
def test_several_boosters_predict_together(many: Container, tmp_path: Path, objective: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    rows, labels = np.arange(12.0).reshape(6, 2), [[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 0], [0, 0, 0, 1, 2, 2]]
    settings = {"nthread": 1, "min_child_weight": 0, "objective": objective}
    settings |= {"num_class": 3} if objective == "multi:softmax" else {}
    trained = [xgboost.train(settings, xgboost.DMatrix(rows, one), 4) for one in labels]
    for number, booster in enumerate(trained):
        (tmp_path / f"xgboost-model-{number}").write_bytes(bytes(booster.save_raw("ubj")))
    name = objective.replace(":", "-")
    assert many.load(name, tmp_path)[0] == 200
    body = "\n".join(",".join(map(str, row)) for row in rows).encode()
    predicted = np.array([booster.predict(xgboost.DMatrix(rows)) for booster in trained])
    if objective == "multi:softmax":
        wanted = [float(np.bincount(column.astype(int)).argmax()) for column in predicted.T]
    else:
        wanted = predicted.mean(axis=0).tolist()
    np.testing.assert_allclose(json.loads(many.invoke(name, body, CSV, JSON)[1]), wanted, rtol=1e-6)
    many.ask("DELETE", f"/models/{name}")


def test_what_the_algorithm_mode_does_not_load(many: Container, booster: Any, tmp_path: Path) -> None:
    import xgboost

    for name, files, text in (
        ("several", {"a.ubj": bytes(booster.save_raw("ubj")), "README.md": b"#"}, "README.md is neither a pickle"),
        ("none", {".hidden": b""}, "found: none"),
        ("neither", {"weights.bin": b"text"}, "Unable to load model: weights.bin is neither a pickle"),
        ("wrapped", {"model": pickle.dumps(xgboost.XGBRegressor())}, "save get_booster() of the estimator"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for file, data in files.items():
            (folder / file).write_bytes(data)
        status, said = many.load(name, folder)
        assert status == 500
        assert text in said["message"]


def test_a_script_on_the_xgboost_image_gets_a_dmatrix(booster: Any, tmp_path: Path) -> None:
    import xgboost

    source = "import os, xgboost as xgb\ndef model_fn(d):\n    b = xgb.Booster()\n"
    source += "    b.load_model(os.path.join(d, 'xgboost-model'))\n    return b\n"
    own = "import sagemaker_xgboost_container.encoder as encoders\n"
    own += "def input_fn(body, content_type):\n    return encoders.csv_to_dmatrix(body)\n"
    for number, more in enumerate(("", own)):
        directory = script(tmp_path / str(number), source + more)
        (directory / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
        with one(directory, XGBOOST) as container:
            headers = {"Content-Type": CSV, "Accept": JSON}
            status, body, _ = container.ask("POST", "/invocations", b"0,1\n1,\n,3", headers)
            assert status == 200, body
            np.testing.assert_allclose(json.loads(body), predicted(booster), rtol=1e-6)
            status, body, given = container.ask("POST", "/invocations", b"0,1\n1,\n,3", {"Content-Type": CSV})
            assert (status, given["content-type"]) == (200, JSON)  # CSV is the default of the algorithm mode only
            if not more:
                status, body, _ = container.ask("POST", "/invocations", b"0:1", {**headers, "Content-Type": LIBSVM})
                assert status == 200
                row = np.array([[1.0, np.nan]])
                np.testing.assert_allclose(json.loads(body), booster.predict(xgboost.DMatrix(row)), rtol=1e-6)
                assert container.ask("POST", "/invocations", b"[[1, 2]]", {**headers, "Content-Type": JSON})[0] == 415


def test_a_flat_array_is_one_row_on_a_multi_model_endpoint_of_the_sklearn_image(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]], [0.0, 1.0, 2.0]), tmp_path / "a.joblib")
    flat = io.BytesIO()
    np.save(flat, np.array([7.0, 1.0]))
    with running("--preload", "", env={**os.environ, "MME_IMAGE": SKLEARN}) as container:
        assert container.healthy().load("line", tmp_path)[0] == 200
        for body, content_type in ((flat.getvalue(), "application/x-npy"), (b"[7.0, 1.0]", JSON)):
            status, said, _ = container.invoke("line", body, content_type)
            assert status == 200, said
            np.testing.assert_allclose(json.loads(said), [7.0], rtol=1e-6)
    with one(tmp_path, SKLEARN) as container:
        headers = {"Content-Type": "application/x-npy"}
        assert container.ask("POST", "/invocations", flat.getvalue(), headers)[0] == 500
