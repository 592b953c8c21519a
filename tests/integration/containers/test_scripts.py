"""A script gives the same answer, content type and error in the container as in AWS's own toolkit."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.containers.harness import Container, running, script

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
LOAD = "def model_fn(model_dir): return 3\n"
ECHO = "import json\n" + LOAD
KIND = "json.dumps([type(body).__name__, body if isinstance(body, str) else list(body), content_type, accept])"

SCRIPTS = {
    "transform": ECHO + f"def transform_fn(model, body, content_type, accept): return {KIND}\n",
    "transform with context": ECHO
    + f"def transform_fn(model, body, content_type, accept, context): return {KIND}, 'text/x-own'\n",
    "pair of bytes": ECHO + "def transform_fn(model, body, content_type, accept): return b'\\xff', 'image/png'\n",
    "input and output": ECHO
    + "def input_fn(body, content_type): return type(body).__name__, content_type\n"
    + "def predict_fn(data, model): return [*data, model]\n"
    + "def output_fn(prediction, accept): return json.dumps([prediction, accept])\n",
    "output with context": ECHO
    + "def input_fn(body, content_type, context): return len(body)\n"
    + "def predict_fn(data, model, context): return data * model\n"
    + "def output_fn(prediction, accept, context):\n"
    + "    context.set_response_content_type(0, 'text/x-replaced')\n"
    + "    return str(prediction)\n",
    "default input and output": LOAD + "def predict_fn(data, model): return data * model\n",
    "default output of text": LOAD
    + "def input_fn(body, content_type): return 'abc'\ndef predict_fn(data, model): return data\n",
    "default output of bytes": LOAD
    + "def input_fn(body, content_type): return b'abc'\ndef predict_fn(data, model): return data\n",
    "a list as a body": LOAD + "def transform_fn(model, body, content_type, accept): return [1, 'é', None]\n",
    "too few arguments": LOAD + "def transform_fn(model, body, content_type): return 'x'\n",
    "too many arguments": LOAD + "def transform_fn(a, b, c, d, e, f): return 'x'\n",
    "optional argument": LOAD
    + "def input_fn(body, content_type): return 1\n"
    + "def predict_fn(data, model, more=None): return [data, type(more).__name__ != 'NoneType']\n",
    "raises": LOAD + "def transform_fn(model, body, content_type, accept): raise ValueError('no such row')\n",
    "raises with a status": LOAD
    + "from sagemaker_inference import errors\n"
    + "def transform_fn(model, body, content_type, accept):\n"
    + "    raise errors.GenericInferenceToolkitError(422, 'two columns wanted')\n",
    "sets a status": LOAD
    + "def transform_fn(model, body, content_type, accept, context):\n"
    + "    context.set_response_status(code=418, phrase='tea')\n    return 'pot'\n",
    "hooks": "seen = []\n"
    "def pre_model_fn(model_dir): seen.append('pre')\n"
    "def model_fn(model_dir, context): seen.append('model'); return 1\n"
    "def model_warmup_fn(model_dir, model): seen.append('warm')\n"
    "def transform_fn(model, body, content_type, accept): return ' '.join(seen)\n",
    "header": LOAD
    + "def transform_fn(model, body, content_type, accept, context):\n"
    + "    return context.get_request_header(0, 'X-Amzn-SageMaker-Custom-Attributes') or 'none'\n",
}
BROKEN = {
    "transform and input": LOAD + "def input_fn(b, c): return b\ndef transform_fn(m, b, c, a): return b\n",
    "model_fn without arguments": "def model_fn(): return 1\n",
    "model_fn raises": "def model_fn(model_dir): raise RuntimeError('no weights')\n",
    "does not compile": "def model_fn(model_dir:\n",
}


def _npy(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(value))
    return out.getvalue()


class _ContextOfAws:
    """The context that Multi Model Server gives to AWS's transformer."""

    def __init__(self, model_dir: Path, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": str(model_dir), "gpu_id": None}
        self.headers = headers
        self.status = 200
        self.content_type: str | None = None

    @property
    def request_processor(self) -> list[_ContextOfAws]:
        return [self]

    def get_request_properties(self) -> dict[str, str]:
        return self.headers

    def get_request_header(self, idx: int, key: str) -> str | None:
        return self.headers.get(key)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_type = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.status = code


class Toolkit:
    """AWS's transformer with one script."""

    def __init__(self, model_dir: Path) -> None:
        transformer = pytest.importorskip("sagemaker_inference.transformer")
        self._directory = model_dir
        self.defaults = "def output_fn" not in (source := (model_dir / "code/inference.py").read_text()) and (
            "def transform_fn" not in source
        )
        self._transformer = transformer.Transformer()

    def answer(
        self, body: bytes, content_type: str | None, accept: str | None, **more: str
    ) -> tuple[int, str | None, bytes]:
        headers = {"Content-Type": content_type, "Accept": accept, **more}
        context = _ContextOfAws(self._directory, {key: value for key, value in headers.items() if value is not None})
        self._transformer._context = context  # one object serves all requests in Multi Model Server
        with _importable(self._directory):
            (said,) = self._transformer.transform([{"body": body}], context)
        if not isinstance(said, str | bytes | bytearray):
            said = json.dumps(said)
        return context.status, context.content_type, said.encode() if isinstance(said, str) else bytes(said)


@contextmanager
def _importable(model_dir: Path) -> Iterator[None]:
    sys.path.insert(0, str(model_dir / "code"))
    sys.modules.pop("inference", None)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(model_dir / "code"))
        sys.modules.pop("inference", None)


