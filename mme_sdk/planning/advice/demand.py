"""The traffic and the models as arrays, computed once for all layouts of a search."""

from __future__ import annotations

from functools import cached_property

import attrs
import numpy as np

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.inputs import Assumptions
from mme_sdk.planning.advice.replay import Replay, replays
from mme_sdk.planning.analysis import Empirical, Gamma, Poisson, Tabulated
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.simulation.inputs import FleetConfig, Floats
from mme_sdk.planning.volumes import volume_gb
from mme_sdk.planning.workload import Workload

__all__ = ["Demand", "fleet_config"]

_GIB = float(2**30)
_WINDOW = 300.0  # seconds; the busiest such window of a model determines its endpoint's size


def fleet_config(kind: InstanceType, count: int, assumptions: Assumptions, *, cache: bool = True) -> FleetConfig:
    """Return the configuration of `count` instances of a type, for the simulation."""
    memory = kind.gpu_memory_gib or max(0.0, kind.memory_gib - assumptions.overhead_gib)
    given = None if kind.local_gb else assumptions.volume_gib
    volume = volume_gb(kind)[0] * 1e9 if given is None else given * _GIB
    return FleetConfig(
        instances=count,
        workers=kind.vcpus,
        memory_bytes=max(1, int(memory * assumptions.memory_share * _GIB)),
        volume_bytes=max(1, int(volume)),
        loader_slots=assumptions.loader_slots if cache else max(assumptions.loader_slots, kind.vcpus),
        spill_outstanding=assumptions.spill_outstanding,
        cache_enabled=cache,
        routing=assumptions.routing,
    )


@attrs.frozen(eq=False, slots=False)
class Demand:
    """The traffic and the models as arrays, one element for each model of the workload.

    Attributes:
        workload: The traffic.
        catalogue: Size and times of each model.
        pinned: Positions of models that always stay in memory. Default empty.
        known: The residency table, if it is computed already. Default None.
        slower: Factor on the times on a vCPU that the trace has. Default 1.
        source: The demand that this one repeats, and the factor on its traffic; a simulation then gets the same
            requests, that much faster. Default None.
    """

    workload: Workload
    catalogue: Catalogue
    pinned: tuple[int, ...] = ()
    known: Tabulated | None = None
    slower: float = 1.0
    source: tuple[Demand, float] | None = None

    def faster(self, factor: float) -> Demand:
        """Return the demand with the traffic multiplied by `factor`."""
        if factor == 1.0:
            return self
        table = self.residency.faster(factor)
        load = self.workload.scaled(traffic=factor)
        return Demand(load, self.catalogue, self.pinned, table, self.slower, (self, factor))

    def replays(self, requests: int, seed: int, *, single: bool = False) -> tuple[Replay, ...]:
        """Return the requests of a simulation; see `replay.replays`."""
        key = (requests, seed, single)
        if key not in self._replays:
            if self.source is not None:
                given, factor = self.source
                self._replays[key] = tuple(each.faster(factor) for each in given.replays(requests, seed, single=single))
            else:
                self._replays[key] = replays(self.workload, requests=requests, seed=seed, single=single)
        return self._replays[key]

    @cached_property
    def _replays(self) -> dict[tuple[int, int, bool], tuple[Replay, ...]]:
        return {}

    def _column(self, name: str) -> Floats:
        if name not in self._columns:
            self._columns[name] = np.asarray([getattr(each, name) for each in self._profiles], dtype=float)
        return self._columns[name]

    @cached_property
    def _profiles(self) -> list[ModelProfile]:
        return [self.catalogue[model] for model in self.workload.models]

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        """The columns of the catalogue, read once for a demand and for those that only repeat it faster."""
        if self.source is not None and self.source[0].catalogue is self.catalogue:
            return self.source[0]._columns
        return {}

    @cached_property
    def memory(self) -> Floats:
        """Size in memory, bytes."""
        return self._column("memory_bytes")

    @cached_property
    def disk(self) -> Floats:
        """Size on the volume, bytes."""
        return self._column("disk_bytes")

    @cached_property
    def archive(self) -> Floats:
        """Size of the archive in S3, bytes."""
        if "archive" not in self._columns:
            sizes = [float(each.archive_bytes or each.disk_bytes) for each in self._profiles]
            self._columns["archive"] = np.asarray(sizes)
        return self._columns["archive"]

    @cached_property
    def load(self) -> Floats:
        """Time to load from the volume into memory, seconds."""
        return self._column("load_seconds")

    @cached_property
    def service(self) -> Floats:
        """Mean time on a vCPU, seconds; measured if the trace has service times."""
        mean = self._column("service_seconds")
        if self.workload.service is None or self.workload.index is None:
            return mean
        count = np.bincount(self.workload.index, minlength=len(mean))
        total = np.bincount(self.workload.index, weights=self.workload.service, minlength=len(mean))
        return np.where(count > 0, self.slower * total / np.maximum(count, 1), mean)

    @cached_property
    def service_cv(self) -> Floats:
        """Coefficient of variation of the time on a vCPU."""
        given = self._column("service_cv")
        if self.workload.service is None or self.workload.index is None:
            return given
        count = np.bincount(self.workload.index, minlength=len(given))
        square = np.bincount(self.workload.index, weights=self.workload.service**2, minlength=len(given))
        mean = np.maximum(self.service / self.slower, 1e-12)
        measured = np.sqrt(np.maximum(0.0, square / np.maximum(count, 1) / mean**2 - 1.0))
        return np.where(count > 4, measured, given)

    @cached_property
    def residency(self) -> Tabulated:
        """How often each model is in a cache, by the age at which the cache evicts."""
        if self.known is not None:
            return self.known
        load = self.workload
        if load.times is not None and load.index is not None:
            return Tabulated.of(Empirical.of(load.times, load.index, len(load.models), load.duration))
        # The daily wave is left out: the traffic hardly changes within a characteristic time.
        return Tabulated.of(Poisson(load.rates) if load.cv == 1.0 else Gamma(load.rates, load.cv))

    @cached_property
    def peak(self) -> float:
        """Ratio of the busiest traffic to the mean."""
        return self.workload.peak_factor()

    @cached_property
    def peaks(self) -> Floats:
        """Ratio of each model's busiest traffic to its mean, for an endpoint of its own.

        For a trace it is the busiest window of five minutes, less three standard deviations of a Poisson count.
        """
        load = self.workload
        if self.source is not None:
            return self.source[0].peaks
        if load.times is None or load.index is None:
            return np.full(len(load.models), self.peak)
        window = min(_WINDOW, load.duration / 20.0)
        cells = int(load.duration / window) + 1
        cell = load.index * cells + np.minimum((load.times / window).astype(np.int64), cells - 1)
        found, counts = np.unique(cell, return_counts=True)
        top = np.zeros(len(load.models))
        np.maximum.at(top, found // cells, counts)
        busiest = np.maximum(top - 3.0 * np.sqrt(top), 0.0) / window
        return np.maximum(1.0, np.divide(busiest, load.rates, out=np.ones(len(top)), where=load.rates > 0))

    def download(self, kind: InstanceType, assumptions: Assumptions, *, parallel: float = 1.0) -> Floats:
        """Return the time to download each model's archive from S3 to an instance of a type, seconds.

        Args:
            kind: Instance type.
            assumptions: The assumptions.
            parallel: Number of downloads that share the network of the instance, 1 or more. Default 1.
        """
        gbps = min(assumptions.s3_gbps, kind.network_gbps / parallel)
        return assumptions.s3_latency + self.archive * 8.0 / (gbps * 1e9)
