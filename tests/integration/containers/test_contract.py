"""One suite over every container: the same cases, and a list of where they differ.

The Python container runs in every run. AWS Multi Model Server and Triton (`-m slow`) need an interpreter of their own,
named by `MME_CONTAINERS_PYTHON` (`make containers` makes one and runs this).
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from mme_sdk.local.containers import PYTHON, Command, multi_model_server, triton
from tests.support.containers.harness import Peer, script
from tests.support.processes import wait_until_gone

OUTSIDE = Path(os.environ.get("MME_CONTAINERS_PYTHON", ".venv-containers/bin/python")).absolute()

SCRIPT = """
import os
def model_fn(model_dir):
    {load}
    return "echo"
def input_fn(data, content_type):
    return data if isinstance(data, str) else str(data, 'utf-8')
def predict_fn(data, model):
    if data == "fault":
        raise ValueError("bad row")
    if data == "memory":
        raise MemoryError
    if data == "die":
        os._exit(1)
    return model + ":" + data
def output_fn(prediction, accept):
    return prediction, "text/plain"
"""
TRITON = """
import os
import numpy as np
import triton_python_backend_utils as pb
class TritonPythonModel:
    def initialize(self, args):
        {load}
    def execute(self, requests):
        return [self.one(pb.get_input_tensor_by_name(request, "x").as_numpy()[0].decode()) for request in requests]
    def one(self, data):
        if data == "die":
            os._exit(1)
        if data in ("fault", "memory"):
            said = "bad row" if data == "fault" else "OOM"
            return pb.InferenceResponse(error=pb.TritonError(said))
        return pb.InferenceResponse([pb.Tensor("y", np.array([("echo:" + data).encode()], dtype=object))])
