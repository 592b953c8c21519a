"""Periodic measurement of the CPU, memory and volume use of instances, for CloudWatch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.instances.variant import Variant

__all__ = ["Monitor"]


@attrs.frozen
class _Usage:
    cpu_seconds: float
    memory: int


class Monitor:
    """A loop that measures every instance once per `HostingSettings.metrics_seconds`.

    Args:
        shared: Clock, settings and threads.
        variants: Returns the running variants.
    """

    def __init__(self, shared: Shared, variants: Callable[[], Iterable[Variant]]) -> None:
        self._shared = shared
        self._variants = variants
        self._before: dict[tuple[Variant, str], tuple[float, float]] = {}

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await self._shared.clock.sleep(self._shared.settings.metrics_seconds)
            for variant in list(self._variants()):
                await self._measure(variant)

    async def _measure(self, variant: Variant) -> None:
        snapshot = variant.snapshot()
        for name, instance in list(variant.instances.items()):
            if sys.platform == "linux":  # other platforms have no /proc
                await self._measure_processes(variant, name, set(instance.pids))
            shown = None if snapshot is None else snapshot.instances.get(name)
            if shown is not None:
                variant.measure("LoadedModelCount", len(shown.loaded))
                variant.measure("DiskUtilization", 100 * shown.volume_used / variant.capacity.volume_bytes)
        living = {(variant, name) for variant in self._variants() for name in variant.instances}
        self._before = {key: value for key, value in self._before.items() if key in living}

    async def _measure_processes(self, variant: Variant, name: str, pids: set[int]) -> None:
        used = await self._shared.offload(lambda: _usage(pids))
        now = self._shared.clock.monotonic()
        then, cpu = self._before.get((variant, name), (now, used.cpu_seconds))
        self._before[variant, name] = (now, used.cpu_seconds)
        if now > then:
            # 100 for each fully used vCPU. The total shrinks when a process ends, hence the lower bound.
            variant.measure("CPUUtilization", 100 * max(0.0, used.cpu_seconds - cpu) / (now - then))
        variant.measure("MemoryUtilization", min(100.0, 100 * used.memory / variant.capacity.memory_bytes))


def _usage(sessions: set[int]) -> _Usage:
    """Return CPU time and memory of all processes of `sessions`. Each container is a session."""
    cpu, memory = 0.0, 0
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) not in sessions:
                continue
            cpu += sum(map(int, fields[11:15])) / tick  # user and system time of the process and of its ended children
            rollup = (folder / "smaps_rollup").read_text()
            memory += next(1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue  # the process has ended
    return _Usage(cpu, memory)
