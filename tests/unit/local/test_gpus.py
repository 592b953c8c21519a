"""GPUs of instances: which one, how much memory, and which models use it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mme_sdk import instance_types
from mme_sdk.errors import InvalidInputError
from mme_sdk.local import Gpu, HostingSettings
from mme_sdk.local.containers import gpu
from mme_sdk.local.hosting import gpus
from mme_sdk.local.hosting_interface import HostingError

GIB = 2**30
OF_TYPE = int(instance_types.known()["ml.g5.xlarge"].gpu_memory_gib * GIB)  # it has one GPU


def test_declared_gpus_are_used_in_turn_with_the_memory_of_the_type_at_most() -> None:
    declared = (Gpu(memory_bytes=80 * GIB, device="1"), Gpu(memory_bytes=2 * GIB))
    assert gpus.environment(2, "ml.g5.xlarge", declared) == {
        "CUDA_VISIBLE_DEVICES": "1",
        "MME_GPU_ID": "0",
        "MME_GPU_MEMORY": str(OF_TYPE),
    }
    assert gpus.environment(3, "ml.g5.xlarge", declared) == {"CUDA_VISIBLE_DEVICES": "", "MME_GPU_MEMORY": str(2 * GIB)}


def test_the_devices_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "cuda_devices", lambda: ["0", "3"])
    monkeypatch.setattr(gpus, "device_memory", lambda: {"3": 16 * GIB})
    assert gpus.environment(0, "ml.g5.xlarge", None)["MME_GPU_MEMORY"] == str(OF_TYPE)
    made = gpus.environment(1, "ml.g5.xlarge", None)
    assert made == {"CUDA_VISIBLE_DEVICES": "3", "MME_GPU_ID": "0", "MME_GPU_MEMORY": str(16 * GIB)}
    monkeypatch.setattr(gpus, "cuda_devices", list)
    assert gpus.environment(0, "ml.g5.xlarge", None, on_cpu=True) == {}
    with pytest.raises(HostingError, match="HostingSettings\\(gpus="):
        gpus.environment(0, "ml.g5.xlarge", None)


@pytest.mark.parametrize("wrong", [[], ["0"], "0", Gpu(memory_bytes=1), 3])
def test_wrong_gpus_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"HostingSettings\.gpus"):
        HostingSettings(gpus=wrong)
    for size in (0, -1, "1"):
        with pytest.raises(InvalidInputError, match="memory_bytes"):
            Gpu(memory_bytes=size)  # type: ignore[arg-type]


def _of(library: str, providers: list[str] | None = None) -> Any:
    """An object whose class belongs to a library."""
    return type("Model", (), {"__module__": f"{library}.core", "get_providers": lambda _: providers})()


def test_models_of_libraries_that_use_a_gpu_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_bytes(b"x" * 7)
    (tmp_path / "model").write_bytes(b"x" * 100)
    monkeypatch.delenv("MME_GPU_MEMORY", raising=False)
    monkeypatch.delenv("MME_GPU_ID", raising=False)
    assert gpu.memory_budget() is None
    assert gpu.estimated_bytes(_of("torch"), tmp_path) == 0
    monkeypatch.setenv("MME_GPU_MEMORY", "1000")
    holder = ModuleType("holder")
    holder.net = _of("torch")  # type: ignore[attr-defined]
    for model in (_of("torch"), _of("xgboost"), _of("onnxruntime"), {"a": _of("torch")}, [1, _of("torch")], holder):
        assert gpu.estimated_bytes(model, tmp_path) == 100
    for model in (_of("sklearn"), None, {"a": 1}, "torch"):
        assert gpu.estimated_bytes(model, tmp_path) == 0
    monkeypatch.setenv("MME_GPU_ID", "0")
    assert gpu.estimated_bytes(_of("onnxruntime", ["CPUExecutionProvider"]), tmp_path) == 0
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert gpu.estimated_bytes(_of("onnxruntime", both), tmp_path) == 100


def test_the_driver_measures_the_memory_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "17, 300\n18, 5\n17, 12\n19, [N/A]\n"
    done = subprocess.CompletedProcess([], 0, listed, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("MME_GPU_ID", raising=False)
    assert gpu.measured_bytes(17) is None  # the models run on the CPU
    monkeypatch.setenv("MME_GPU_ID", "0")
    assert gpu.measured_bytes(17) == 312 * 2**20
    assert gpu.measured_bytes(19) is gpu.measured_bytes(20) is None
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert gpu.measured_bytes(17) is None
