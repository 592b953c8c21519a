"""AWS Multi Model Server and Triton behind the host: the same endpoint, another image."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mme_sdk.artifacts import pack
from mme_sdk.local.containers import multi_model_server, triton
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import Bench, error
from tests.support.wheels import wheel

Hosted = Callable[..., None]
OUTSIDE = Path(os.environ.get("MME_CONTAINERS_PYTHON", ".venv-containers/bin/python")).absolute()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OUTSIDE.exists(), reason=f"{OUTSIDE} is absent: make containers"),
]

CONFIG = """
backend: "python"
max_batch_size: 0
input [{name: "x" data_type: TYPE_STRING dims: [1]}]
output [{name: "y" data_type: TYPE_STRING dims: [1]}]
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb
class TritonPythonModel:
    def initialize(self, args):
        if NAME == "huge":
            raise MemoryError("OOM")
    def execute(self, requests):
        return [self.one(pb.get_input_tensor_by_name(one, "x").as_numpy()[0].decode()) for one in requests]
    def one(self, value):
        return pb.InferenceResponse([pb.Tensor("y", np.array([f"{NAME}:{value}".encode()], dtype=object))])
"""
SEEN = """
import json
def model_fn(model_dir):
    return 1
def transform_fn(model, body, content_type, accept):
    shown = body if isinstance(body, str) and len(body) < 100 else len(body)
    return json.dumps([type(body).__name__, shown, content_type, accept])
"""
HANDLER = """
import greeting
def handle(data, context):
    if data is None:
        return None
    return [greeting.text + ":" + bytes(data[0]["body"]).decode()]
