"""The instance types of SageMaker: what each one has, and whether hosting takes it.

The table is `instance_types.csv`, written by `scripts/update_instance_types.py`; its first lines name the sources and
the date. AWS adds types between two releases: a name that is not in the table stays usable, with unknown facts (None).

Sources of the rules: https://docs.aws.amazon.com/sagemaker/latest/dg/multi-model-support.html (types for multi-model
endpoints) and https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-types.html (names of families).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import attrs

__all__ = [
    "INSTANCE_TYPE",
    "Accelerator",
    "Architecture",
    "InstanceType",
    "accelerator",
    "family",
    "find",
    "gpus",
    "has_local_storage",
    "known",
    "serves_multi_model",
    "units",
    "vcpus",
]

Accelerator = Literal["cpu", "gpu", "neuron", "gaudi"]
Architecture = Literal["x86_64", "arm64"]

INSTANCE_TYPE = re.compile(r"ml\.([a-z][a-z0-9-]*)\.([a-z0-9]+)")

_MULTI_MODEL_GPU_FAMILIES = frozenset({"g4dn", "g5", "p2", "p3"})


@attrs.frozen(kw_only=True)
class InstanceType:
    """One instance type.

    Attributes:
        name: Name, such as `ml.m5.xlarge`.
        vcpus: Number of vCPUs.
        memory_gib: Memory, GiB.
        gpu_memory_gib: Memory of all GPUs together, GiB; 0 without a GPU.
        network_gbps: Sustained network bandwidth, Gbit/s.
        local_gb: Size of its local NVMe storage, GB, which then is the volume; 0 without local storage.
        gpus: Number of NVIDIA GPUs.
        architecture: Instruction set of the processor: `x86_64` or `arm64` (AWS Graviton).
        hosting: Whether SageMaker hosting takes the type; other types serve notebooks, training or processing only.
    """

    name: str
    vcpus: int
    memory_gib: float
    gpu_memory_gib: float = 0.0
    network_gbps: float = 1.0
    local_gb: int = 0
    gpus: int = 0
    architecture: Architecture = "x86_64"
    hosting: bool = True


@cache
def known() -> Mapping[str, InstanceType]:
    """Return the table, by name."""
    import csv
    from importlib import resources

    text = resources.files("mme_sdk").joinpath("instance_types.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return MappingProxyType({row["instance_type"]: _parsed(row) for row in rows})


def _parsed(row: Mapping[str, str]) -> InstanceType:
    return InstanceType(
        name=row["instance_type"],
        vcpus=int(row["vcpus"]),
        memory_gib=float(row["memory_gib"]),
        gpu_memory_gib=float(row["gpu_memory_gib"]),
        network_gbps=float(row["network_gbps"]),
        local_gb=int(row["local_gb"]),
        gpus=int(row["gpus"]),
        architecture="arm64" if row["architecture"] == "arm64" else "x86_64",
        hosting=row["hosting"] == "1",
    )


def find(name: str) -> InstanceType | None:
    """Return the facts about a type, or None if the table does not have it.

    Args:
        name: Name, such as `ml.m5.xlarge`.

    Returns:
        The facts, or None.

    Example:
        >>> find("ml.t2.medium").memory_gib, find("ml.t2.medium").hosting, find("ml.t3.medium").hosting
        (4.0, True, False)
        >>> find("ml.m99.large") is None
        True
    """
    return known().get(name)


def family(name: str) -> str:
    """Return the family, such as `m5` for `ml.m5.xlarge`; empty if the name has another form.

    Args:
        name: Instance type, such as `ml.m5.xlarge`.

    Returns:
        The family.
    """
    found = INSTANCE_TYPE.fullmatch(name)
    return found[1] if found else ""


def accelerator(name: str) -> Accelerator:
    """Return what the type computes with, from the family's name.

    Args:
        name: Instance type, such as `ml.m5.xlarge`.

    Returns:
        The kind of processor or accelerator.
    """
    of = family(name)
    if re.match(r"(inf|trn)\d", of):
        return "neuron"
    if re.match(r"dl\d", of):
        return "gaudi"
    return "gpu" if re.match(r"[gp]\d", of) else "cpu"


def vcpus(name: str) -> int | None:
    """Return the number of vCPUs.

    Args:
        name: Instance type, such as `ml.m5.xlarge`.

    Returns:
        The number; None if it is unknown.

    Example:
        >>> vcpus("ml.m5.xlarge"), vcpus("ml.c4.8xlarge"), vcpus("ml.m99.large")
        (4, 36, None)
    """
    found = find(name)
    return found.vcpus if found else None


def gpus(name: str) -> int | None:
    """Return the number of GPUs.

    Args:
        name: Instance type, such as `ml.m5.xlarge`.

    Returns:
        The number; None if it is unknown.

    Example:
        >>> gpus("ml.g5.12xlarge"), gpus("ml.m5.xlarge"), gpus("ml.m99.large"), gpus("ml.g99.xlarge")
        (4, 0, 0, None)
    """
    if accelerator(name) != "gpu":
        return 0
    found = find(name)
    return found.gpus if found else None


def units(name: str, metric: str) -> int | None:
    """Return how many times 100 percent a metric of the whole instance reaches: CloudWatch adds up cores, and GPUs.

    Args:
        name: Instance type.
        metric: `cpu` or `gpu`; every other metric reaches 100 percent once, or is not a percentage.

    Returns:
        The number; None if the type's vCPUs or GPUs are unknown.
    """
    if metric == "cpu":
        return vcpus(name)
    return gpus(name) if metric == "gpu" else 1


def has_local_storage(name: str) -> bool:
    """Return whether the type has NVMe disks, which take neither a KMS key nor a volume size; False if unknown.

    Args:
        name: Instance type, such as `ml.m5.xlarge`.

    Returns:
        True or False.
    """
    found = find(name)
    return found is not None and found.local_gb > 0


def serves_multi_model(name: str) -> bool:
    """Return whether a multi-model endpoint can run on it: every CPU type and some single-GPU types can.

    Args:
        name: Instance type, such as `ml.m5.xlarge`.

    Returns:
        True or False.
    """
    kind = accelerator(name)
    if kind == "gpu":
        return family(name) in _MULTI_MODEL_GPU_FAMILIES and gpus(name) == 1
    return kind == "cpu"
