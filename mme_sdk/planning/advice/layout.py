"""Layouts: which models share which endpoint, and on which instances."""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["DedicatedEndpoint", "HostingLayout", "Mode"]

Mode = Literal["shared", "uncached", "dedicated", "hybrid"]


@attrs.frozen
class DedicatedEndpoint:
    """An endpoint with a single model.

    Attributes:
        model: Position of the model in the workload.
        instance_type: Instance type.
        count: Number of instances.
    """

    model: int
    instance_type: str
    count: int


@attrs.frozen(kw_only=True)
class HostingLayout:
    """Which models share an endpoint, which have their own, and on which instances.

    Attributes:
        mode: `shared` (one multi-model endpoint), `uncached` (the same with ModelCacheSetting=Disabled), `dedicated`
            (one endpoint for each model) or `hybrid` (the busiest models dedicated, the others shared).
        instance_type: Instance type of the shared endpoint; None (the default) without one.
        count: Number of instances of the shared endpoint. Default 0.
        dedicated: The endpoints with a single model. Default empty.
    """

    mode: Mode
    instance_type: str | None = None
    count: int = 0
    dedicated: tuple[DedicatedEndpoint, ...] = ()

    def __str__(self) -> str:
        shared = f"{self.count} x {self.instance_type}" if self.instance_type else ""
        alone = f"{sum(each.count for each in self.dedicated)} dedicated instances" if self.dedicated else ""
        return f"{self.mode}: {' + '.join(part for part in (shared, alone) if part)}"
