"""The CUDA devices of this machine, and their assignment to instances."""

from __future__ import annotations

import os
from pathlib import Path

from mme_sdk.local.hosting_interface import HostingError

__all__ = ["cuda_devices", "environment"]


def cuda_devices() -> list[str]:
    """Return the ids of the CUDA devices of the driver that CUDA_VISIBLE_DEVICES allows."""
    found = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if allowed is None else [one for one in allowed.split(",") if one in found]


def environment(number: int, instance_type: str) -> dict[str, str]:
    """Return the environment variables that assign a CUDA device to an instance, in round-robin order.

    Args:
        number: Number of the instance.
        instance_type: Name of the instance type, for the error text.

    Returns:
        Environment variables for the containers of the instance.

    Raises:
        HostingError: This machine has no CUDA device.
    """
    devices = cuda_devices()
    if not devices:
        raise HostingError(
            f"Instance type {instance_type} has GPUs, and this machine has no CUDA device. Choose a CPU instance type, "
            "or run the models on the CPU with HostingSettings(gpu_types_on_cpu=True)."
        )
    # The container sees one device, which therefore has number 0.
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)], "MME_GPU_ID": "0"}
