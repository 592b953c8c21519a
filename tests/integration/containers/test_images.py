"""The Python container behaves as the image that it replaces."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
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
PYTORCH = f"{DLC}/pytorch-inference:2.6.0-cpu-py312"
HUGGINGFACE = f"{DLC}/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu-py312"
TRITON = "785573368785.dkr.ecr.us-east-1.amazonaws.com/sagemaker-tritonserver:24.09-py3"
NO_MODEL_FN = {"code/inference.py": b"def predict_fn(data, model): return 1", "xgboost-model": b""}
BERT = {"config.json": b'{"architectures": ["BertForSequenceClassification"]}', "model.safetensors": b""}
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


@pytest.fixture(scope="module")
def loaders() -> Iterator[Any]:
    """Multi-model containers by image, each started when it is asked for."""
    with ExitStack() as stack:

        @cache
        def container(image: str) -> Container:
            environment = {**os.environ, "MME_IMAGE": image}
            return stack.enter_context(running("--preload", "", env=environment)).healthy()

        yield container


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
                values = [float(value) for value in body.decode().splitlines()]
            else:
                values = [value["score"] for value in json.loads(body)["predictions"]]
            np.testing.assert_allclose(values, expected, rtol=1e-6)
        headers = {"Content-Type": CSV, "Accept": "application/x-npy"}
        assert container.ask("POST", "/invocations", b"0,1", headers)[0] == 406


def test_selectable_inference(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    labels, settings = [0, 1, 2], {"nthread": 1, "min_child_weight": 0, "objective": "multi:softprob", "num_class": 3}
    booster = xgboost.train(settings, xgboost.DMatrix(ROWS, labels), 3)
    (tmp_path / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
    wanted = "predicted_label, labels,probabilities,predicted_score"
    environment = {**os.environ, "MME_IMAGE": XGBOOST, "SAGEMAKER_INFERENCE_OUTPUT": wanted}
    expected = booster.predict(xgboost.DMatrix(ROWS))
    with running("--model", str(tmp_path), "--preload", "", env=environment) as container:
        container.healthy()
        for accept in (JSON, "application/jsonlines"):
            headers = {"Content-Type": CSV, "Accept": accept}
            status, body, given = container.ask("POST", "/invocations", b"0,1\n1,\n,3", headers)
            assert (status, given["content-type"]) == (200, accept)
            lines = json.loads(body)["predictions"] if accept == JSON else map(json.loads, body.splitlines())
            for row, values, label in zip(lines, expected, labels, strict=True):
                assert (row["predicted_label"], row["labels"]) == (label, [0, 1, 2])
                np.testing.assert_allclose(row["probabilities"], values, rtol=1e-6)
                assert np.isnan(row["predicted_score"])
        _, body, _ = container.ask("POST", "/invocations", b"0,1", {"Content-Type": CSV})
        assert body.decode().startswith('0,"[0, 1, 2]","[')
        assert body.decode().endswith(']",nan')


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
    directory = script(tmp_path / "plain", source)
    (directory / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
    rows = b"0,1\n1,\n,3"
    with one(directory, XGBOOST) as container:
        headers = {"Content-Type": CSV, "Accept": JSON}
        status, body, _ = container.ask("POST", "/invocations", rows, headers)
        assert status == 200, body
        np.testing.assert_allclose(json.loads(body), predicted(booster), rtol=1e-6)
        status, body, given = container.ask("POST", "/invocations", rows, {"Content-Type": CSV})
        assert (status, given["content-type"]) == (200, JSON)  # CSV is the default of the algorithm mode only
        status, body, _ = container.ask("POST", "/invocations", b"0:1", {**headers, "Content-Type": LIBSVM})
        assert status == 200
        row = np.array([[1.0, np.nan]])
        np.testing.assert_allclose(json.loads(body), booster.predict(xgboost.DMatrix(row)), rtol=1e-6)
        assert container.ask("POST", "/invocations", b"[[1, 2]]", {**headers, "Content-Type": JSON})[0] == 415


def test_a_script_imports_the_encoder_of_the_xgboost_image(many: Container, booster: Any, tmp_path: Path) -> None:
    source = "import os, xgboost as xgb\nimport sagemaker_xgboost_container.encoder as encoders\n"
    source += (
        "def model_fn(d):\n    b = xgb.Booster()\n    b.load_model(os.path.join(d, 'xgboost-model'))\n    return b\n"
    )
    source += "def input_fn(body, content_type):\n    return encoders.csv_to_dmatrix(body)\n"
    directory = script(tmp_path / "own", source)
    (directory / "xgboost-model").write_bytes(bytes(booster.save_raw("ubj")))
    status, said = many.load("encoder", directory)
    assert status == 200, said
    status, body, headers = many.invoke("encoder", b"0,1\n1,\n,3", CSV, JSON)
    assert (status, headers["content-type"]) == (200, JSON), body
    np.testing.assert_allclose(json.loads(body), predicted(booster), rtol=1e-6)
    many.ask("DELETE", "/models/encoder")


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


@pytest.mark.parametrize(
    ("image", "files", "text"),
    [
        ("own", {"model.cbm": b"CBM1"}, "needs the package 'catboost': pip install 'mme-sdk[catboost]'"),
        ("own", {"net.pt": b"PK"}, "needs the package 'torch': pip install 'mme-sdk[torch]'"),
        (PYTORCH, {"net.pth": b"PK"}, "needs the package 'torch': pip install 'mme-sdk[torch]'"),
        (
            "own",
            {"1/saved_model.pb": b""},
            "1/saved_model.pb needs the package 'tensorflow': pip install 'mme-sdk[tensorflow]'",
        ),
        ("own", BERT, "needs the package 'transformers': pip install 'mme-sdk[huggingface]'"),
        (HUGGINGFACE, BERT, "needs the package 'transformers': pip install 'mme-sdk[huggingface]'"),
        (HUGGINGFACE, {"config.json": b'{"architectures": ["Own"]}'}, "the task of a Own is not known: set HF_TASK"),
        (HUGGINGFACE, {"model.safetensors": b""}, "needs config.json at the top of the archive, the variable HF_TASK"),
        (HUGGINGFACE, {"model_index.json": b'{"_class_name": "P"}'}, "a model of the library diffusers"),
        (PYTORCH, {"a.pt": b"", "b.pt": b""}, "the only .pt or .pth file at the top of the archive; found: a.pt, b.pt"),
        (PYTORCH, {"model.joblib": b""}, "the only .pt or .pth file at the top of the archive; found: model.joblib"),
        (TRITON, {"net/config.pbtxt": b"", "net/1/model.onnx": b""}, "run Triton in place of its image"),
        (SKLEARN, NO_MODEL_FN, "the scikit-learn image requires that inference.py defines model_fn"),
        (XGBOOST, NO_MODEL_FN, "the XGBoost image requires that inference.py defines model_fn"),
        ("own", {"model.pkl": b"cgone.place\nKind\n."}, "needs the package 'gone': install it"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_what_is_missing(
    tmp_path: Path, loaders: Any, image: str, files: dict[str, bytes], text: str
) -> None:
    for package in ("catboost", "torch", "tensorflow", "transformers"):
        if f"'{package}'" in text and importlib.util.find_spec(package):
            pytest.skip(f"{package} is installed")
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    status, said = loaders(image).load("m", tmp_path)
    assert (status, text in said["message"]) == (500, True), said


PIPELINE = """
def model_fn(model_dir):
    def pipeline(inputs, **parameters):
        if inputs == "raise":
            raise KeyError("no such row")
        return [{"label": str(inputs), "score": 0.5, **parameters}]
    return pipeline
