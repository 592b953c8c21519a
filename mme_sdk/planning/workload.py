"""Who asks for what, and when: from a trace, from rates, or made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.metrics import EndpointMetrics
from mme_sdk.planning import synthetic
from mme_sdk.planning.checks import check_number
from mme_sdk.planning.simulation.inputs import Floats, Ints
from mme_sdk.planning.tables import frame_of

__all__ = ["Workload"]


@attrs.frozen(kw_only=True, eq=False)
class Workload:
    """Traffic of a set of models.

    Attributes:
        models: Target models.
        rates: Mean requests per second of each.
        cv: Coefficient of variation of the time between a model's requests (1: Poisson); for a trace as measured.
        diurnal: Swing of the daily wave about the mean, 0 to 1.
        duration: Seconds that a trace spans; 0 without a trace.
        times: Arrival times of a trace from its start; None without a trace.
        index: Index of each request's model; None without a trace.
        service: Seconds of each request on a vCPU, where the trace says; else None.
        notes: What was noticed and mended while reading.

    Example:
        >>> load = Workload.zipf(200, exponent=0.9, rate=20)
        >>> len(load.models), round(load.rate)
        (200, 20)
    """

    models: tuple[str, ...]
    rates: Floats
    cv: float = 1.0
    diurnal: float = 0.0
    duration: float = 0.0
    times: Floats | None = None
    index: Ints | None = None
    service: Floats | None = None
    notes: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not self.models:
            raise InvalidInputError("the workload has no models")
        if len(set(self.models)) != len(self.models):
            raise InvalidInputError("the workload names a model twice")
        if len(self.models) != len(self.rates):
            raise InvalidInputError(f"{len(self.models)} models but {len(self.rates)} rates")
        bad = ~(np.isfinite(self.rates) & (self.rates >= 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise InvalidInputError(
                f"the rate of {self.models[at]!r} is {float(self.rates[at])!r}; it must be a finite number, 0 or more"
            )
        if not self.rates.sum() > 0:
            raise InvalidInputError("nobody asks for anything: every rate is 0")
        check_number("cv", self.cv, over=self.times is None)
        check_number("diurnal", self.diurnal, over=False, most=1.0)

    @property
    def rate(self) -> float:
        """Requests per second of all models together."""
        return float(self.rates.sum())

    @property
    def is_trace(self) -> bool:
        """Whether single requests are known."""
        return self.times is not None

    def __repr__(self) -> str:
        top = float(np.sort(self.rates)[::-1][: max(1, len(self.models) // 10)].sum() / self.rate)
        kind = f"{len(self.times):,} requests in {self.duration:,.0f} s, " if self.times is not None else ""
        return (
            f"<Workload of {len(self.models):,} models: {kind}{self.rate:.3g} requests/s, top tenth of the models "
            f"{top:.0%} of the traffic, inter-arrival CV {self.cv:.2g}>"
        )

    # -- from what is known ---------------------------------------------------------------------------------------

    @classmethod
    def from_trace(
        cls, trace: Any, *, time: str = "time", model: str = "model", service: str | None = None
    ) -> Workload:
        """A workload from single requests.

        Args:
            trace: A pandas frame, an Arrow table, a mapping of columns, or the path of a CSV or Parquet file.
            time: Column of arrival times: seconds, or timestamps.
            model: Column of target models.
            service: Column of seconds on a vCPU; a column named `service` is taken where None.

        Raises:
            InvalidInputError: Empty, a column missing, values absent or not finite, or all at the same time.
        """
        frame = frame_of(trace)
        for column in (time, model):
            if column not in frame.columns:
                found = ", ".join(map(str, frame.columns)) or "none"
                raise InvalidInputError(f"the trace has no column {column!r}; it has {found}")
        if not len(frame):
            raise InvalidInputError("the trace is empty")
        times = _seconds(frame[time], time)
        names = frame[model]
        unnamed = (names.isna() | (names.astype(str) == "")).to_numpy()
        if unnamed.any():
            raise InvalidInputError(f"the trace names no model in row {int(unnamed.argmax())}")
        served = None
        work = service or ("service" if "service" in frame.columns else None)
        if work is not None:
            if work not in frame.columns:
                raise InvalidInputError(f"the trace has no column {work!r}")
            served = _numbers(frame[work], work)
            if (served < 0).any():
                raise InvalidInputError(f"the trace has a negative {work!r} in row {int((served < 0).argmax())}")
        notes = []
        if (np.diff(times) < 0).any():
            notes.append("the trace was not in order of time; it was sorted")
            order = np.argsort(times, kind="stable")
            times, names = times[order], names.iloc[order]
            served = None if served is None else served[order]
        times = times - times[0]
        # A trace of n requests spans n gaps, of which the last is not seen.
        duration = float(times[-1]) * len(times) / max(1, len(times) - 1)
        if not duration > 0:
            raise InvalidInputError("all requests of the trace come at the same time: no rate can be told from it")
        codes, labels = names.astype(str).factorize()
        counts = np.bincount(codes, minlength=len(labels))
        index = codes.astype(np.int64)
        return cls(
            models=tuple(map(str, labels)),
            rates=counts / duration,
            cv=_gap_cv(times, index, len(labels)),
            duration=duration,
            times=times,
            index=index,
            service=served,
            notes=tuple(notes),
        )

    @classmethod
    def from_rates(
        cls, rates: Mapping[str, float] | Sequence[float], *, per: float = 1.0, cv: float = 1.0, diurnal: float = 0.0
    ) -> Workload:
        """A workload from mean rates.

        Args:
            rates: By target model; or a sequence, whose models are named `model-0001` and on.
            per: The unit of the rates in seconds: 1 for per second, 60 per minute, 86400 per day.
            cv: Coefficient of variation of the time between a model's requests.
            diurnal: Swing of the daily wave about the mean, 0 to 1.
        """
        check_number("per", per)
        if isinstance(rates, Mapping):
            names, values = tuple(map(str, rates)), list(rates.values())
        else:
            values = list(rates)
            names = tuple(f"model-{number + 1:04d}" for number in range(len(values)))
        for name, value in zip(names, values, strict=True):
            check_number(f"the rate of {name!r}", value, over=False)
        return cls(models=names, rates=np.asarray(values, dtype=float) / per, cv=cv, diurnal=diurnal)

    @classmethod
    def from_metrics(
        cls, metrics: EndpointMetrics, models: int | Sequence[str], *, instances: int = 1, exponent: float | None = None
    ) -> Workload:
        """A workload from what CloudWatch measured on an endpoint, which does not say how popular each model is.

        The popularity is taken to be Zipf's; its exponent is chosen so that the hit ratio that was measured comes out,
        with as many equal models in memory as were loaded.

        Args:
            metrics: As `mme_sdk.metrics.read_metrics` returns them.
            models: Models under the prefix: how many, or their names, most popular first.
            instances: How many instances there were.
            exponent: The skew, where it is known; nothing is fitted then.

        Raises:
            InvalidInputError: No invocations were measured; or the hit ratio or the loaded models were not, and no
                exponent is given.
        """
        if metrics.invocations.total <= 0:
            raise InvalidInputError(f"CloudWatch has no invocations of {metrics.endpoint} in that time")
        names = tuple(models) if not isinstance(models, int) else ()
        count = len(names) or int(models if isinstance(models, int) else 0)
        rates = synthetic.zipf_rates(count, rate=metrics.rate)  # refuses a count below 1
        note = f"popularity assumed to be Zipf's with exponent {exponent}"
        if exponent is None:
            hit, loaded = metrics.hit_ratio, metrics.loaded_models.mean
            if hit is None or loaded is None:
                raise InvalidInputError(
                    f"CloudWatch has no cache hits or loaded models of {metrics.endpoint} to fit the popularity to",
                    hint="give exponent=0.9, say",
                )
            exponent = _fitted_exponent(count, metrics.rate, loaded * instances, hit)
            note = f"popularity fitted: Zipf's with exponent {exponent:.2f} gives the hit ratio of {hit:.1%}"
        rates = synthetic.zipf_rates(count, exponent=exponent, rate=metrics.rate)
        names = names or tuple(f"model-{number + 1:04d}" for number in range(count))
        return cls(models=names, rates=rates, diurnal=_swing(metrics), notes=(note,))

    @classmethod
    def zipf(cls, models: int, *, exponent: float = 0.9, rate: float = 10.0, cv: float = 1.0) -> Workload:
        """Zipf popularity: see `synthetic.zipf_rates`."""
        return cls.from_rates(synthetic.zipf_rates(models, exponent=exponent, rate=rate).tolist(), cv=cv)

    @classmethod
    def power_law(cls, models: int, *, exponent: float = 0.5, rate: float = 10.0, cv: float = 4.0) -> Workload:
        """AlpaServe's traffic: see `synthetic.power_law_rates`; its bursts have a CV of 1 to 12."""
        return cls.from_rates(synthetic.power_law_rates(models, exponent=exponent, rate=rate).tolist(), cv=cv)

    @classmethod
    def azure(
        cls, models: int, *, rate: float | None = None, cv: float = 1.0, diurnal: float = 0.0, seed: int = 0
    ) -> Workload:
        """Popularity as on Azure Functions: see `synthetic.azure_rates`."""
        rates = synthetic.azure_rates(models, rate=rate, seed=seed)
        return cls.from_rates(rates.tolist(), cv=cv, diurnal=diurnal)

    # -- to what is needed ----------------------------------------------------------------------------------------

    def sample(self, duration: float, *, seed: int = 0) -> Workload:
        """A trace drawn from the rates; of a trace, its first so many seconds.

        Args:
            duration: Seconds.
            seed: Of the draw.

        Raises:
            InvalidInputError: Nothing arrives in that time.
        """
        check_number("duration", duration)
        check_number("seed", seed, over=False, integer=True)
        if self.times is not None and self.index is not None:
            keep = self.times < duration
            service = None if self.service is None else self.service[keep]
            return attrs.evolve(
                self,
                times=self.times[keep],
                index=self.index[keep],
                service=service,
                duration=min(duration, self.duration),
            )
        rng = np.random.default_rng(seed)
        times, index = synthetic.arrivals(self.rates, duration, cv=self.cv, diurnal=self.diurnal, rng=rng)
        if not len(times):
            raise InvalidInputError(f"nothing arrives within {duration:g} s at {self.rate:.3g} requests/s")
        return attrs.evolve(self, times=times, index=index, duration=duration)

    def scaled(self, *, traffic: float = 1.0, models: float = 1.0) -> Workload:
        """More of the same: `traffic` times the requests, spread over `models` times as many models of like popularity.

        A trace is turned up by running it faster, and copied for more models, each copy shifted within the trace.
        """
        check_number("traffic", traffic)
        check_number("models", models)
        copies = max(1, round(models))
        if copies == 1 and models != 1.0:
            kept = max(1, round(len(self.models) * models))
            return self._first(kept).scaled(traffic=traffic)
        names = tuple(name if not copy else f"{name}#{copy + 1}" for copy in range(copies) for name in self.models)
        rates = np.tile(self.rates, copies) * traffic / copies
        if self.times is None or self.index is None:
            return attrs.evolve(self, models=names, rates=rates)
        # Each copy holds 1/copies of the traffic: the trace runs slower by as much.
        stretch = copies / traffic
        duration = self.duration * stretch
        times = np.concatenate([(self.times * stretch + copy * duration / copies) % duration for copy in range(copies)])
        index = np.concatenate([self.index + copy * len(self.models) for copy in range(copies)])
        order = np.argsort(times, kind="stable")
        service = None if self.service is None else np.tile(self.service, copies)[order]
        return attrs.evolve(
            self, models=names, rates=rates, times=times[order], index=index[order], service=service, duration=duration
        )

    def _first(self, count: int) -> Workload:
        """The most popular so many models with all the traffic of the rest laid on them in proportion."""
        return self.only(np.argsort(-self.rates, kind="stable")[:count]).scaled(
            traffic=self.rate / float(np.sort(self.rates)[::-1][:count].sum())
        )

    def only(self, which: Ints | Sequence[int]) -> Workload:
        """The traffic of some models alone.

        Args:
            which: Their indices.
        """
        which = np.asarray(which, dtype=np.int64)
        if len(which) and not 0 <= which.min() <= which.max() < len(self.models):
            raise InvalidInputError(f"the workload has {len(self.models)} models, numbered from 0")
        names = tuple(self.models[int(each)] for each in which)
        if self.times is None or self.index is None:
            return attrs.evolve(self, models=names, rates=self.rates[which])
        position = np.full(len(self.models), -1, dtype=np.int64)
        position[which] = np.arange(len(which))
        keep = position[self.index] >= 0
        service = None if self.service is None else self.service[keep]
        return attrs.evolve(
            self, models=names, rates=self.rates[which], times=self.times[keep], index=position[self.index][keep],
            service=service,
        )  # fmt: skip

    def peak_factor(self, window: float = 60.0) -> float:
        """Traffic of the busiest window over the mean: the 99th percentile of windows of a trace, else of the wave.

        Args:
            window: Seconds.
        """
        if self.times is None or self.duration < 20 * window:
            return 1.0 + self.diurnal
        counts = np.bincount((self.times / window).astype(np.int64))[: int(self.duration // window)]
        return float(max(1.0, np.quantile(counts, 0.99) / max(counts.mean(), 1e-12)))


def _fitted_exponent(count: int, rate: float, capacity: float, hit: float) -> float:
    """The Zipf exponent, 0 to 3, whose hit ratio by Che is nearest to what was measured."""
    from mme_sdk.planning.analysis import che

    def gives(exponent: float) -> float:
        rates = synthetic.zipf_rates(count, exponent=exponent, rate=rate)
        return float(che(rates, np.ones(count), max(capacity, 1e-9)) @ rates / rate)

    low, high = 0.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if gives(middle) < hit else (low, middle)
    return round((low + high) / 2.0, 4)


def _swing(metrics: EndpointMetrics) -> float:
    """Swing of the daily wave: half of what lies between the busiest and the quietest hour, over the mean."""
    if (metrics.end - metrics.start).total_seconds() < 86400 * 0.9:
        return 0.0
    hours = [0.0] * 24
    for time, value in metrics.invocations:
        hours[time.hour] += value
    mean = sum(hours) / 24.0
    return min(1.0, (max(hours) - min(hours)) / 2.0 / mean) if mean else 0.0


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)  # numpy's repr names its type


def _numbers(column: Any, name: str) -> Floats:
    import pandas as pd

    numbers: Any = pd.to_numeric(column, errors="coerce")
    values = numbers.to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInputError(
            f"the trace has {_shown(column.iloc[at])} for {name!r} in row {at}; it must be a finite number"
        )
    return np.asarray(values)


def _seconds(column: Any, name: str) -> Floats:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return _numbers(column, name)
    moments = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    if moments.isna().any():
        at = int(moments.isna().to_numpy().argmax())
        raise InvalidInputError(
            f"the trace has {_shown(column.iloc[at])} for {name!r} in row {at}; it must be seconds or a timestamp",
            hint="timestamps are read as ISO 8601 has them",
        )
    start = moments.iloc[0]
    return np.asarray((moments - start).dt.total_seconds().to_numpy(dtype=float))


def _gap_cv(times: Floats, index: Ints, models: int) -> float:
    """Coefficient of variation of the gaps between a model's requests, each gap relative to its model's mean gap."""
    order = np.lexsort((times, index))
    gaps, same = np.diff(times[order]), np.diff(index[order]) == 0
    owner = index[order][1:][same]
    gaps = gaps[same]
    counts = np.bincount(owner, minlength=models)
    means = np.bincount(owner, weights=gaps, minlength=models) / np.maximum(counts, 1)
    enough = (counts[owner] >= 5) & (means[owner] > 0)
    if enough.sum() < 20:
        return 1.0
    relative = gaps[enough] / means[owner][enough]
    return float(np.sqrt(np.mean((relative - 1.0) ** 2)))
