"""How long models take to load, learned from invocations.

Load times are assumed to be lognormal. Each model has two distributions: one for first loads, which download the
archive from S3, and one for reloads, whose archive may still be on the instance's disk. A model without observations
uses those of models of similar size on the same endpoint. If there are none, the estimate is size / bandwidth +
overhead, scaled by what the endpoint showed so far.
"""

from __future__ import annotations

import copy
import math
import os
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs

from mme_sdk.config import ColdStart
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["LoadTime", "LoadTimes"]

_MIN_SIGMA = 0.1  # no estimate is more precise than this
_SIGMA_MODEL = math.sqrt(math.log(1 + 0.4**2))  # coefficient of variation 0.4: the loads of one model
_SIGMA_SIZE = math.sqrt(math.log(1 + 1.0**2))  # coefficient of variation 1: models of similar size
_SIGMA_UNKNOWN = 1.2  # if the size is unknown too
_PRIOR_WEIGHT = 2.0  # observations that the prior counts for
_NARROW = 0.05  # width of bounds, in the logarithm, below which they count as an exact time
_MAX_WEIGHT = 12.0  # observations that count; older ones fade, because fleets and archives change
_RELOAD_SHARE = 0.5  # share of a first load that a reload takes, until one was observed
_MIN_INFORMATION = 0.05  # weight below which an observation is ignored
_N, _MEAN, _VAR = 0, 1, 2


@attrs.frozen
class LoadTime:
    """An estimated load time: a lognormal distribution.

    Attributes:
        median: Median, in seconds.
        sigma: Standard deviation of the logarithm.
        source: Basis of the estimate: `model` (observations of this model), `size` (of models of similar size),
            `endpoint` (of all models of the endpoint), `bytes` (size of the archive) or `prior` (the settings).
    """

    median: float
    sigma: float
    source: str

    def quantile(self, z: float) -> float:
        """Return a quantile of the distribution.

        Args:
            z: Standard deviations above the median of the logarithm; 1.64 is the 95th percentile.

        Returns:
            The load time in seconds.
        """
        return self.median * math.exp(self.sigma * z)


