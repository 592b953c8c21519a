"""The volume that SageMaker attaches to an instance of a multi-model endpoint: AWS's table, or a guess."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources

from mme_sdk.instance_types import InstanceType

__all__ = ["volume_gb"]

_GPU_GB = 30.0  # what the table gives GPU types, for endpoints of one model


@cache
def _listed() -> Mapping[str, float]:
    text = resources.files("mme_sdk.planning").joinpath("data", "volumes.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["instance_type"]: float(row["gb"]) for row in rows}


def volume_gb(kind: InstanceType) -> tuple[float, str]:
    """Return the size of the volume of an instance in a multi-model endpoint, GB, and where the size comes from.

    A type with local storage has that instead of a volume. AWS's table gives most types a volume of twice their memory;
    a type that it does not have is guessed to have as much.

    Args:
        kind: Instance type.

    Returns:
        The size in GB, and its source: `local storage`, `AWS's table of 2020` or `a guess`.
    """
    if kind.local_gb:
        return float(kind.local_gb), "local storage"
    if kind.name in _listed():
        return _listed()[kind.name], "AWS's table of 2020"
    return (_GPU_GB if kind.gpus else 2.0 * kind.memory_gib), "a guess"
