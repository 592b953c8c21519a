"""AWS Multi Model Server and Triton behind the host: the same endpoint, another image."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mme_sdk.artifacts import pack
from mme_sdk.local.containers import multi_model_server, triton
from tests.support.hosting.harness import Bench, error

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


def test_triton_serves_an_endpoint(hosted: Hosted) -> None:
    async def upload(bench: Bench, name: str) -> None:
        folder = bench.folder / name
        (folder / "m" / "1").mkdir(parents=True)
        (folder / "m" / "config.pbtxt").write_text(CONFIG)
        (folder / "m" / "1" / "model.py").write_text(f"NAME = {name!r}\n{MODEL}")
        out = io.BytesIO()
        pack(folder, out)
        await bench.put(f"models/{name}.tar.gz", out.getvalue())

    async def scenario(bench: Bench) -> None:
        for name in ("a", "b", "huge"):
            await upload(bench, name)
        await bench.deploy()
        tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["row"]}
        body = json.dumps({"inputs": [tensor]})
        for name in ("a", "b", "a"):
            answer = await bench.invoke(f"{name}.tar.gz", body, content_type="application/json")
            assert answer.status == 200, answer
            assert json.loads(answer.body)["outputs"][0]["data"] == [f"{name}:row"]
        status, code, message = error(await bench.invoke("huge.tar.gz", body))
        assert (status, code) == (424, "ModelError")
        assert "(507)" in message
        # To make room for it the others were unloaded; they come back.
        assert (
            await asyncio.wait_for(bench.invoke("b.tar.gz", body, content_type="application/json"), 30)
        ).status == 200

    hosted(scenario, images={"python": triton(OUTSIDE)})
