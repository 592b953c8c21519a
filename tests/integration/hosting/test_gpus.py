"""Multi-model endpoints on instances with GPUs that the settings declare: the same code as with a real GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import attrs
import pytest

from mme_sdk.local.hosting import Gpu
from mme_sdk.local.hosting_interface import Deployment
from tests.support.hosting.harness import Bench, error

Hosted = Callable[..., None]
ON_GPU = """
import os
class Net: __module__ = "torch.nn"  # counts as a model of PyTorch, without the time to import it
def model_fn(d): return {"net": Net()}
def predict_fn(x, m): return [os.environ.get(one) for one in ("CUDA_VISIBLE_DEVICES", "MME_GPU_ID", "MME_GPU_MEMORY")]
"""
ON_CPU = "def model_fn(d): return 1\ndef predict_fn(x, m): return m\n"


def test_a_full_gpu_evicts_the_least_recently_used_model(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in "abc":
            await bench.upload(f"models/{name}.tar.gz", script=ON_GPU, pad=60_000)
        await bench.upload("models/cpu.tar.gz", script=ON_CPU, pad=300_000)
        await bench.upload("models/huge.tar.gz", script=ON_GPU, pad=300_000)
        variant = attrs.evolve(bench.variant(), instance_type="ml.g5.xlarge")
        await bench.hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))
        fleet = bench.hosting.variant("e", "AllTraffic").fleet  # type: ignore[attr-defined]

        async def invoke(name: str) -> object:
            answer = await bench.invoke(f"{name}.tar.gz", "1", content_type="application/json")
            assert answer.status == 200, answer.body
            return json.loads(answer.body)

        def loaded() -> set[str]:
            (instance,) = fleet.snapshot().instances.values()
            return {name.removesuffix(".tar.gz") for name in instance.loaded}

        assert await invoke("a") == ["", None, "150000"]
        for name in ("b", "cpu", "a"):
            await invoke(name)
        assert loaded() == {"a", "b", "cpu"}
        await invoke("c")
        assert loaded() == {"a", "c", "cpu"}  # b was used least recently
        assert "(507)" in error(await bench.invoke("huge.tar.gz", "1", content_type="application/json"))[2]
        await invoke("a")

    hosted(scenario, gpus=[Gpu(memory_bytes=150_000)])


@pytest.mark.slow
def test_the_check_of_make_gpu_runs_without_a_gpu_too() -> None:
    seen = subprocess.run(
        [sys.executable, "scripts/check_gpu.py", "--declared"], capture_output=True, text=True, check=False
    )
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert "xgboost: answers as the model does" in seen.stdout
    assert "a full GPU: four models answered" in seen.stdout
