"""Every kind of model file is served by the library it was made with, and answers as that library does."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from .harness import Container

X, Y = load_digits(return_X_y=True)
ROWS = X[:5]


@pytest.fixture(scope="module")
def classifier() -> LogisticRegression:
    return LogisticRegression(max_iter=50, tol=1e-1).fit(X[:400], Y[:400])


def _onnx(classifier: LogisticRegression, path: Path) -> np.ndarray[Any, Any]:
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType

    converted = skl2onnx.convert_sklearn(
        classifier, initial_types=[("x", FloatTensorType([None, 64]))], options={"zipmap": False}
    )
    path.write_bytes(converted.SerializeToString())
    return classifier.predict(ROWS)


def _xgboost(_: LogisticRegression, path: Path) -> np.ndarray[Any, Any]:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(X[:200], Y[:200]), 3)
    booster.save_model(path)
    return booster.predict(xgboost.DMatrix(ROWS))


def _lightgbm(_: LogisticRegression, path: Path) -> np.ndarray[Any, Any]:
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.train({"num_threads": 1, "verbose": -1}, lightgbm.Dataset(X[:200], Y[:200]), 3)
    booster.save_model(path)
    return booster.predict(ROWS)


def _dumped(dump: Callable[[Any, Path], None]) -> Callable[[LogisticRegression, Path], np.ndarray[Any, Any]]:
    def make(classifier: LogisticRegression, path: Path) -> np.ndarray[Any, Any]:
        dump(classifier, path)
        return classifier.predict(ROWS)

    return make


@pytest.mark.parametrize(
    ("file", "make"),
    [
        ("model.skops", _dumped(lambda model, path: skops.io.dump(model, path))),
        ("fraud.joblib", _dumped(lambda model, path: joblib.dump(model, path))),
        ("model.pkl", _dumped(lambda model, path: path.write_bytes(pickle.dumps(model)))),
        ("model.onnx", _onnx),
        ("model.ubj", _xgboost),
        ("booster.json", _xgboost),
        ("model.txt", _lightgbm),
    ],
)
def test_a_model_file_answers_as_its_library_does(
    container: Container, classifier: LogisticRegression, tmp_path: Path, file: str, make: Any
) -> None:
    expected = make(classifier, tmp_path / file)
    name = file.replace(".", "-")
    status, said = container.load(name, tmp_path)
    assert status == 200
    if sys.platform == "linux" and file.endswith((".skops", ".joblib", ".pkl")):
        assert 0 < said["memory"] < 12e6  # the libraries are shared with the other models
    status, body, headers = container.invoke(name, {"instances": ROWS.tolist()})
    assert status == 200, body
    assert headers["content-type"] == "application/json"
    said = json.loads(body)["predictions"]
    labels = next(iter(said.values())) if isinstance(said, dict) else said
    np.testing.assert_allclose(labels, expected, rtol=1e-6)
    status, body, headers = container.invoke(name, _npy(ROWS), "application/x-npy", "application/x-npy")
    assert (status, headers["content-type"]) == (200, "application/x-npy")
    np.testing.assert_allclose(np.load(io.BytesIO(body)), expected, rtol=1e-6)
    csv = "\n".join(",".join(map(str, row)) for row in ROWS.tolist()).encode()
    status, body, headers = container.invoke(name, csv, "text/csv; charset=utf-8", "text/csv")
    assert (status, headers["content-type"]) == (200, "text/csv")
    np.testing.assert_allclose(np.loadtxt(io.StringIO(body.decode())), expected, rtol=1e-4)
    status, body, _ = container.invoke(name, ROWS.tolist(), accept="application/x-parquet, application/json;q=0.5")
    assert status == 200
    assert isinstance(json.loads(body), type(said))
    assert container.ask("DELETE", f"/models/{name}")[0] == 200
    assert _threads_of_zygote(container) == 1  # a library with threads of its own would not survive the next fork


def _threads_of_zygote(container: Container) -> int:
    if sys.platform != "linux":
        return 1
    (zygote,) = (
        stat.parent.name
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.read_text().rpartition(")")[2].split()[1] == str(container.process.pid)
    )
    status = Path(f"/proc/{zygote}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Threads:")).split()[1])


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "text"),
    [
        (b"{", "application/json", "*/*", 400, "not application/json"),
        (b"[[1, 2], [3]]", "application/json", "*/*", 400, "inhomogeneous"),
        (b"a,b", "text/csv", "*/*", 400, "not text/csv"),
        (b"", "text/csv", "*/*", 400, "no rows"),
        (b"\x93NUMPY", "application/x-npy", "*/*", 400, "not application/x-npy"),
        (pickle.dumps([1]), "application/x-npy", "*/*", 400, "not application/x-npy"),
        (b"x", "image/png", "*/*", 415, "image/png"),
        (json.dumps(ROWS.tolist()).encode(), "application/json", "image/png", 406, "image/png"),
        (b"[[1, 2]]", "application/json", "*/*", 500, "features"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    container: Container,
    classifier: LogisticRegression,
    tmp_path: Path,
    body: bytes,
    content_type: str,
    accept: str,
    status: int,
    text: str,
) -> None:
    skops.io.dump(classifier, tmp_path / "model.skops")
    if "strict" not in container.models():
        assert container.load("strict", tmp_path)[0] == 200
    said = container.invoke("strict", body, content_type, accept)
    assert said[0] == status, said
    assert text in json.loads(said[1])["message"]


def test_directories_that_cannot_be_served_say_why(container: Container, tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing here")
    status, said = container.load("nothing", tmp_path)
    assert status == 500
    assert "code/inference.py" in said["message"]
    assert "readme.md" in said["message"]
    for name in ("one.pkl", "two.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(1))
    status, said = container.load("several", tmp_path)
    assert status == 500
    assert "one.pkl, two.pkl" in said["message"]
    assert container.load("absent", tmp_path / "absent")[0] == 404


def test_skops_files_with_untrusted_types_need_a_word_from_who_runs_the_container(
    container: Container, tmp_path: Path
) -> None:
    from fractions import Fraction

    skops.io.dump(Fraction(1, 3), tmp_path / "model.skops")
    status, said = container.load("untrusted", tmp_path)
    assert status == 500
    assert "MME_SKOPS_TRUSTED=fractions.Fraction" in said["message"]
