"""The traffic and the models as arrays, computed once for all layouts of a search."""

from __future__ import annotations

from functools import cached_property

import attrs
import numpy as np

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.inputs import Assumptions
from mme_sdk.planning.analysis import Empirical, Gamma, Poisson, Tabulated
from mme_sdk.planning.catalogue import Catalogue
from mme_sdk.planning.simulation.inputs import FleetConfig, Floats, Ints, Traffic
from mme_sdk.planning.workload import Workload

__all__ = ["Demand", "fleet_config"]

_GIB = float(2**30)
_GAPS = 400_000  # requests of a trace from which the residency table is computed


def fleet_config(kind: InstanceType, count: int, assumptions: Assumptions, *, cache: bool = True) -> FleetConfig:
    """Return the configuration of `count` instances of a type, for the simulation."""
    memory = kind.gpu_memory_gib or max(0.0, kind.memory_gib - assumptions.overhead_gib)
    volume = kind.local_gb * 1e9 if kind.local_gb else assumptions.volume_gib * _GIB
    return FleetConfig(
        instances=count,
        workers=kind.vcpus,
        memory_bytes=max(1, int(memory * assumptions.memory_share * _GIB)),
        volume_bytes=max(1, int(volume)),
        loader_slots=assumptions.loader_slots if cache else max(assumptions.loader_slots, kind.vcpus),
        spill_outstanding=assumptions.spill_outstanding,
        cache_enabled=cache,
    )


@attrs.frozen(eq=False, slots=False)
class Demand:
    """The traffic and the models as arrays, one element for each model of the workload.

    Attributes:
        workload: The traffic.
        catalogue: Size and times of each model.
        pinned: Positions of models that always stay in memory. Default empty.
        known: The residency table, if it is computed already. Default None.
    """

    workload: Workload
    catalogue: Catalogue
    pinned: tuple[int, ...] = ()
    known: Tabulated | None = None

    def faster(self, factor: float) -> Demand:
        """Return the demand with the traffic multiplied by `factor`."""
        if factor == 1.0:
            return self
        table = self.residency.faster(factor)
        return Demand(self.workload.scaled(traffic=factor), self.catalogue, self.pinned, table)

    def _column(self, name: str) -> Floats:
        profiles = [self.catalogue[model] for model in self.workload.models]
        return np.asarray([getattr(each, name) for each in profiles], dtype=float)

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
        profiles = [self.catalogue[model] for model in self.workload.models]
        return np.asarray([float(each.archive_bytes or each.disk_bytes) for each in profiles])

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
        return np.where(count > 0, total / np.maximum(count, 1), mean)

    @cached_property
    def service_cv(self) -> Floats:
        """Coefficient of variation of the time on a vCPU."""
        given = self._column("service_cv")
        if self.workload.service is None or self.workload.index is None:
            return given
        count = np.bincount(self.workload.index, minlength=len(given))
        square = np.bincount(self.workload.index, weights=self.workload.service**2, minlength=len(given))
        mean = np.maximum(self.service, 1e-12)
        measured = np.sqrt(np.maximum(0.0, square / np.maximum(count, 1) / mean**2 - 1.0))
        return np.where(count > 4, measured, given)

    @cached_property
    def residency(self) -> Tabulated:
        """How often each model is in a cache, by the age at which the cache evicts."""
        if self.known is not None:
            return self.known
        load = self.workload
        if load.times is not None and load.index is not None:
            stop = min(len(load.times), _GAPS)
            span = load.duration if stop == len(load.times) else float(load.times[stop])
            return Tabulated.of(Empirical.of(load.times[:stop], load.index[:stop], len(load.models), span))
        # The daily wave is left out: the traffic hardly changes within a characteristic time.
        return Tabulated.of(Poisson(load.rates) if load.cv == 1.0 else Gamma(load.rates, load.cv))

    @cached_property
    def peak(self) -> float:
        """Ratio of the busiest traffic to the mean."""
        return self.workload.peak_factor()

    def download(self, kind: InstanceType, assumptions: Assumptions, *, parallel: float = 1.0) -> Floats:
        """Return the time to download each model's archive from S3 to an instance of a type, seconds.

        Args:
            kind: Instance type.
            assumptions: The assumptions.
            parallel: Number of downloads that share the network of the instance, 1 or more. Default 1.
        """
        gbps = min(assumptions.s3_gbps, kind.network_gbps / parallel)
        return assumptions.s3_latency + self.archive * 8.0 / (gbps * 1e9)

    def traffic(
        self, which: Ints, kind: InstanceType, assumptions: Assumptions, *, requests: int, seed: int
    ) -> tuple[Traffic, float] | None:
        """Return requests for some of the models, for a simulation; None if there are fewer than 100.

        A synthetic sample starts with one request for each model, in a random order that fits the rates, so that the
        caches start full. Without these, a model requested once a day would seem cold for a day.

        Args:
            which: Positions of the models.
            kind: Instance type, for the time of downloads.
            assumptions: The assumptions, for the time of downloads.
            requests: Approximate number of requests.
            seed: Seed of the draw.

        Returns:
            The requests, and the share of them at the start in which the caches fill.
        """
        load = self.workload.only(which)
        sample = load.sample(load.duration if load.is_trace else requests / load.rate, seed=seed)
        if sample.times is None or sample.index is None or len(sample.times) < 100:
            return None
        times, index = sample.times[:requests], sample.index[:requests]
        skip = 0.3
        download, rng = self.download(kind, assumptions)[which], np.random.default_rng(seed + 1)
        if not load.is_trace:
            ages = rng.exponential(1.0, len(which)) / load.rates
            past = np.argsort(-ages, kind="stable")
            apart = 3.0 * float(np.max(download + self.load[which]))
            times = np.concatenate([np.arange(len(past)) * apart, times + len(past) * apart])
            index = np.concatenate([past, index])
            skip = (len(past) + 0.05 * requests) / len(times)
        if sample.service is not None:
            service = sample.service[: len(times)]
        else:
            sigma = np.sqrt(np.log1p(self.service_cv[which][index] ** 2))
            service = self.service[which][index] * np.exp(sigma * rng.standard_normal(len(index)) - sigma**2 / 2.0)
        traffic = Traffic(
            times=times,
            models=index,
            service=service,
            disk=self.disk[which],
            memory=self.memory[which],
            download=download,
            load=self.load[which],
        )
        return traffic, min(skip, 0.9)
