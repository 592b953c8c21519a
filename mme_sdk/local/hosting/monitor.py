"""What instances use: CPU, memory and volume, once a period, as CloudWatch shows it."""

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
    """Measures every instance once a period.

    Args:
        shared: Clock, settings and threads.
        variants: What runs now.
    """

    def __init__(self, shared: Shared, variants: Callable[[], Iterable[Variant]]) -> None:
        self._shared = shared
        self._variants = variants
        self._before: dict[tuple[Variant, str], tuple[float, float]] = {}

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            await self._shared.clock.sleep(self._shared.settings.metrics_seconds)
            for variant in list(self._variants()):
                await self._measure(variant)

    async def _measure(self, variant: Variant) -> None:
        picture = variant.picture()
        for name, instance in list(variant.instances.items()):
            if sys.platform == "linux":  # elsewhere nobody tells without more packages
                await self._measure_processes(variant, name, set(instance.pids))
            shown = None if picture is None else picture.instances.get(name)
            if shown is not None:
                variant.measure("LoadedModelCount", len(shown.loaded))
                variant.measure("DiskUtilization", 100 * shown.volume_used / variant.sizes.volume_bytes)
        living = {(variant, name) for variant in self._variants() for name in variant.instances}
        self._before = {key: value for key, value in self._before.items() if key in living}

    async def _measure_processes(self, variant: Variant, name: str, pids: set[int]) -> None:
        used = await self._shared.offload(lambda: _usage(pids))
        now = self._shared.clock.monotonic()
        then, cpu = self._before.get((variant, name), (now, used.cpu_seconds))
        self._before[variant, name] = (now, used.cpu_seconds)
        if now > then:
            # 100 for each vCPU in full use; processes that ended take their time along.
            variant.measure("CPUUtilization", 100 * max(0.0, used.cpu_seconds - cpu) / (now - then))
        variant.measure("MemoryUtilization", min(100.0, 100 * used.memory / variant.sizes.memory_bytes))


def _usage(sessions: set[int]) -> _Usage:
    """CPU time and memory of all processes of some sessions; each container is a session of its own."""
    cpu, memory = 0.0, 0
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) not in sessions:
                continue
            cpu += sum(map(int, fields[11:15])) / tick  # its own and that of its ended children
            rollup = (folder / "smaps_rollup").read_text()
            memory += next(1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue  # it ended meanwhile
    return _Usage(cpu, memory)
