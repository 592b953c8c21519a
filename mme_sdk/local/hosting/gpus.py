"""The CUDA devices of this machine, and which instance gets which."""

from __future__ import annotations

import os
from pathlib import Path

from mme_sdk.local.hosting_interface import HostingError

__all__ = ["cuda_devices", "environment"]


def cuda_devices() -> list[str]:
    """Ids of the CUDA devices that may be used: those of the driver, narrowed by CUDA_VISIBLE_DEVICES."""
    found = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if allowed is None else [one for one in allowed.split(",") if one in found]


def environment(number: int, instance_type: str) -> dict[str, str]:
    """What containers of a GPU instance are told; instances take the devices in turn.

    Args:
        number: The instance's number.
        instance_type: For the message.

    Returns:
        Environment variables.

    Raises:
        HostingError: This machine has no CUDA device.
    """
    devices = cuda_devices()
    if not devices:
        raise HostingError(
            f"Instance type {instance_type} has GPUs, and this machine has no CUDA device: choose a CPU instance type, "
            "or let models run on the CPU with HostingSettings(gpu_types_on_cpu=True)."
        )
    # Within the container the one visible device is number 0.
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)], "MME_GPU_ID": "0"}