def _in_container(
    container: Container, name: str, body: bytes, content_type: str | None, accept: str | None, **more: str
) -> tuple[int, str | None, bytes]:
    headers = {"Content-Type": content_type, "Accept": accept, **more}
    status, said, given = container.ask(
        "POST", f"/models/{name}/invoke", body, {key: value for key, value in headers.items() if value is not None}
    )
    return status, given.get("content-type"), said


def _values(body: bytes, content_type: str | None) -> Any:
    """The values of an answer; the default input_fn gives two dimensions here, and may give one in the toolkit."""
    match content_type:
        case "application/json":
            value = json.loads(body)
            return np.ravel(value).tolist() if isinstance(value, list) else value
        case "text/csv":
            return np.ravel(np.genfromtxt(io.StringIO(body.decode()), delimiter=",")).tolist()
        case "application/x-npy":
            return np.ravel(np.load(io.BytesIO(body))).tolist()
    return None


def _compare(container: Container, name: str, toolkit: Toolkit, *request: Any, **more: str) -> None:
    status, content_type, said = toolkit.answer(*request, **more)
    ours = _in_container(container, name, *request, **more)
    if status < 400 or b"Traceback" not in said:
        assert (ours[0], ours[1]) == (status, content_type)
        assert ours[2] == said or _values(ours[2], content_type) == _values(said, content_type)
        return
    if toolkit.defaults:  # the default functions tell the client's errors apart: 400, 406 and 415
        assert ours[0] in (400, 406, 415, 500), ours
        return
    assert ours[0] == status
    assert said.decode().splitlines()[0] in json.loads(ours[2])["message"]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    # The log goes to a file: the tracebacks of these tests would fill a pipe.
    with running("--preload", "numpy", log=tmp_path_factory.mktemp("container") / "log") as container:
        yield container.healthy()


@pytest.fixture(scope="module")
def place(container: Container, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, tuple[str, Toolkit]] = {}

    def find(source: str) -> tuple[str, Toolkit]:
        if source not in made:
            name = hashlib.sha256(source.encode()).hexdigest()[:10]
            directory = script(tmp_path_factory.mktemp(name) / "model", source)
            status, said = container.load(name, directory)
            assert status == 200, said
            made[source] = name, Toolkit(directory)
        return made[source]

    return find


REQUESTS = [
    (b"1,2", CSV, None),
    ("é".encode(), CSV, "*/*"),
    (b"[[1, 2.5]]", JSON, JSON),
    (b"[[1, 2], [3, 4]]", JSON, CSV),
    (b"[1, 2]", JSON, NPY),
    (_npy([[1.0, 2.0]]), NPY, f"text/html, {CSV}"),
    (b"1,2", f"{CSV}; charset=utf-8", "text/plain"),
    (b"1,2", "TEXT/CSV", None),
    (b"\xff\x00", "image/png", "image/png"),
    (b"{", JSON, None),
    (b"", "text/plain", None),
]


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_answers_as_in_the_toolkit(container: Container, place: Any, source: str) -> None:
    pytest.importorskip("sagemaker_inference")
    name, toolkit = place(source)
    decodes = "def predict_fn(data, model): return data * model" in source and "input_fn" not in source
    for request in REQUESTS:
        if decodes and request[1] in ("TEXT/CSV", f"{CSV}; charset=utf-8"):
            continue  # accepted here, refused there
        _compare(container, name, toolkit, *request)
    _compare(container, name, toolkit, b"x", "text/plain", None, **{"X-Amzn-SageMaker-Custom-Attributes": "trace=1"})