class LoadTimes:
    """Estimated load times for any number of endpoints. Threads and invokers may share it.

    Args:
        settings: Assumptions before the first observation; the defaults of `ColdStart` if None.
        max_models: How many models to remember, 100,000 by default; about 400 bytes each. The model that was loaded
            longest ago is forgotten first.

    Example:
        >>> load_times = LoadTimes()
        >>> load_times.observe("scoring", "fraud/v1.tar.gz", 20.0)
        >>> round(load_times.expected("scoring", "fraud/v1.tar.gz").median)
        20
    """

    def __init__(self, settings: ColdStart | None = None, *, max_models: int = 100_000) -> None:
        self._settings = settings or ColdStart()
        self._max = max_models
        self._lock = ForkLock()
        # Two distributions of (weight, mean of log, variance of log) each: first loads, then reloads.
        self._models: OrderedDict[tuple[str, str], array[float]] = OrderedDict()
        self._groups: dict[tuple[str, int | None, bool], array[float]] = {}
        self._scale: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self._models)

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return copy.deepcopy({name: value for name, value in vars(self).items() if name != "_lock"})

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = ForkLock()

    def expected(self, endpoint: str, model: str, *, size: int | None = None, reload: bool = False) -> LoadTime:
        """Return the estimate for the next load of a model.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            size: Bytes of its archive; None if unknown.
            reload: Whether the model was loaded before, so that its archive may still be on the instance; False by
                default.

        Returns:
            The estimate, from the observations that are closest to this model.
        """
        own = self._models.get((endpoint, model))
        if own is not None:
            curve = own[3:] if reload and own[3] > 0 else own[:3]
            if curve[_N] > 0:
                share = _RELOAD_SHARE if reload and own[3] <= 0 else 1.0
                return LoadTime(math.exp(curve[_MEAN]) * share, _spread(curve, _SIGMA_MODEL), "model")
        # Without a size, the group holds all models of the endpoint.
        bucket = _bucket(size)
        group = self._groups.get((endpoint, bucket, reload)) or self._groups.get((endpoint, bucket, False))
        if group is not None:
            source = "endpoint" if size is None else "size"
            return LoadTime(math.exp(group[_MEAN]), _spread(group, _SIGMA_SIZE), source)
        if size is None:
            return LoadTime(self._settings.expected * (_RELOAD_SHARE if reload else 1.0), _SIGMA_UNKNOWN, "prior")
        scale = self._scale.get(endpoint)
        factor = 1.0 if scale is None else math.exp(scale[_MEAN])
        return LoadTime(self.by_bytes(size) * factor, _SIGMA_SIZE, "bytes")

    def observe(
        self,
        endpoint: str,
        model: str,
        seconds: float,
        *,
        size: int | None = None,
        reload: bool = False,
        finished: bool = True,
        at_least: float | None = None,
    ) -> None:
        """Learn from one load.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds that the load took. Values that are not positive and finite are ignored.
            size: Bytes of the archive; None if unknown.
            reload: Whether the model had been loaded before; False by default.
            finished: False if the load had not ended after `seconds`; True by default.
            at_least: Shortest possible duration in seconds, if only bounds are known; `seconds` is the longest then.
                None by default: the duration is exact.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            return
        with self._lock:
            if not finished:
                bounds = math.log(seconds), math.inf
            else:
                least = seconds if at_least is None else max(at_least, 1e-3)
                bounds = math.log(min(least, seconds)), math.log(seconds)
            value, within, weight = _within(bounds, self.expected(endpoint, model, size=size, reload=reload))
            if weight < _MIN_INFORMATION:
                return
            own = self._models.get((endpoint, model))
            if own is None:
                own = self._models[(endpoint, model)] = array("d", [0.0] * 6)
                while len(self._models) > self._max:
                    self._models.popitem(last=False)
            else:
                self._models.move_to_end((endpoint, model))
            _learn(own, 3 if reload else 0, value, weight, within)
            buckets = {None, _bucket(size)}
            for bucket in buckets:
                group = self._groups.setdefault((endpoint, bucket, reload), array("d", [0.0] * 3))
                _learn(group, 0, value, weight, within)
            if size is not None and not reload:
                ratio = value - math.log(self.by_bytes(size))
                _learn(self._scale.setdefault(endpoint, array("d", [0.0] * 3)), 0, ratio, weight, within)

    def forget(self, endpoint: str) -> None:
        """Delete everything learned about an endpoint, for example after its instance type changed.

        Args:
            endpoint: Name of the endpoint.
        """
        with self._lock:
            for models in [key for key in self._models if key[0] == endpoint]:
                del self._models[models]
            for group in [key for key in self._groups if key[0] == endpoint]:
                del self._groups[group]
            self._scale.pop(endpoint, None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned about models to a JSON file. The file is replaced atomically.

        Args:
            path: The file.
        """
        from pathlib import Path

        from mme_sdk.artifacts.temporary import replace_file
        from mme_sdk.runtime.cold_start.load_times_file import File, Row

        with self._lock:
            rows = [
                Row(endpoint=endpoint, model=model, curves=list(curves))
                for (endpoint, model), curves in self._models.items()
            ]
        replace_file(Path(path), File(models=rows).model_dump_json().encode())

    def load(self, path: str | os.PathLike[str]) -> int:
        """Add what another process saved. For a model that both know, the one with more observations is kept.

        Args:
            path: A file written by `save`.

        Returns:
            The number of models in the file.

        Raises:
            InvalidInputError: The file cannot be read, or was not written by `save`.
        """
        from pathlib import Path

        from pydantic import ValidationError

        from mme_sdk.runtime.cold_start.load_times_file import File

        try:
            file = File.model_validate_json(Path(path).read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidInputError(
                f"cannot read load times from {path}: {error}", hint="pass a file that LoadTimes.save wrote"
            ) from error
        with self._lock:
            for row in file.models:
                self._merge(row.endpoint, row.model, row.curves)
        return len(file.models)

    def curves(self, endpoint: str, model: str) -> tuple[float, ...] | None:
        """Return what was learned of a model, for `add` in another process.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.

        Returns:
            Six numbers; None if nothing was learned.
        """
        found = self._models.get((endpoint, model))
        return None if found is None else tuple(found)

    def add(self, endpoint: str, model: str, curves: Sequence[float]) -> None:
        """Add what another process learned of a model, unless this one has more observations of it.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            curves: What `curves` returned there.
        """
        with self._lock:
            self._merge(endpoint, model, curves)

    def _merge(self, endpoint: str, model: str, curves: Sequence[float]) -> None:
        key = (endpoint, model)
        mine = self._models.setdefault(key, array("d", [0.0] * 6))
        for at in (0, 3):
            weight, mean, variance = curves[at : at + 3]
            if weight > mine[at] and abs(mean) < 20 and variance >= 0:
                mine[at : at + 3] = array("d", [min(weight, _MAX_WEIGHT), mean, variance])
                group = self._groups.setdefault((endpoint, None, at == 3), array("d", [0.0] * 3))
                _learn(group, 0, mean, 1.0, 0.0)
        while len(self._models) > self._max:
            self._models.popitem(last=False)

    def by_bytes(self, size: int | None) -> float:
        """Return the assumed load time of an archive on an endpoint without observations.

        Args:
            size: Bytes of the archive; None if unknown.

        Returns:
            Seconds.
        """
        if size is None:
            return self._settings.expected
        return self._settings.overhead + size / self._settings.bandwidth


def _bucket(size: int | None) -> int | None:
    """Return the number of the group of sizes: 0 below 1 MB, 1 from 1 MB, 2 from 2 MB, 3 from 4 MB, and so on."""
    return None if size is None else max(0, (size // 1_000_000).bit_length())


def _within(bounds: tuple[float, float], expected: LoadTime) -> tuple[float, float, float]:
    """Return mean and variance of the logarithm of a load time between bounds, and the weight of the observation.

    This is one step of expectation maximisation for a normal distribution truncated to the bounds. Bounds that were
    likely beforehand carry little information, so they have a small weight.
    """
    low, high = bounds
    if high - low < _NARROW:
        return (low + high) / 2, 0.0, 1.0
    median, sigma = math.log(expected.median), expected.sigma
    a, b = (low - median) / sigma, (high - median) / sigma
    if a > 0:  # erfc is precise only for positive arguments
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
    total = min(curves[at + _N] + weight, _MAX_WEIGHT)
    share = weight / total
    off = value - curves[at + _MEAN]
    if curves[at + _N] <= 0:
        curves[at : at + 3] = array("d", [weight, value, within])
        return
    curves[at + _MEAN] += share * off
    curves[at + _VAR] = (1 - share) * (curves[at + _VAR] + share * off * off) + share * within
    curves[at + _N] = total


def _spread(curve: array[float], prior: float) -> float:
    """Return the standard deviation of the logarithm of the next load, from observations and the prior.

    It includes the uncertainty of the mean, which is large after few observations.
    """
    variance = (_PRIOR_WEIGHT * prior**2 + curve[_N] * curve[_VAR]) / (_PRIOR_WEIGHT + curve[_N])
    return max(_MIN_SIGMA, math.sqrt(variance * (1 + 1 / (_PRIOR_WEIGHT + curve[_N]))))
