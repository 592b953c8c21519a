"""Facts about instance types, derived from their names.

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

# Sizes with several GPUs; every other size of a GPU family has one.
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
    """Return the family, such as `m5` for `ml.m5.xlarge`; empty if the name has another form."""
    return _split(instance_type)[0]


def accelerator(instance_type: str) -> Accelerator:
    """Return the kind of processor that the type computes with."""
    name = family(instance_type)
    if re.match(r"(inf|trn)\d", name):
        return "neuron"
    if re.match(r"dl\d", name):
        return "gaudi"
    return "gpu" if re.match(r"[gp]\d", name) else "cpu"


def gpus(instance_type: str) -> int:
    """Return the number of GPUs."""
    name, size = _split(instance_type)
    return _MANY_GPUS.get(name, {}).get(size, 1) if accelerator(instance_type) == "gpu" else 0


def vcpus(instance_type: str) -> int | None:
    """Return the number of vCPUs; None if it is unknown.

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
    """Return how many times 100 percent a metric can reach: CloudWatch adds the percentages of all cores or GPUs.

    Args:
        instance_type: The instance type.
        metric: `cpu`, `gpu`, or another metric.

    Returns:
        The number of vCPUs or GPUs; 1 for other metrics; None if the number of vCPUs is unknown.
    """
    if metric == "cpu":
        return vcpus(instance_type)
    return gpus(instance_type) if metric == "gpu" else 1


def has_local_storage(instance_type: str) -> bool:
    """Return whether the type has local NVMe disks, which take neither a KMS key nor a volume size."""
    name = family(instance_type)
    if re.fullmatch(r"(g[4-9]\w*|p4d|p4de|p5\w*|p6\S*|p3dn|trn\S+|dl\d\w*)", name):
        return True
    return re.fullmatch(r"[cmr]\d[agi]?d\w*", name) is not None


def serves_multi_model(instance_type: str) -> bool:
    """Return whether multi-model endpoints can run on it: all CPU types, and the documented single-GPU types."""
    kind = accelerator(instance_type)
    if kind == "gpu":
        return family(instance_type) in _MULTI_MODEL_GPU_FAMILIES and gpus(instance_type) == 1
    return kind == "cpu"