"""


def test_the_hugging_face_image_answers_bare(tmp_path: Path, loaders: Any) -> None:
    container = loaders(HUGGINGFACE)
    assert container.load("pipe", script(tmp_path / "pipe", PIPELINE))[0] == 200
    png = io.BytesIO()
    pytest.importorskip("PIL.Image").new("RGB", (1, 2)).save(png, "PNG")
    for sent, content_type, label in (
        (b'{"inputs": "\xc3\xa9"}', JSON, "é"),
        (b'{"question": "a", "context": "b"}', JSON, "{'question': 'a', 'context': 'b'}"),
        (b"inputs\none\ntwo\n", CSV, "['one', 'two']"),
        (b"question,context\na,b\n", CSV, "[{'question': 'a', 'context': 'b'}]"),
        (b"RIFF", "audio/wave", "b'RIFF'"),
    ):
        status, said, headers = container.invoke("pipe", sent, content_type)
        assert (status, headers["content-type"], json.loads(said)) == (200, JSON, [{"label": label, "score": 0.5}])
    assert "size=1x2" in container.invoke("pipe", png.getvalue(), "image/png")[1].decode()
    status, said, _ = container.invoke("pipe", b'{"inputs": "a", "parameters": {"top_k": 2}}', JSON)
    assert said == b'[{"label":"a","score":0.5,"top_k":2}]'
    assert container.invoke("pipe", b'{"inputs": "a"}', JSON, CSV)[1].split() == [b"label,score", b"a,0.5"]
    for sent, content_type, accept, text in (
        (b'{"inputs": "raise"}', JSON, JSON, "no such row"),
        (b"[1]", JSON, JSON, "must be an object"),
        (b"{", JSON, JSON, "is not application/json"),
        (b"1,2", CSV, JSON, "has no header row"),
        (b"x", "text/plain", JSON, "not supported by the Hugging Face image"),
        (b'{"inputs": "a"}', JSON, "text/html", "Accept 'text/html' is not supported"),
    ):
        status, said, _ = container.invoke("pipe", sent, content_type, accept)
        assert (status, text in json.loads(said)["message"]) == (400, True), said
    source = PIPELINE + "from sagemaker_huggingface_inference_toolkit import decoder_encoder as de\n"
    source += "def input_fn(b, c): return de.decode(b, c)\n"
    own = source + "def output_fn(p, a): return de.encode(p, a)\n"
    pair = source + "def output_fn(p, a): return 'text', a\n"  # the image does not take pairs: they become JSON
    for name, text, wanted in (
        ("own", own, [{"label": "a", "score": 0.5}]),
        ("pair", pair, ["text", JSON]),
    ):
        assert container.load(name, script(tmp_path / name, text))[0] == 200
        assert json.loads(container.invoke(name, b'{"inputs": "a"}', JSON)[1]) == wanted


def test_an_image_has_only_its_own_libraries(tmp_path: Path, loaders: Any) -> None:
    directory = script(tmp_path / "m", "import sagemaker_xgboost_container\ndef model_fn(d): return 1\n")
    assert loaders("own").load("libraries", directory)[0] == 200
    status, said = loaders(HUGGINGFACE).load("libraries", directory)
    assert (status, "sagemaker_xgboost_container" in said["message"]) == (500, True)