"""


def test_multi_model_server_serves_an_endpoint(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in "abc":
            await bench.upload(f"models/{name}.tar.gz", pad=1_000_000)
        await bench.upload("models/bad.tar.gz", fail="yes")
        await bench.deploy()
        for _ in range(2):
            for name in "abc":
                answer = await bench.invoke(f"{name}.tar.gz", "row")
                assert (answer.status, answer.body) == (200, f"{name}:row".encode())
        assert error(await bench.invoke("bad.tar.gz"))[:2] == (424, "ModelError")
        assert error(await bench.invoke("a.tar.gz", "fault"))[:2] == (424, "ModelError")
        assert bench.hosting.variant("e", "AllTraffic").fleet.snapshot().counters.evictions >= 1

    images = {"python": multi_model_server(OUTSIDE)}
    hosted(scenario, images=images, memory_bytes=2_500_000, memory_per_model=0)


@pytest.mark.parametrize("single", [False, True], ids=["multi-model", "single-model"])
def test_multi_model_server_gives_scripts_what_aws_gives_them(hosted: Hosted, single: bool) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/seen.tar.gz", script=SEEN)
        target = None if single else "seen.tar.gz"
        await bench.deploy(
            **({"mode": "SingleModel", "model_data_url": f"s3://{bench.bucket}/models/seen.tar.gz"} if single else {})
        )

        async def seen(body: str | bytes, **headers: str) -> object:
            answer = await bench.invoke(target, body, **headers)
            assert answer.status == 200, answer.body
            assert answer.headers["Content-Type"] == headers.get("accept", "application/json")
            return json.loads(answer.body)

        kind = "application/json"
        for body in ("[1,2,3]", "[[1]]", "{bad", '{"inputs": "ü"}'):
            assert await seen(body, content_type=kind) == ["str", body, kind, kind]
        assert await seen("1,2", content_type="text/csv", accept="text/csv") == ["str", "1,2", "text/csv", "text/csv"]
        assert await seen(b"\0\1", content_type="application/x-npy") == ["bytearray", 2, "application/x-npy", kind]
        large = b"x" * (25 << 20)
        assert await seen(large, content_type="a/b") == ["bytearray", len(large), "a/b", kind]
        assert error(await bench.invoke(target, large + b"x"))[0] == 413

    hosted(scenario, images={"python": multi_model_server(OUTSIDE)})


@pytest.mark.parametrize("single", [False, True], ids=["multi-model", "single-model"])
def test_multi_model_server_takes_a_handler_service(hosted: Hosted, single: bool, tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "handler.py").write_text(HANDLER)
    (tmp_path / "service" / "greeting.py").write_text("text = 'hello'\n")

    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy(
            **({"mode": "SingleModel", "model_data_url": f"s3://{bench.bucket}/models/a.tar.gz"} if single else {})
        )
        answer = await bench.invoke(None if single else "a.tar.gz", "row")
        assert (answer.status, answer.body) == (200, b"hello:row")

    handler = f"{tmp_path}/service/handler.py:handle"
    hosted(scenario, images={"python": multi_model_server(OUTSIDE, handler=handler)})


@pytest.mark.parametrize("single", [False, True], ids=["multi-model", "single-model"])
def test_multi_model_server_uses_the_packages_of_a_model(
    hosted: Hosted, single: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "wheels", "tiny", "1.0", "answer = 'tiny'\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = "import tiny\ndef model_fn(d): return tiny.answer\ndef transform_fn(m, b, c, a): return m\n"

    async def scenario(bench: Bench) -> None:
        folder = bench.folder / "packing" / "models_a.tar.gz" / "code"
        folder.mkdir(parents=True)
        (folder / "requirements.txt").write_text("tiny\n")
        await bench.upload("models/a.tar.gz", script=script)
        await bench.deploy(
            **({"mode": "SingleModel", "model_data_url": f"s3://{bench.bucket}/models/a.tar.gz"} if single else {})
        )
        answer = await bench.invoke(None if single else "a.tar.gz", "row")
        assert (answer.status, answer.body) == (200, b"tiny")

    hosted(scenario, images={"python": multi_model_server(OUTSIDE)}, install_requirements=True)


def test_a_single_model_that_multi_model_server_cannot_load_answers_the_reason(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("bad.tar.gz", fail="yes")
        await bench.deploy(mode="SingleModel", model_data_url=f"s3://{bench.bucket}/bad.tar.gz")
        status, code, message = error(await bench.invoke(None, "row"))
        assert (status, code) == (424, "ModelError")
        assert "no weights" in message

    hosted(scenario, images={"python": multi_model_server(OUTSIDE)})


def _tensor(text: str) -> str:
    return json.dumps({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}]})


async def _upload_triton(bench: Bench, name: str, *folders: str) -> None:
    """Upload an archive with a model in each of the folders; "" is the top of the archive."""
    directory = bench.folder / "triton" / name
    for folder in folders:
        (directory / folder / "1").mkdir(parents=True)
        (directory / folder / "config.pbtxt").write_text(CONFIG)
        (directory / folder / "1" / "model.py").write_text(f"NAME = {(folder or name)!r}\n" + MODEL)
    archive = io.BytesIO()
    pack(directory, archive)
    await bench.put(f"models/{name}.tar.gz", archive.getvalue())


def test_triton_serves_an_endpoint(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in ("echo", "other", "huge"):
            await _upload_triton(bench, name, name)
        await _upload_triton(bench, "top", "")
        await bench.deploy()
        for name in ("echo", "other", "echo", "top"):
            answer = await bench.invoke(f"{name}.tar.gz", _tensor("row"), content_type="application/json")
            assert answer.status == 200, answer.body
            assert json.loads(answer.body)["outputs"][0]["data"] == [f"{name}:row"]
        status, code, message = error(await bench.invoke("huge.tar.gz", _tensor("row")))
        assert (status, code) == (424, "ModelError")
        assert "(507)" in message
        # To make room for it the others were unloaded; they come back.
        assert (await bench.invoke("other.tar.gz", _tensor("row"), content_type="application/json")).status == 200

    hosted(scenario, images={"python": triton(OUTSIDE)})


def test_triton_serves_a_single_model(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        def plan(name: str, **environment: str) -> dict[str, object]:
            where = f"s3://{bench.bucket}/models/{name}.tar.gz"
            return {"mode": "SingleModel", "model_data_url": where, "environment": environment}

        await _upload_triton(bench, "one", "one")
        await _upload_triton(bench, "two", "left", "right")
        await _upload_triton(bench, "top", "")
        await bench.deploy("one", **plan("one"))
        await bench.deploy("two", **plan("two", SAGEMAKER_TRITON_DEFAULT_MODEL_NAME="right"))
        for endpoint, name in (("one", "one"), ("two", "right")):
            answer = await bench.invoke(None, _tensor("row"), endpoint=endpoint, content_type="application/json")
            assert answer.status == 200, answer.body
            assert json.loads(answer.body)["outputs"][0]["data"] == [f"{name}:row"]
        with pytest.raises(HostingError, match=r"config\.pbtxt is at the top"):
            await bench.deploy("bad", **plan("top"))
        with pytest.raises(HostingError, match="SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"):
            await bench.deploy("bad", **plan("two"))

    hosted(scenario, images={"python": triton(OUTSIDE)})
