"""The TensorFlow image: SavedModels, and the handlers of a script."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import fake_tensorflow
from tests.support.containers.harness import Container, running, script

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-inference:2.19.0-cpu-py312"
CSV, JSON, LINES = "text/csv", "application/json", "application/jsonlines"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

PAIR = """
import json
def input_handler(data, context):
    if context.request_content_type == "text/csv":
        return json.dumps({"instances": [float(x) for x in data.read().decode().split(",")]})
    if context.request_content_type == "application/x-raise":
        raise ValueError("unsupported content type")
    return data.read()
def output_handler(response, context):
    if response.status_code != 200:
        raise ValueError(response.content.decode("utf-8"))
    assert response.json() == json.loads(response.text) and response.ok
    return json.dumps([response.json(), list(context[:3]), *context[5:], context.method or "none"]), "text/x-own"
"""
SINGLE = """
import json, urllib.request
def handler(data, context):
    request = urllib.request.Request(context.rest_uri, data=data.read())
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read(), context.accept_header
    except urllib.error.HTTPError as error:
        return json.dumps([error.code, error.read().decode()]), "text/plain"
"""


def saved(directory: Path, models: dict[str, str]) -> Path:
    for path, text in models.items():
        (directory / path).mkdir(parents=True, exist_ok=True)
        (directory / path / "saved_model.pb").write_text(text)
    return directory


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = fake_tensorflow.install(tmp_path_factory.mktemp("fake") / "packages")
    return {**os.environ, "MME_IMAGE": IMAGE, "PYTHONPATH": os.pathsep.join([path, *filter(None, sys.path)])}


@contextmanager
def one(directory: Path, environment: dict[str, str]) -> Iterator[Container]:
    with running("--model", str(directory), "--preload", "", env=environment) as container:
        yield container.healthy()


def ask(container: Container, body: bytes, **headers: str) -> tuple[int, Any, str | None]:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    status, said, given = container.ask("POST", "/invocations", body, named)
    return status, json.loads(said), given.get("content-type")


def test_input_handler_and_output_handler(tmp_path: Path, environment: dict[str, str]) -> None:
    directory = saved(script(tmp_path / "m", PAIR), {"net/1": "2", "net/3": "4", "other/1": "10"})
    with one(directory, environment) as container:
        status, said, media = ask(container, b"1,2", Content_Type=CSV, Accept="text/x-any")
        assert (status, media) == (200, "text/x-own")
        assert said == [{"predictions": [4.0, 8.0]}, [None] * 3, None, None, CSV, "text/x-any", 3, "none"]
        attributes = "trace=1,tfs-model-name=other,tfs-method=predict,x"
        status, said, _ = ask(container, b'{"inputs": [1, 2]}', X_Amzn_SageMaker_Custom_Attributes=attributes)
        assert said == [
            {"outputs": [10.0, 20.0]},
            ["other", None, "predict"],
            None,
            attributes,
            JSON,
            JSON,
            18,
            "predict",
        ]
        for version, factor in (("1", 2.0), ("3", 4.0)):
            headers = {"X_Amzn_SageMaker_Custom_Attributes": f"tfs-model-name=net,tfs-model-version={version}"}
            assert ask(container, b'{"instances": [1]}', **headers)[1][0] == {"predictions": [factor]}
        for body, headers, text in (
            (b"{", {}, "JSON Parse error"),
            (b"{}", {}, "Missing 'inputs' or 'instances' key"),
            (b'{"instances": []}', {}, "is empty"),
            (b'{"instances": ["a"]}', {}, "could not convert"),
            (b'{"instances": [{"z": 1}]}', {}, "the inputs are ['z']; the signature has ['x']"),
            (b'{"instances": [{"b64": "!"}]}', {}, "Unable to base64 decode"),
            (b'{"instances": [1], "signature_name": "none"}', {}, "'none' not found"),
            (
                b'{"instances": [1]}',
                {ATTRIBUTES: "tfs-model-name=gone"},
                "Servable not found for request: Latest(gone)",
            ),
            (b'{"instances": [1]}', {ATTRIBUTES: "tfs-model-name=net,tfs-model-version=9"}, "Specific(net, 9)"),
            (b'{"instances": [1]}', {ATTRIBUTES: "tfs-method=classify"}, "'classify' is not supported"),
            (b"", {"Content-Type": "application/x-raise"}, "unsupported content type"),
        ):
            status, said, media = ask(container, body, **headers)
            assert (status, media, list(said)) == (500, JSON, ["error"])
            assert text in said["error"]


def test_handler_posts_to_its_rest_uri(tmp_path: Path, environment: dict[str, str]) -> None:
    directory = saved(script(tmp_path / "m", SINGLE), {"export/Servo/7": "3"})
    with one(directory, environment) as container:
        assert ask(container, b'{"instances": [1, 2]}', Accept=JSON) == (200, {"predictions": [3.0, 6.0]}, JSON)
        status, said, media = ask(container, b"{")
        assert (status, said[0], media) == (200, 400, "text/plain")
        assert "JSON Parse error" in said[1]


def test_without_a_script(tmp_path: Path, environment: dict[str, str]) -> None:
    with one(saved(tmp_path / "m", {"1": "2"}), environment) as container:
        for body, content_type, wanted in (
            (b'{"instances": [1, 2]}', JSON, [2.0, 4.0]),
            (b'{"instances": [{"x": 1}, {"x": 2}]}', JSON, [2.0, 4.0]),
            (b"[[1, 2], [3, 4]]", JSON, [[2.0, 4.0], [6.0, 8.0]]),
            (b"[1, 2]", JSON, [[2.0, 4.0]]),
            (b"5", JSON, [10.0]),
            (b"[1, 2]\n[3, 4]\n", LINES, [[2.0, 4.0], [6.0, 8.0]]),
            (b"1,2\n\n3,4\n", CSV, [[2.0, 4.0], [6.0, 8.0]]),
            (b"1\n2", CSV, [2.0, 4.0]),
        ):
            assert ask(container, body, Content_Type=content_type) == (200, {"predictions": wanted}, JSON), body
        assert ask(container, b"5", Content_Type=JSON, Accept=f"{LINES}, {JSON}")[2] == LINES
        assert ask(container, b"5", Content_Type=JSON, Accept=CSV)[2] == JSON
        assert ask(container, b"{", Content_Type=JSON)[0] == 400
        status, said, _ = ask(container, b"5", Content_Type="application/x-npy")
        assert (status, said["error"].partition(";")[0]) == (
            415,
            "content type 'application/x-npy' is not supported by the TensorFlow image",
        )
    with one(saved(tmp_path / "two", {"1": "sum"}), environment) as container:
        rows = b'{"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}'
        encoded = {"b64": "/w=="}
        assert ask(container, rows, Content_Type=JSON)[1] == {
            "predictions": [{"text_bytes": encoded, "y": 3.0}, {"text_bytes": encoded, "y": 7.0}]
        }
        status, said, _ = ask(container, b'{"inputs": {"a": [1], "b": [2]}}', Content_Type=JSON)
        assert (status, said) == (200, {"outputs": {"text_bytes": [encoded], "y": [3.0]}})
        assert ask(container, b'{"instances": [1]}', Content_Type=JSON)[0] == 400


def test_a_multi_model_endpoint(tmp_path: Path, environment: dict[str, str]) -> None:
    good = saved(script(tmp_path / "good", PAIR), {"1": "2"})
    deep = saved(tmp_path / "deep", {"net/1": "2"})
    log = tmp_path / "log"
    with running("--preload", "", env=environment, log=log) as container:
        assert container.healthy().load("good", good)[0] == 200
        status, said, headers = container.invoke("good", {"instances": [1]})
        assert (status, json.loads(said), headers["content-type"]) == (200, {"predictions": [2.0]}, JSON)
        status, answer = container.load("deep", deep)
        assert (status, answer["message"].partition(";")[0]) == (500, "the TensorFlow image finds no SavedModel")
    assert "the TensorFlow image does not run inference.py here" in log.read_text()


@pytest.mark.parametrize(
    ("source", "models", "text"),
    [
        (
            "def input_handler(data, context): pass",
            {"1": "2"},
            "requires that inference.py defines handler or input_handler and",
        ),
        (PAIR, {}, "the TensorFlow image finds no SavedModel"),
        (PAIR, {"last": "2"}, "the TensorFlow image finds no SavedModel"),
    ],
)
def test_what_does_not_load(
    tmp_path: Path, environment: dict[str, str], source: str, models: dict[str, str], text: str
) -> None:
    directory = saved(script(tmp_path / "m", source), models)
    with running("--model", str(directory), "--preload", "", env=environment) as container:
        _, errors = container.process.communicate(timeout=60)
    assert text in errors


def test_handlers_on_an_image_that_is_not_known(tmp_path: Path, environment: dict[str, str]) -> None:
    directory = saved(script(tmp_path / "m", PAIR), {"1": "2"})
    plain = saved(tmp_path / "plain", {"net/1": "3"})
    with running("--preload", "", env={**environment, "MME_IMAGE": "own/server:1"}) as container:
        assert container.healthy().load("pair", directory)[0] == 200
        status, said, headers = container.invoke("pair", b"1,2", CSV)
        assert (status, headers["content-type"], json.loads(said)[0]) == (
            200,
            "text/x-own",
            {"predictions": [2.0, 4.0]},
        )
        assert container.load("plain", plain)[0] == 200
        assert json.loads(container.invoke("plain", {"instances": [1]})[1]) == {"predictions": [3.0]}


@pytest.mark.skipif(bool(__import__("importlib").util.find_spec("tensorflow")), reason="TensorFlow is installed")
def test_without_tensorflow(tmp_path: Path) -> None:
    directory = saved(tmp_path / "m", {"1": "2"})
    with running("--preload", "", env={**os.environ, "MME_IMAGE": IMAGE}) as container:
        status, said = container.healthy().load("m", directory)
        assert status == 500
        assert "needs the package 'tensorflow': pip install 'mme-sdk[tensorflow]'" in said["message"]
