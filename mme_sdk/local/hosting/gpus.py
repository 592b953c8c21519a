"""The GPUs of this machine, and their assignment to instances."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from mme_sdk import instance_types
from mme_sdk._validation import number
from mme_sdk.local.containers.gpu import DEVICE, MEMORY
from mme_sdk.local.hosting_interface import HostingError

__all__ = ["Gpu", "cuda_devices", "environment"]


@attrs.frozen(kw_only=True)
class Gpu:
    """A GPU for instances of types with GPUs.

    Attributes:
        memory_bytes: Memory for models, in bytes.
        device: Id of the CUDA device that runs the models, such as `"0"`. Default None: the models run on the CPU, and
            their memory counts as if they were on a GPU.

    Raises:
        InvalidInputError: `memory_bytes` is not a number over 0.

    Example:
        >>> Gpu(memory_bytes=24 * 2**30).device is None
        True
    """

    memory_bytes: int = attrs.field(validator=number(over=0))
    device: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(str))
    )


def cuda_devices() -> list[str]:
    """Return the ids of the CUDA devices of the driver that CUDA_VISIBLE_DEVICES allows."""
    found = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if allowed is None else [one for one in allowed.split(",") if one in found]


@functools.cache
def device_memory() -> Mapping[str, int]:
    """Return the memory of the CUDA devices in bytes, by id; empty if nvidia-smi is not installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = [program, "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60).stdout
    rows = [line.split(",") for line in listed.splitlines()]
    return {row[0].strip(): int(row[1]) << 20 for row in rows if len(row) == 2 and row[1].strip().isdigit()}


def environment(
    instance: int, instance_type: str, declared: Sequence[Gpu] | None, *, on_cpu: bool = False
) -> dict[str, str]:
    """Return the environment variables that assign a GPU to an instance, in round-robin order.

    Args:
        instance: Number of the instance.
        instance_type: Name of the instance type. The memory for models is at most that of one of its GPUs.
        declared: The GPUs to use; None for the CUDA devices of this machine.
        on_cpu: Whether the models run on the CPU if there is no GPU.

    Returns:
        Environment variables for the containers of the instance.

    Raises:
        HostingError: There is no GPU.
    """
    ids: list[str | None] = list(cuda_devices()) if declared is None else [one.device for one in declared]
    if not ids and on_cpu:
        return {}
    if not ids:
        raise HostingError(
            f"Instance type {instance_type} has GPUs, and this machine has no CUDA device. Choose a CPU instance type, "
            "run the models on the CPU with HostingSettings(gpu_types_on_cpu=True), or declare GPUs with "
            "HostingSettings(gpus=[Gpu(memory_bytes=…)])."
        )
    place = instance % len(ids)
    device = ids[place]
    kind = instance_types.find(instance_type)
    limits = [int(kind.gpu_memory_gib / kind.gpus * 2**30)] if kind and kind.gpus and kind.gpu_memory_gib else []
    if declared is not None:
        limits.append(declared[place].memory_bytes)
    elif device is not None and device in device_memory():
        limits.append(device_memory()[device])
    memory = {MEMORY: str(min(limits))} if limits else {}
    # The container sees one device, which therefore has number 0.
    return {"CUDA_VISIBLE_DEVICES": device or "", **({DEVICE: "0"} if device is not None else {}), **memory}