"""
CONFIG = """
backend: "python"
max_batch_size: 0
input [{name: "x" data_type: TYPE_STRING dims: [1]}]
output [{name: "y" data_type: TYPE_STRING dims: [1]}]
"""
LOADS = {
    "good": "pass",
    "failing": "raise RuntimeError('no weights')",
    "memory": "raise MemoryError('OOM')",
}


@attrs.frozen
class Kind:
    """A container, how its models look, and where it differs from the contract."""

    name: str
    command: Callable[[], Command]
    make: Callable[[Path, str], Path]
    ask: Callable[[str], tuple[bytes, str]]
    read: Callable[[bytes], str]
    differs: dict[str, int]


def _script(folder: Path, load: str) -> Path:
    return script(folder, SCRIPT.format(load=LOADS[load]))


def _triton(folder: Path, load: str) -> Path:
    (folder / "echo" / "1").mkdir(parents=True)
    (folder / "echo" / "config.pbtxt").write_text(CONFIG)
    (folder / "echo" / "1" / "model.py").write_text(TRITON.format(load=LOADS[load]))
    return folder


def _tensor(text: str) -> tuple[bytes, str]:
    one = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    return json.dumps({"inputs": [one]}).encode(), "application/json"


CONTRACT = {
    "ping": 200,
    "load": 200,
    "load again": 409,
    "load that fails": 500,
    "load without memory": 507,
    "load of an absent path": 404,
    "load without a url": 400,
    "load that is not JSON": 400,
    "describe": 200,
    "token on the last page": 0,
    "describe unknown": 404,
    "invoke": 200,
    "invoke unknown": 404,
    "invoke that fails": 500,
    "invoke without memory": 507,
    "invoke that ends the process": 500,
    "invoke after that": 200,
    "unload": 200,
    "unload again": 404,
    "invoke unloaded": 404,
    "load after unloading": 200,
}
PLAIN = {"ask": lambda text: (text.encode(), "text/plain"), "read": bytes.decode}
KINDS = [
    Kind("python", lambda: Command([*PYTHON.argv, "--preload", ""]), _script, differs={}, **PLAIN),
    Kind(
        "multi-model-server",
        lambda: multi_model_server(OUTSIDE),
        _script,
        differs={
            "load that is not JSON": 500,
            "token on the last page": 1,
            "invoke without memory": 500,  # AWS's toolkit answers 500 to every error of a script
        },
        **PLAIN,
    ),
    Kind(
        "triton",
        lambda: triton(OUTSIDE),
        _triton,
        _tensor,
        lambda body: str(json.loads(body)["outputs"][0]["data"][0]),
        differs={
            "load that fails": 400,
            "load of an absent path": 400,
            "load that is not JSON": 0,  # the process ends
            "invoke that fails": 400,
            "invoke that ends the process": 400,
            "invoke after that": 400,  # it does not come back
        },
    ),
]


@pytest.fixture(
    scope="module", params=[pytest.param(k, marks=[pytest.mark.slow] * (k.name != "python"), id=k.name) for k in KINDS]
)
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param.name != "python" and not OUTSIDE.exists():
        pytest.skip(f"{OUTSIDE} is absent: make containers")
    return request.param


@pytest.fixture(scope="module")
def peer(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with Peer(kind.command(), tmp_path_factory.mktemp(kind.name)) as peer:
        yield peer


def test_the_contract_and_where_it_is_not_kept(kind: Kind, peer: Peer, tmp_path: Path) -> None:
    directories = {load: kind.make(tmp_path / f"dir{number}", load) for number, load in enumerate(LOADS)}
    seen: dict[str, int] = {}

    def ask(case: str, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        seen[case], content = peer.ask(method, path, body, headers)
        return content

    def load(case: str, name: str, directory: Path) -> None:
        order = json.dumps({"model_name": name, "url": str(directory)}).encode()
        ask(case, "POST", "/models", order, **{"Content-Type": "application/json"})

    def invoke(case: str, name: str, text: str) -> bytes:
        body, content_type = kind.ask(text)
        headers = {"Content-Type": content_type, "X-Amzn-SageMaker-Target-Model": name}
        return ask(case, "POST", f"/models/{name}/invoke", body, **headers)

    ask("ping", "GET", "/ping")
    load("load", "m1", directories["good"])
    load("load again", "m1", directories["good"])
    load("load that fails", "m2", directories["failing"])
    load("load without memory", "m3", directories["memory"])
    load("load of an absent path", "m4", tmp_path / "absent")
    order = json.dumps({"model_name": "m5"}).encode()
    ask("load without a url", "POST", "/models", order, **{"Content-Type": "application/json"})
    listed = json.loads(peer.ask("GET", "/models")[1])["models"]
    assert [one["modelUrl"] for one in listed if one["modelName"] == "m1"] == [str(directories["good"])]
    described = json.loads(ask("describe", "GET", "/models/m1"))
    assert described["modelName"] == "m1"
    page = json.loads(peer.ask("GET", f"/models?limit={len(listed)}")[1])
    seen["token on the last page"] = int("nextPageToken" in page)
    ask("describe unknown", "GET", "/models/unknown")
    assert kind.read(invoke("invoke", "m1", "row")) == "echo:row"
    invoke("invoke unknown", "unknown", "row")
    invoke("invoke that fails", "m1", "fault")
    invoke("invoke without memory", "m1", "memory")
    ask("unload", "DELETE", "/models/m1")
    ask("unload again", "DELETE", "/models/m1")
    invoke("invoke unloaded", "m1", "row")
    load("load after unloading", "m1", directories["good"])
    invoke("invoke that ends the process", "m1", "die")
    invoke("invoke after that", "m1", "row")
    ask("load that is not JSON", "POST", "/models", b"{", **{"Content-Type": "application/json"})
    assert seen == CONTRACT | kind.differs


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_it(kind: Kind, tmp_path: Path, how: signal.Signals) -> None:
    with Peer(kind.command(), tmp_path / "work") as peer:
        order = json.dumps({"model_name": "m", "url": str(kind.make(tmp_path / "model", "good"))}).encode()
        assert peer.ask("POST", "/models", order, {"Content-Type": "application/json"})[0] == 200
        assert peer.group()
        peer.process.send_signal(how)
        peer.process.wait(120)
        wait_until_gone(peer.group())
        assert not peer.group()
