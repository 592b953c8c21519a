"""The GPU that the host assigns to a container: the variables that say so, and the memory that models use on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["DEVICE", "MEMORY", "estimated_bytes", "measured_bytes", "memory_budget"]

DEVICE = "MME_GPU_ID"  # number of the CUDA device; absent if models run on the CPU
MEMORY = "MME_GPU_MEMORY"  # memory for models on the GPU, in bytes
_LIBRARIES = frozenset({"onnxruntime", "torch", "xgboost"})  # run models on the GPU if there is one


def memory_budget() -> int | None:
    """Return the memory for models on the GPU of this container, in bytes; None without a GPU or a limit."""
    given = os.environ.get(MEMORY, "")
    return int(given) if given else None


def estimated_bytes(model: Any, directory: Path) -> int:
    """Return the memory that a model uses on the GPU, estimated by the size of its files and by PyTorch.

    Args:
        model: The loaded model.
        directory: Folder of the extracted archive.

    Returns:
        Bytes; 0 if the container has no GPU, or if the model belongs to a library that does not use it.
    """
    if memory_budget() is None or not any(_uses_gpu(one) for one in _parts(model)):
        return 0
    torch = sys.modules.get("torch")
    if torch is not None and DEVICE in os.environ and torch.cuda.is_initialized():
        reserved = int(torch.cuda.memory_reserved())
    else:
        reserved = 0
    files = (one for one in directory.rglob("*") if one.is_file() and "code" not in one.relative_to(directory).parts)
    return max(reserved, sum(one.stat().st_size for one in files))


def measured_bytes(pid: int) -> int | None:
    """Return the GPU memory of a process as the driver measures it.

    Args:
        pid: Id of the process.

    Returns:
        Bytes; None if the models run on the CPU, or if the driver does not know the process.
    """
    program = shutil.which("nvidia-smi") if DEVICE in os.environ else None
    if program is None:
        return None
    query = [program, "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60).stdout
    rows = [line.split(",") for line in listed.splitlines()]
    sizes = [int(row[1]) << 20 for row in rows if row[0].strip() == str(pid) and row[-1].strip().isdigit()]
    return sum(sizes) if sizes else None


def _parts(model: Any) -> Iterator[Any]:
    """Yield a model, and the members of a collection or of an object of a script that holds several."""
    yield model
    if isinstance(model, dict):
        yield from model.values()
    elif isinstance(model, list | tuple | set):
        yield from model
    else:
        yield from getattr(model, "__dict__", {}).values()


def _uses_gpu(model: Any) -> bool:
    libraries = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "onnxruntime" in libraries and DEVICE in os.environ:
        return any(one != "CPUExecutionProvider" for one in getattr(model, "get_providers", list)())
    return bool(libraries & _LIBRARIES)
