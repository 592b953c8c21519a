"""Check multi-model endpoints on a GPU: `make gpu`. Models of three libraries run on the device; a full device evicts.

`--declared` runs the same checks without a GPU: the models run on the CPU, and their memory counts as if they were on a
GPU. A library that is not installed is left out there.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mme_sdk import Endpoint, EndpointSpec, ModelRegistry
from mme_sdk.local import Gpu, HostingSettings, LocalSageMaker

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"
MIB = 2**20
CONTEXT_MIB = 64  # a process that uses CUDA occupies at least this much of the device
ROWS = [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]
TORCH = """
import json, os, torch
def model_fn(model_dir, context):
    gpu = context.system_properties["gpu_id"]
    device = "cpu" if gpu is None else f"cuda:{gpu}"
    return torch.jit.load(os.path.join(model_dir, "model.pt"), map_location=device), device
def input_fn(body, content_type):
    return json.loads(body)
def predict_fn(rows, model):
    module, device = model
    return module(torch.tensor(rows, device=device)).cpu().tolist()
"""
# Occupies memory of the device, or, with declared GPUs, counts by the size of its file.
BALLAST = """
import importlib, os
class Ballast:
    __module__ = "torch.ballast"
    def __init__(self, gpu):
        if gpu is not None:
            import torch
            self.data = torch.ones({mib} * 2**18, device=f"cuda:{{gpu}}")
def model_fn(model_dir, context):
    return Ballast(context.system_properties["gpu_id"])
def input_fn(body, content_type):
    return 1
def predict_fn(rows, model):
    return [1]
"""


def main() -> int:
    """Run the checks and print what was seen; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--declared", action="store_true", help="declare a GPU of 6 MiB instead of using a real one")
    declared = parser.parse_args().declared
    name = "a declared GPU; the models run on the CPU" if declared else _device()
    if name is None:
        print("No NVIDIA GPU was found (nvidia-smi lists none): nothing was checked. Run this on a machine with a GPU.")
        return 1
    print(f"GPU: {name}")
    began = time.monotonic()
    size, scale = ("6 MiB", 1) if declared else ("6 GiB", 1024)
    gpu = Gpu(memory_bytes=6 * scale * MIB, device=None if declared else "0")
    with tempfile.TemporaryDirectory() as folder, LocalSageMaker(settings=HostingSettings(gpus=[gpu])) as aws:
        client = aws.client()
        aws.boto("s3").create_bucket(Bucket="gpu")
        models = client.models("s3://gpu/models/")
        spec = EndpointSpec.multi_model(
            name="gpu", models=models.uri, image=IMAGE, role=ROLE, instance_type="ml.g5.xlarge"
        )
        endpoint = client.endpoints.create(spec).wait(timeout=120)
        for library, make in (("onnxruntime", _onnx), ("xgboost", _xgboost), ("torch", _torch)):
            _check_library(library, make, Path(folder) / library, models, endpoint, declared=declared)
        _check_full_device(Path(folder), models, endpoint, aws, scale=scale, size=size)
    print(f"All checks passed in {time.monotonic() - began:.0f} s.")
    return 0


def _device() -> str | None:
    """Return the name of the first GPU; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return found.stdout.splitlines()[0] if found.returncode == 0 and found.stdout.strip() else None


def _used_mib() -> int:
    """Return the memory of the first GPU that is in use, in MiB."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0])


def _check_library(
    library: str, make: Any, folder: Path, models: ModelRegistry, endpoint: Endpoint, *, declared: bool
) -> None:
    if declared and importlib.util.find_spec(library) is None:
        print(f"{library}: not installed, left out")
        return
    folder.mkdir()
    expected = make(folder)
    before = 0 if declared else _used_mib()
    answer = np.ravel(endpoint.invoke(ROWS, model=models.register(library, folder)).value)
    if not np.allclose(answer, expected, atol=1e-4):
        sys.exit(f"{library}: the endpoint answers {answer}, the model {expected}")
    if declared:
        print(f"{library}: answers as the model does")
        return
    grown = _used_mib() - before
    if grown < CONTEXT_MIB:
        sys.exit(f"{library}: the model is not on the GPU, whose used memory grew by {grown} MiB only")
    print(f"{library}: answers as the model does, on the GPU ({grown} MiB)")


def _check_full_device(
    folder: Path, models: ModelRegistry, endpoint: Endpoint, aws: LocalSageMaker, *, scale: int, size: str
) -> None:
    """Load more than the device holds: every model answers, and some were evicted."""
    for number in range(4):
        ballast = folder / f"ballast-{number}"
        (ballast / "code").mkdir(parents=True)
        (ballast / "code" / "inference.py").write_text(BALLAST.format(mib=2 * scale))
        (ballast / "weights.bin").write_bytes(np.random.default_rng(number).bytes(2 * MIB))
        if endpoint.invoke([1], model=models.register(ballast.name, ballast)).value != [1]:
            sys.exit(f"{ballast.name} does not answer")
    evictions = aws.status()["endpoints"][0]["variants"][0]["counters"]["evictions"]
    if not evictions:
        sys.exit(f"four models of 2 parts in 6 were loaded on a GPU of {size}, and none was evicted")
    print(f"a full GPU: four models answered on {size} of memory, {evictions} evicted")


def _onnx(folder: Path) -> Any:
    import onnx
    from onnx import TensorProto, helper

    weights = np.array([[1.0], [10.0], [100.0]], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return np.ravel(np.array(ROWS) @ weights)


def _xgboost(folder: Path) -> Any:
    import xgboost

    rows = np.random.default_rng(0).normal(size=(200, 3))
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(rows, rows @ [1.0, 2.0, 3.0]), 20)
    booster.save_model(folder / "model.ubj")
    return booster.predict(xgboost.DMatrix(np.array(ROWS)))


def _torch(folder: Path) -> Any:
    import torch

    module = torch.nn.Linear(3, 1)
    torch.jit.script(module).save(folder / "model.pt")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(TORCH)
    return np.ravel(module(torch.tensor(ROWS)).detach().numpy())


if __name__ == "__main__":
    sys.exit(main())
