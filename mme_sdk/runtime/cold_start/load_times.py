"""How long models take to load, learned from what invocations met.

Load times are taken as lognormal. Each model has two of them: the first load, with the download from S3, and the reload
of one that was loaded before, whose archive may still be on the instance's disk. Where a model has not been seen,
models of like size on the same endpoint speak for it, then bytes ÷ bandwidth + overhead, corrected by what the endpoint
showed.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import OrderedDict
from pathlib import Path
from typing import Annotated

import attrs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mme_sdk.artifacts.temporary import replace_file
from mme_sdk.config import ColdStart
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["Estimate", "Estimates"]

_FLOOR = 0.1  # sigma: no estimate is surer; the schedule sees to loads that are not as usual
_OWN = math.sqrt(math.log(1 + 0.4**2))  # sigma at a coefficient of variation of 0.4: loads of one model
_PRIOR = math.sqrt(math.log(1 + 1.0**2))  # sigma at 1: models of like size, before any was seen
_UNKNOWN = 1.2  # sigma where not even the size is known
_PRIOR_WEIGHT = 2.0  # observations that the prior counts for
_NARROW = 0.05  # of the logarithm: bounds that close are as good as an exact time
_MEMORY = 12.0  # observations that count; older ones fade, since fleets and archives change
_RELOAD = 0.5  # share of a first load that a reload takes, until one was seen
_N, _MEAN, _VAR = 0, 1, 2


@attrs.frozen
class Estimate:
    """What is thought of a load time.

    Attributes:
        median: Seconds.
        sigma: Standard deviation of the logarithm.
        source: Where it comes from: `model`, `size`, `endpoint`, `bytes` or `prior`.
    """

    median: float
    sigma: float
    source: str

    def quantile(self, z: float) -> float:
        """Seconds at `z` standard deviations."""
        return self.median * math.exp(self.sigma * z)


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    endpoint: str = Field(min_length=1, max_length=63)
    model: str = Field(min_length=1, max_length=1024)
    curves: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=6, max_length=6)]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")
    version: Annotated[int, Field(ge=1, le=1)] = 1
    models: list[_Row]


class Estimates:
    """Load-time estimates of any number of endpoints; safe to share between threads and invokers.

    Args:
        settings: What is thought before anything was seen.
        max_models: Models remembered; those not loaded for longest are forgotten first. About 400 bytes each.

    Example:
        >>> estimates = Estimates()
        >>> estimates.observe("scoring", "fraud/v1.tar.gz", 20.0)
        >>> round(estimates.expected("scoring", "fraud/v1.tar.gz").median)
        20
    """

    def __init__(self, settings: ColdStart | None = None, *, max_models: int = 100_000) -> None:
        self._settings = settings or ColdStart()
        self._max = max_models
        self._lock = ForkLock()
        # Two curves of (weight, mean of log, variance of log): first loads, reloads.
        self._models: OrderedDict[tuple[str, str], array[float]] = OrderedDict()
        self._groups: dict[tuple[str, int | None, bool], array[float]] = {}
        self._scale: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self._models)

    def expected(self, endpoint: str, model: str, *, size: int | None = None, again: bool = False) -> Estimate:
        """What is thought of the next load.

        Args:
            endpoint: Name of the endpoint.
            model: Target model.
            size: Bytes of its archive, where known.
            again: Whether it was loaded before, so that its archive may still be on the instance.

        Returns:
            The estimate, from the nearest thing that was seen.
        """
        own = self._models.get((endpoint, model))
        if own is not None:
            curve = own[3:] if again and own[3] > 0 else own[:3]
            if curve[_N] > 0:
                reload = _RELOAD if again and own[3] <= 0 else 1.0
                return Estimate(math.exp(curve[_MEAN]) * reload, _spread(curve, _OWN), "model")
        # Models of like size speak for it; where the size is unknown, all of the endpoint do.
        bucket = _bucket(size)
        group = self._groups.get((endpoint, bucket, again)) or self._groups.get((endpoint, bucket, False))
        if group is not None:
            source = "endpoint" if size is None else "size"
            return Estimate(math.exp(group[_MEAN]), _spread(group, _PRIOR), source)
        if size is None:
            return Estimate(self._settings.expected * (_RELOAD if again else 1.0), _UNKNOWN, "prior")
        scale = self._scale.get(endpoint)
        factor = 1.0 if scale is None else math.exp(scale[_MEAN])
        return Estimate(self.by_bytes(size) * factor, _PRIOR, "bytes")

    def observe(
        self,
        endpoint: str,
        model: str,
        seconds: float,
        *,
        size: int | None = None,
        again: bool = False,
        finished: bool = True,
        at_least: float | None = None,
    ) -> None:
        """Learn from a load.

        Args:
            endpoint: Name of the endpoint.
            model: Target model.
            seconds: What it took, or how long it was waited for.
            size: Bytes of its archive, where known.
            again: Whether the model had been loaded before.
            finished: False where the wait ended before the load did.
            at_least: Where nobody saw it end: what it took at least, `seconds` being the most.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            return
        with self._lock:
            if not finished:
                bounds = math.log(seconds), math.inf
            else:
                least = seconds if at_least is None else max(at_least, 1e-3)
                bounds = math.log(min(least, seconds)), math.log(seconds)
            value, within, weight = _within(bounds, self.expected(endpoint, model, size=size, again=again))
            if weight < 0.05:
                return  # as anybody expected: nothing learned
            own = self._models.get((endpoint, model))
            if own is None:
                own = self._models[(endpoint, model)] = array("d", [0.0] * 6)
                while len(self._models) > self._max:
                    self._models.popitem(last=False)
            else:
                self._models.move_to_end((endpoint, model))
            _learn(own, 3 if again else 0, value, weight, within)
            buckets = {None, _bucket(size)}
            for bucket in buckets:
                group = self._groups.setdefault((endpoint, bucket, again), array("d", [0.0] * 3))
                _learn(group, 0, value, weight, within)
            if size is not None and not again:
                ratio = value - math.log(self.by_bytes(size))
                _learn(self._scale.setdefault(endpoint, array("d", [0.0] * 3)), 0, ratio, weight, within)

    def forget(self, endpoint: str) -> None:
        """Forget everything about an endpoint, for example after it moved to another instance type."""
        with self._lock:
            for models in [key for key in self._models if key[0] == endpoint]:
                del self._models[models]
            for group in [key for key in self._groups if key[0] == endpoint]:
                del self._groups[group]
            self._scale.pop(endpoint, None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned of models as JSON; whole or not at all.

        Args:
            path: File to write.
        """
        with self._lock:
            rows = [
                _Row(endpoint=endpoint, model=model, curves=list(curves))
                for (endpoint, model), curves in self._models.items()
            ]
        replace_file(Path(path), _File(models=rows).model_dump_json().encode())

    def load(self, path: str | os.PathLike[str]) -> int:
        """Add what another process learned; of a model known to both, the side that saw more wins.

        Args:
            path: File written by `save`.

        Returns:
            How many models the file told of.

        Raises:
            InvalidInputError: No readable file of estimates.
        """
        try:
            told = _File.model_validate_json(Path(path).read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidInputError(f"{path}: no readable file of load-time estimates: {error}") from error
        with self._lock:
            for row in told.models:
                self._merge(row)
        return len(told.models)

    def _merge(self, row: _Row) -> None:
        key = (row.endpoint, row.model)
        mine = self._models.setdefault(key, array("d", [0.0] * 6))
        for at in (0, 3):
            weight, mean, variance = row.curves[at : at + 3]
            if weight > mine[at] and abs(mean) < 20 and variance >= 0:
                mine[at : at + 3] = array("d", [min(weight, _MEMORY), mean, variance])
                group = self._groups.setdefault((row.endpoint, None, at == 3), array("d", [0.0] * 3))
                _learn(group, 0, mean, 1.0, 0.0)
        while len(self._models) > self._max:
            self._models.popitem(last=False)

    def by_bytes(self, size: int | None) -> float:
        """What a load of so many bytes would take on a fleet of which nothing is known, seconds."""
        if size is None:
            return self._settings.expected
        return self._settings.overhead + size / self._settings.bandwidth


def _bucket(size: int | None) -> int | None:
    """Sizes within a factor of two, from a megabyte on."""
    return None if size is None else max(0, (size // 1_000_000).bit_length())


def _within(bounds: tuple[float, float], thought: Estimate) -> tuple[float, float, float]:
    """A load of which only bounds are known: mean and variance of its logarithm, and what the observation counts.

    One step of expectation maximisation for a normal law that was cut to the bounds; the likelier the bounds were, the
    less they tell.
    """
    low, high = bounds
    if high - low < _NARROW:
        return (low + high) / 2, 0.0, 1.0
    median, sigma = math.log(thought.median), thought.sigma
    a, b = (low - median) / sigma, (high - median) / sigma
    if a > 0:  # the tail is exact on the lower side only
        mass = (math.erfc(a / math.sqrt(2)) - math.erfc(b / math.sqrt(2))) / 2
    else:
        mass = (math.erfc(-b / math.sqrt(2)) - math.erfc(-a / math.sqrt(2))) / 2
    if mass < 1e-12:
        return (low if a > 0 else high), 0.0, 1.0
    at_a, at_b = _density(a), _density(b)
    shift = (at_a - at_b) / mass
    ends = a * at_a - (b * at_b if math.isfinite(b) else 0.0)
    return median + sigma * shift, sigma**2 * max(0.0, 1 + ends / mass - shift**2), 1.0 - mass


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _learn(curves: array[float], at: int, value: float, weight: float, within: float) -> None:
    total = min(curves[at + _N] + weight, _MEMORY)
    share = weight / total
    off = value - curves[at + _MEAN]
    if curves[at + _N] <= 0:
        curves[at : at + 3] = array("d", [weight, value, within])
        return
    curves[at + _MEAN] += share * off
    curves[at + _VAR] = (1 - share) * (curves[at + _VAR] + share * off * off) + share * within
    curves[at + _N] = total


def _spread(curve: array[float], prior: float) -> float:
    """Log-deviation of the next load: that of loads seen, mixed with the prior's; few of them leave the mean unsure."""
    variance = (_PRIOR_WEIGHT * prior**2 + curve[_N] * curve[_VAR]) / (_PRIOR_WEIGHT + curve[_N])
    return max(_FLOOR, math.sqrt(variance * (1 + 1 / (_PRIOR_WEIGHT + curve[_N]))))
