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
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from tests.support.containers.harness import Container, script

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


def _dump_skops(value: Any, path: Path) -> None:
    import skops.io  # it needs seconds, which every collection of tests would pay

    skops.io.dump(value, path)


@pytest.mark.parametrize(
    ("file", "make"),
    [
        ("model.skops", _dumped(_dump_skops)),
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
    assert _threads_of_fork_server(container) == 1  # a library with threads of its own would not survive the next fork


def _threads_of_fork_server(container: Container) -> int:
    if sys.platform != "linux":
        return 1
    (fork_server,) = (
        stat.parent.name
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.read_text().rpartition(")")[2].split()[1] == str(container.process.pid)
    )
    status = Path(f"/proc/{fork_server}/status").read_text()
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
        (b"a,b", "text/csv", "*/*", 400, "Remove the header row"),
        (b"id,2\n1,2", "text/csv", "*/*", 400, "Remove the header row"),
        (b"1,2\n3,x\n", "text/csv", "*/*", 400, "'x'"),
        (b"1,2\n\n3,4\n", "text/csv", "*/*", 400, "line 2 is empty"),
        (b"1,2\n3\n", "text/csv", "*/*", 400, "number of columns"),
        (b"1,2 # 3\n", "text/csv", "*/*", 400, "not text/csv"),
        (b"", "text/csv", "*/*", 400, "no rows"),
        (b"a,b\n", "text/csv; header=maybe", "*/*", 400, "header=maybe"),
        (b'[{"a": 1}, [2]]', "application/json", "*/*", 400, "some rows are objects"),
        (b"PAR1", "application/x-parquet", "*/*", 400, "not application/x-parquet"),
        (json.dumps(ROWS.tolist()).encode(), "application/json", "text/csv; header=present", 406, "no column names"),
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
    _dump_skops(classifier, tmp_path / "model.skops")
    if "strict" not in container.models():
        assert container.load("strict", tmp_path)[0] == 200
    said = container.invoke("strict", body, content_type, accept)
    assert said[0] == status, said
    assert text in json.loads(said[1])["message"]


def test_missing_values_are_gaps_in_csv_and_nulls_in_json(container: Container, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    rows = np.array([[0.0, np.nan], [np.nan, 1.0], [2.0, 3.0], [1.0, np.nan]])
    booster = xgboost.train({"nthread": 1, "min_child_weight": 0}, xgboost.DMatrix(rows, [0, 1, 2, 3]), 3)
    expected = booster.predict(xgboost.DMatrix(rows)).tolist()
    assert len(set(expected)) == 4
    booster.save_model(tmp_path / "model.ubj")
    assert container.load("gaps", tmp_path)[0] == 200
    for body, content_type in (
        (b"0.0,\n,1.0\n2.0,3.0\n1.0,\n", "text/csv"),
        (b"0.0,nan\r\n nan,1.0\r\n2.0, 3.0\r\n1.0, \r\n", "text/csv"),
        (b"a,b\n0.0,\n,1.0\n2.0,3.0\n1.0,\n", "text/csv; header=present"),
        (b"[[0.0, null], [null, 1.0], [2, 3], [true, null]]", "application/json"),
        (b'[{"a": 0}, {"b": 1}, {"a": 2, "b": 3}, {"a": 1, "b": null}]', "application/json"),
        (_npy(rows), "application/x-npy"),
    ):
        status, said, _ = container.invoke("gaps", body, content_type)
        assert status == 200, said
        np.testing.assert_allclose(json.loads(said), expected, rtol=1e-6)
    status, said, _ = container.invoke("gaps", b"1\n2\n", "text/csv")
    assert status == 400
    assert "1 columns; the model has 2 features" in json.loads(said)["message"]
    assert container.ask("DELETE", "/models/gaps")[0] == 200


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_booster_that_was_trained_on_a_frame(container: Container, tmp_path: Path, library: str) -> None:
    module = pytest.importorskip(library)
    frame = pd.DataFrame({"b": np.arange(80.0), "a": np.tile([0.0, 1.0], 40)})
    target = frame["b"] + 100 * frame["a"]
    if library == "xgboost":
        booster = module.train({"nthread": 1}, module.DMatrix(frame, target), 5)
        booster.save_model(tmp_path / "model.ubj")
        expected = booster.predict(module.DMatrix(frame))
    else:
        booster = module.train({"num_threads": 1, "verbose": -1}, module.Dataset(frame, target), 5)
        booster.save_model(tmp_path / "model.txt")
        expected = booster.predict(frame)
    name = f"trained-on-a-frame-{library}"
    assert container.load(name, tmp_path)[0] == 200
    turned = frame[["a", "b"]]
    for body, content_type in (
        (frame.to_csv(index=False, header=False).encode(), "text/csv"),
        (turned.to_csv(index=False).encode(), "text/csv; header=present"),
        (turned.to_json(orient="records").encode(), "application/json"),
        (json.dumps({"instances": frame.to_numpy().tolist()}).encode(), "application/json"),
        (_npy(frame.to_numpy()), "application/x-npy"),
    ):
        status, said, _ = container.invoke(name, body, content_type)
        assert status == 200, said
        answers = json.loads(said)
        np.testing.assert_allclose(
            answers["predictions"] if isinstance(answers, dict) else answers, expected, rtol=1e-6
        )
    status, said, _ = container.invoke(name, b'[{"a": 1, "c": 2}]')
    assert status == 400
    assert "trained with b, a" in json.loads(said)["message"]
    assert container.ask("DELETE", f"/models/{name}")[0] == 200


def test_an_onnx_model_gets_each_input_in_its_own_type(container: Container, tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    frame = pd.DataFrame({"a": [0.5, 1.5, 2.5], "n": [1, 2, 4]})
    model = make_pipeline(make_column_transformer(("passthrough", ["a", "n"])), LinearRegression())
    model.fit(frame, [1.0, 2.0, 4.0])
    types = [("a", FloatTensorType([None, 1])), ("n", Int64TensorType([None, 1]))]
    (tmp_path / "model.onnx").write_bytes(skl2onnx.convert_sklearn(model, initial_types=types).SerializeToString())
    assert container.load("inputs", tmp_path)[0] == 200
    status, said, _ = container.invoke("inputs", frame.to_json(orient="records").encode())
    assert status == 200, said
    np.testing.assert_allclose(np.ravel(json.loads(said)), model.predict(frame), rtol=1e-4)
    for body, text in (
        (b'[{"a": 1.5, "n": 1.5}]', "'n' has type tensor(int64)"),
        (b'[{"a": 1.5, "n": null}]', "'n' has type tensor(int64)"),
        (b'[{"a": "x", "n": 1}]', "'a' has type tensor(float)"),
        (b'[{"a": "1.5", "n": 1}]', "'a' has type tensor(float)"),
        (b'[{"a": 1.5}]', "the inputs are a; the model has a, n"),
        (b'[{"a": 1.5, "n": 1, "x": 1}]', "the inputs are a, n, x"),
    ):
        status, said, _ = container.invoke("inputs", body)
        assert status == 400, said
        assert text in json.loads(said)["message"]
    assert container.ask("DELETE", "/models/inputs")[0] == 200


def test_a_frame_and_text_come_out_as_csv_that_any_reader_reads(container: Container, tmp_path: Path) -> None:
    source = """
import numpy as np
import pandas as pd
ANSWERS = {
    1: pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}),
    2: np.array(["x,y", 'z"']),
    3: np.zeros((2, 2, 2)),
    4: np.zeros((0, 2)),
}
def model_fn(d): return 1
def predict_fn(data, model): return ANSWERS[int(data)]
"""
    script(tmp_path / "answers", source)
    assert container.load("answers", tmp_path / "answers")[0] == 200
    for number, accept, status, said, content_type in (
        (1, "text/csv", 200, b"1.0,0.5\n2.0,1.5\n", "text/csv"),
        (1, "text/csv; header=present", 200, b"a,b\n1.0,0.5\n2.0,1.5\n", "text/csv; header=present"),
        (2, "text/csv", 200, b'"x,y"\n"z"""\n', "text/csv"),
        (3, "text/csv", 406, b"3 dimensions", "application/json; charset=utf-8"),
        (4, "text/csv", 200, b"", "text/csv"),
        (1, "text/csv; header=maybe", 406, b"header=maybe", "application/json; charset=utf-8"),
    ):
        answer = container.invoke("answers", str(number).encode(), accept=accept)
        assert answer[0] == status, answer
        assert said == answer[1] if status == 200 else said in answer[1]
        assert answer[2]["content-type"] == content_type
    assert container.ask("DELETE", "/models/answers")[0] == 200


def test_files_with_a_leading_dot_are_ignored(container: Container, tmp_path: Path) -> None:
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "fraud.joblib")
    (tmp_path / "._fraud.joblib").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".model.pkl").write_bytes(b"")
    status, said = container.load("shadowed", tmp_path)
    assert status == 200, said
    assert container.ask("DELETE", "/models/shadowed")[0] == 200


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


@pytest.mark.parametrize("names", [b"c__main__\ndouble\n.", b"\x80\x04\x8c\x08__main__\x8c\x06double\x93."])
def test_a_pickle_of_a_notebook_says_what_to_define_elsewhere(
    container: Container, tmp_path: Path, names: bytes
) -> None:
    (tmp_path / "model.pkl").write_bytes(names)  # a pickle of the function double of __main__, of protocols 0 and 4
    status, said = container.load("notebook", tmp_path)
    assert status == 500
    assert "notebook that saved the model defines double: define it in a module in code/" in said["message"]


def test_an_estimator_of_lightgbm_in_skops_is_served(container: Container, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.arange(40.0).reshape(40, 1)
    estimator = lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, min_child_samples=1, verbose=-1)
    _dump_skops(estimator.fit(rows, [5] * 20 + [7] * 20), tmp_path / "model.skops")
    expected = estimator.predict(rows).tolist()
    assert set(expected) == {5, 7}
    assert container.load("estimator", tmp_path)[0] == 200
    said = container.invoke("estimator", json.dumps(rows.tolist()).encode(), "application/json")
    assert (said[0], json.loads(said[1])) == (200, expected)


def test_skops_files_with_untrusted_types_need_a_word_from_who_runs_the_container(
    container: Container, tmp_path: Path
) -> None:
    from fractions import Fraction

    _dump_skops(Fraction(1, 3), tmp_path / "model.skops")
    status, said = container.load("untrusted", tmp_path)
    assert status == 500
    assert "MME_SKOPS_TRUSTED=fractions.Fraction" in said["message"]
