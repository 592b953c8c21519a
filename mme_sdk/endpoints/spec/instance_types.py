"""What the rules need to know about instance types, read from their names.

Sources: https://aws.amazon.com/ec2/instance-types/,
https://docs.aws.amazon.com/sagemaker/latest/dg/multi-model-support.html (single-GPU types) and
https://docs.aws.amazon.com/sagemaker/latest/dg/host-instance-storage.html (local storage).
"""

from __future__ import annotations

import re
from typing import Literal

__all__ = [
    "Accelerator",
    "accelerator",
    "family",
    "gpus",
    "has_local_storage",
    "serves_multi_model",
    "units",
    "vcpus",
]

Accelerator = Literal["cpu", "gpu", "neuron", "gaudi"]

INSTANCE_TYPE = re.compile(r"ml\.([a-z][a-z0-9-]*)\.([a-z0-9]+)")

# GPUs of the sizes that carry more than one; every other size of a GPU family carries one.
_MANY_GPUS = {
    "g4dn": {"12xlarge": 4},
    "g5": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g7": {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
    "g7e": {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
    "p2": {"8xlarge": 8, "16xlarge": 16},
    "p3": {"8xlarge": 4, "16xlarge": 8},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
    "p6-b300": {"48xlarge": 8},
    "p6e-gb200": {"36xlarge": 4},
}
_MULTI_MODEL_GPU_FAMILIES = frozenset({"g4dn", "g5", "p2", "p3"})
_ODD_VCPUS = {"ml.c4.8xlarge": 36, "ml.t2.medium": 2, "ml.t2.large": 2, "ml.p5.4xlarge": 16}


def _split(instance_type: str) -> tuple[str, str]:
    found = INSTANCE_TYPE.fullmatch(instance_type)
    return (found[1], found[2]) if found else ("", "")


def family(instance_type: str) -> str:
    """The family: `m5` of `ml.m5.xlarge`; empty where the name has another shape."""
    return _split(instance_type)[0]


def accelerator(instance_type: str) -> Accelerator:
    """What the type computes with."""
    name = family(instance_type)
    if re.match(r"(inf|trn)\d", name):
        return "neuron"
    if re.match(r"dl\d", name):
        return "gaudi"
    return "gpu" if re.match(r"[gp]\d", name) else "cpu"


def gpus(instance_type: str) -> int:
    """How many GPUs it has."""
    name, size = _split(instance_type)
    return _MANY_GPUS.get(name, {}).get(size, 1) if accelerator(instance_type) == "gpu" else 0


def vcpus(instance_type: str) -> int | None:
    """How many vCPUs it has; None where the name does not tell.

    Example:
        >>> vcpus("ml.m5.xlarge"), vcpus("ml.c5.large"), vcpus("ml.c6i.8xlarge")
        (4, 2, 32)
    """
    if instance_type in _ODD_VCPUS:
        return _ODD_VCPUS[instance_type]
    size = _split(instance_type)[1]
    if size in ("medium", "large"):
        return 1 if size == "medium" else 2
    times = re.fullmatch(r"(\d*)xlarge", size)
    return 4 * int(times[1] or 1) if times else None


def units(instance_type: str, metric: str) -> int | None:
    """How many times 100 percent a metric of the whole instance reaches: CloudWatch adds up cores, and GPUs.

    Args:
        instance_type: The type.
        metric: `cpu` or `gpu`; anything else reaches 100 percent, or is no percentage.

    Returns:
        The number; None where the type's cores are not known.
    """
    if metric == "cpu":
        return vcpus(instance_type)
    return gpus(instance_type) if metric == "gpu" else 1


def has_local_storage(instance_type: str) -> bool:
    """Whether it keeps data on NVMe disks of its own, which take neither a KMS key nor a volume size."""
    name = family(instance_type)
    if re.fullmatch(r"(g[4-9]\w*|p4d|p4de|p5\w*|p6\S*|p3dn|trn\S+|dl\d\w*)", name):
        return True
    return re.fullmatch(r"[cmr]\d[agi]?d\w*", name) is not None


def serves_multi_model(instance_type: str) -> bool:
    """Whether a multi-model endpoint can run on it: every CPU type, and the documented single-GPU types."""
    kind = accelerator(instance_type)
    if kind == "gpu":
        return family(instance_type) in _MULTI_MODEL_GPU_FAMILIES and gpus(instance_type) == 1
    return kind == "cpu"
