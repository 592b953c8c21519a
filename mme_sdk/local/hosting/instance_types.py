"""What an instance type has, by the naming rules of EC2; sizes that nobody knows yet are taken as large."""

from __future__ import annotations

import re

import attrs

__all__ = ["InstanceType", "lookup"]

_GIB_PER_VCPU = {"c": 2.0, "m": 4.0, "r": 8.0, "t": 4.0, "g": 4.0, "p": 7.625, "inf": 2.0, "trn": 4.0, "x": 16.0}
_VCPUS = {"medium": 1, "large": 2, "xlarge": 4}
_NAME = re.compile(r"ml\.(?P<family>[a-z]+)(?P<rest>[0-9][a-z0-9-]*)\.(?P<times>\d*)(?P<size>[a-z]+)")


@attrs.frozen(kw_only=True)
class InstanceType:
    """One instance type.

    Attributes:
        vcpus: Its vCPUs.
        memory_bytes: Its memory.
        gpu: Whether it has GPUs.
    """

    vcpus: int
    memory_bytes: int
    gpu: bool


def lookup(name: str) -> InstanceType:
    """What an instance type has.

    Args:
        name: Such as `ml.m5.xlarge`.

    Returns:
        Its size; 2 vCPUs and 8 GiB where the name follows no known rule.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return InstanceType(vcpus=2, memory_bytes=8 << 30, gpu=False)
    vcpus = _VCPUS.get(found["size"], 2) * int(found["times"] or 1)
    family = found["family"]
    return InstanceType(
        vcpus=vcpus,
        memory_bytes=int(vcpus * _GIB_PER_VCPU.get(family, 4.0) * 2**30),
        gpu=family in ("g", "p"),
    )