@given(
    body=st.one_of(st.binary(max_size=20), st.text(max_size=10).map(str.encode)),
    content_type=st.sampled_from([JSON, CSV, NPY, "text/plain", f"{JSON};charset=utf-8", "application/octet-stream"]),
    accept=st.sampled_from([None, "*/*", JSON, CSV, "text/html", f"{CSV}, {JSON};q=0.5"]),
    answer=st.sampled_from([KIND, f"({KIND}, 'text/x-own')", f"{KIND}.encode()", "(b'', accept)", "{'a': accept}"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_requests(
    container: Container, place: Any, body: bytes, content_type: str, accept: str | None, answer: str
) -> None:
    pytest.importorskip("sagemaker_inference")
    name, toolkit = place(f"{ECHO}def transform_fn(model, body, content_type, accept): return {answer}\n")
    _compare(container, name, toolkit, body, content_type, accept)


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_a_script_that_the_toolkit_refuses_is_refused(container: Container, tmp_path: Path, source: str) -> None:
    transformer = pytest.importorskip("sagemaker_inference.transformer")
    directory = script(tmp_path / "model", source)
    with _importable(directory), pytest.raises(Exception) as refused:
        transformer.Transformer().validate_and_initialize(str(directory), _ContextOfAws(directory, {}))
    status, said = container.load("broken", directory)
    assert status == 500
    assert said["message"].startswith(type(refused.value).__name__)
    if not isinstance(refused.value, SyntaxError):
        assert str(refused.value) in said["message"]


def test_the_default_accept_comes_from_the_environment(tmp_path: Path) -> None:
    directory = script(tmp_path / "model", SCRIPTS["transform"])
    plain = script(tmp_path / "plain", SCRIPTS["default input and output"])
    with running("--preload", "", env={**os.environ, "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": CSV}) as container:
        container.healthy()
        for name, folder in (("one", directory), ("two", plain)):
            assert container.load(name, folder)[0] == 200
        for accept in (None, "*/*"):
            status, content_type, said = _in_container(container, "one", b"1", CSV, accept)
            assert (status, content_type, json.loads(said)) == (200, CSV, ["str", "1", CSV, CSV])
            assert _in_container(container, "two", b"[[1, 2]]", JSON, accept) == (200, CSV, b"3.0,6.0\n") or (
                _in_container(container, "two", b"[[1, 2]]", JSON, accept) == (200, CSV, b"3,6\n")
            )
        assert _in_container(container, "one", b"1", CSV, JSON)[1] == JSON


RESPONSES = {
    "worker": "from sagemaker_containers.beta.framework import worker\n"
    "def output_fn(p, accept): return worker.Response('1,2', accept, mimetype='text/csv')\n",
    "worker with accept": "from sagemaker_containers.beta.framework import worker, encoders\n"
    "def output_fn(p, accept): return worker.Response(encoders.encode([[1, 2]], 'text/csv').strip(), 'text/csv')\n",
    "flask": "import flask\ndef output_fn(p, accept): return flask.Response('1,2', mimetype='text/csv')\n",
    "flask with a status": "import flask\n"
    "def output_fn(p, accept): return flask.Response('1,2', 202, {'X-Own': 'a'}, mimetype='text/csv')\n",
}


@pytest.mark.parametrize("how", RESPONSES)
def test_a_response_object_is_unwrapped(container: Container, tmp_path: Path, how: str) -> None:
    if "flask" in how:
        pytest.importorskip("flask")
    source = RESPONSES[how] + LOAD + "def input_fn(b, c): return 1\ndef predict_fn(x, m): return x\n"
    assert container.load(how.replace(" ", "-"), script(tmp_path / "model", source))[0] == 200
    status, said, headers = container.invoke(how.replace(" ", "-"), b"1", CSV, JSON)
    assert (status, said, headers["content-type"]) == (202 if "status" in how else 200, b"1,2", CSV)
    assert headers.get("x-own") == ("a" if "status" in how else None)


@pytest.mark.parametrize("where", ["code/", ""])
def test_helper_modules_and_packages(container: Container, tmp_path: Path, where: str) -> None:
    source = LOAD + "import os, helper, nested.deep, vendored, top\ndef transform_fn(m, b, c, a): return ' '.join([\n"
    source += "    helper.NAME, nested.deep.NAME, vendored.NAME, top.NAME])\n"
    files = {
        f"{where}inference.py": source,
        f"{where}helper.py": "NAME = 'helper'\n",
        f"{where}nested/__init__.py": "",
        f"{where}nested/deep.py": "NAME = 'deep'\n",
        "code/lib/vendored.py": "NAME = 'vendored'\n",
        "top.py": "NAME = 'top'\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    name = f"helpers-{len(where)}"
    assert container.load(name, tmp_path)[0] == 200
    assert container.invoke(name, b"", CSV)[1] == b"helper deep vendored top"
