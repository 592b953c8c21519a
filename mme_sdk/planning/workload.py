"""The traffic of a set of models: from a trace, from rates, from CloudWatch, or synthetic."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import numpy as np

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError
from mme_sdk.metrics import EndpointMetrics
from mme_sdk.planning import synthetic
from mme_sdk.planning.observed import amplitude, fitted_exponent, recorded_traffic
from mme_sdk.planning.simulation.inputs import Floats, Ints
from mme_sdk.planning.traces import read_trace
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["Workload"]


@short_tracebacks
@attrs.frozen(kw_only=True, eq=False)
class Workload:
    """The traffic of a set of models.

    Attributes:
        models: Names of the target models, each once.
        rates: Mean requests per second of each model, 0 or more; an array with one element for each model.
        cv: Coefficient of variation of the time between a model's requests; 1 (the default) is Poisson traffic. For a
            trace it is measured.
        diurnal: Amplitude of the daily wave, relative to the mean, 0 (the default) to 1.
        duration: Length of the trace, seconds; 0 (the default) without a trace.
        times: Arrival time of each request of the trace, seconds from its start; None (the default) without a trace.
        index: Position in `models` of each request's model; None (the default) without a trace.
        service: Time of each request on a vCPU, seconds; None (the default) if the trace has none.
        notes: Corrections that were made while reading, in words. Default empty.

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
            raise InvalidInputError("the workload has two models of the same name")
        if len(self.models) != len(self.rates):
            raise InvalidInputError(f"{len(self.models)} models but {len(self.rates)} rates")
        bad = ~(np.isfinite(self.rates) & (self.rates >= 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise InvalidInputError(
                f"the rate of {self.models[at]!r} is {float(self.rates[at])!r}; it must be a finite number, 0 or more"
            )
        if not self.rates.sum() > 0:
            raise InvalidInputError("the workload has no requests: every rate is 0")
        check_number("cv", self.cv, over=0 if self.times is None else None, at_least=0)
        check_number("diurnal", self.diurnal, at_least=0, at_most=1)

    @property
    def rate(self) -> float:
        """Total requests per second."""
        return float(self.rates.sum())

    @property
    def is_trace(self) -> bool:
        """Whether the workload has single requests, not only rates."""
        return self.times is not None

    @property
    def requests(self) -> int:
        """Number of requests of the trace; 0 without a trace."""
        return 0 if self.times is None else len(self.times)

    def __repr__(self) -> str:
        top = float(np.sort(self.rates)[::-1][: max(1, len(self.models) // 10)].sum() / self.rate)
        kind = f"{self.requests:,} requests in {self.duration:,.0f} s, " if self.times is not None else ""
        return (
            f"<Workload of {len(self.models):,} models: {kind}{self.rate:.3g} requests/s, top tenth of the models "
            f"{top:.0%} of the traffic, inter-arrival CV {self.cv:.2g}>"
        )

    # -- constructors --------------------------------------------------------------------------------------------

    @classmethod
    def from_trace(
        cls, trace: Any, *, time: str = "time", model: str = "model", service: str | None = None
    ) -> Workload:
        """Read a workload from a table with one row for each request.

        Args:
            trace: A pandas DataFrame, an Arrow table, a mapping of columns, or the path of a CSV or Parquet file.
            time: Column of arrival times: numbers in seconds, or ISO 8601 timestamps. Default `time`.
            model: Column of target models. Default `model`.
            service: Column of times on a vCPU, seconds; None (the default) uses the column `service` if it exists.

        Returns:
            The workload.

        Raises:
            InvalidInputError: The table is empty, a column does not exist, a value is missing or not finite, or all
                requests have the same time.

        Example:
            >>> load = Workload.from_trace({"time": [0.0, 1.0, 4.0], "model": ["a", "b", "a"]})
            >>> load.models, load.rate
            (('a', 'b'), 0.5)
        """
        return cls(**read_trace(trace, time=time, model=model, service=service))

    @classmethod
    def from_rates(
        cls, rates: Mapping[str, float] | Sequence[float], *, per: float = 1.0, cv: float = 1.0, diurnal: float = 0.0
    ) -> Workload:
        """Make a workload from mean rates.

        Args:
            rates: Requests in the time `per`, by target model; or a sequence, whose models get the names `model-0001`,
                `model-0002` and so on.
            per: Unit of the rates, seconds: 1 (the default) for requests per second, 60 per minute, 86400 per day.
            cv: Coefficient of variation of the time between a model's requests. Default 1 (Poisson).
            diurnal: Amplitude of the daily wave, relative to the mean, 0 (the default) to 1.

        Returns:
            The workload.

        Raises:
            InvalidInputError: A rate is negative or not finite, or every rate is 0.

        Example:
            >>> Workload.from_rates({"fraud.tar.gz": 120, "churn.tar.gz": 30}, per=60).rate
            2.5
        """
        check_number("per", per, over=0)
        if isinstance(rates, Mapping):
            names, values = tuple(map(str, rates)), list(rates.values())
        else:
            values = list(rates)
            names = tuple(f"model-{number + 1:04d}" for number in range(len(values)))
        for name, value in zip(names, values, strict=True):
            check_number(f"the rate of {name!r}", value, at_least=0)
        return cls(models=names, rates=np.asarray(values, dtype=float) / per, cv=cv, diurnal=diurnal)

    @classmethod
    def from_metrics(
        cls, metrics: EndpointMetrics, models: int | Sequence[str], *, instances: int = 1, exponent: float | None = None
    ) -> Workload:
        """Make a workload from the CloudWatch metrics of an endpoint.

        CloudWatch has no metrics for single models. The popularity is assumed to follow Zipf's law. Its exponent is
        fitted: with the measured number of loaded models, all of equal size, the formula gives the measured hit ratio.

        Args:
            metrics: The metrics, from `endpoint.metrics()`.
            models: Number of models under the prefix, or their names, most popular first.
            instances: Number of instances of the endpoint at that time. Default 1.
            exponent: Exponent of Zipf's law; None (the default) fits it.

        Returns:
            The workload; its `notes` tell the exponent.

        Raises:
            InvalidInputError: CloudWatch has no invocations; or it has no hit ratio or no loaded models, and
                `exponent` is None.
        """
        if metrics.invocations.total <= 0:
            raise InvalidInputError(f"CloudWatch has no invocations of {metrics.endpoint} in that time")
        names = tuple(models) if not isinstance(models, int) else ()
        count = len(names) or int(models if isinstance(models, int) else 0)
        rates = synthetic.zipf_rates(count, rate=metrics.rate)  # raises for a count below 1
        note = f"popularity assumed to be Zipf's with exponent {exponent}"
        if exponent is None:
            hit, loaded = metrics.hit_ratio, metrics.loaded_models.mean
            if hit is None or loaded is None:
                raise InvalidInputError(
                    f"CloudWatch has no cache hits or loaded models of {metrics.endpoint} to fit the popularity to",
                    hint="pass an exponent, such as exponent=0.9",
                )
            exponent = fitted_exponent(count, metrics.rate, loaded * instances, hit)
            note = f"popularity fitted: Zipf's with exponent {exponent:.2f} gives the hit ratio of {hit:.1%}"
        rates = synthetic.zipf_rates(count, exponent=exponent, rate=metrics.rate)
        names = names or tuple(f"model-{number + 1:04d}" for number in range(count))
        return cls(models=names, rates=rates, diurnal=amplitude(metrics), notes=(note,))

    @classmethod
    def from_recordings(
        cls,
        source: str | os.PathLike[str] | Iterable[RecordedMinute],
        *,
        endpoint: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Workload:
        """Make a workload from the recordings of callers: the rate of each model as it was.

        Args:
            source: What recorders were given as `files`, or what `read_recordings` returned.
            endpoint: Name of the endpoint, if the recordings have several. Default: None.
            start: Time from which to read, with a time zone. Default: None, from the first.
            end: Time before which to read, with a time zone. Default: None, to the last.

        Returns:
            The workload. Its `notes` tell what part of the calls is not recorded by model.

        Raises:
            InvalidInputError: There are no calls of models, or of several endpoints.

        Example:
            ```python
            load = Workload.from_recordings("s3://ml-logs/recordings/", endpoint="scoring")
            ```
        """
        if isinstance(source, str | os.PathLike):
            from mme_sdk.recording.files import read_recordings

            source = read_recordings(source, start=start, end=end, endpoint=endpoint)
        return cls(**recorded_traffic(source, endpoint=endpoint, start=start, end=end))

    @classmethod
    def zipf(cls, models: int, *, exponent: float = 0.9, rate: float = 10.0, cv: float = 1.0) -> Workload:
        """Make a workload whose popularity follows Zipf's law: rates proportional to `rank ** -exponent`.

        Args:
            models: Number of models.
            exponent: Exponent; 0.6, 0.9 and 1.2 are usual for web objects. Default 0.9.
            rate: Total requests per second. Default 10.
            cv: Coefficient of variation of the time between a model's requests. Default 1 (Poisson).

        Returns:
            The workload, most popular model first.

        Raises:
            InvalidInputError: An argument is out of range.
        """
        return cls.from_rates(synthetic.zipf_rates(models, exponent=exponent, rate=rate).tolist(), cv=cv)

    @classmethod
    def power_law(cls, models: int, *, exponent: float = 0.5, rate: float = 10.0, cv: float = 4.0) -> Workload:
        """Make a workload as AlpaServe does (Li et al., OSDI 2023, section 6): power-law rates and bursts.

        Args:
            models: Number of models.
            exponent: Exponent of the power law. Default 0.5, as in the paper.
            rate: Total requests per second. Default 10.
            cv: Coefficient of variation of the time between a model's requests; the paper uses 1 to 12. Default 4.

        Returns:
            The workload, most popular model first.

        Raises:
            InvalidInputError: An argument is out of range.
        """
        return cls.from_rates(synthetic.power_law_rates(models, exponent=exponent, rate=rate).tolist(), cv=cv)

    @classmethod
    def azure(
        cls, models: int, *, rate: float | None = None, cv: float = 1.0, diurnal: float = 0.0, seed: int = 0
    ) -> Workload:
        """Make a workload whose popularity is that of Azure Functions (Shahrad et al., USENIX ATC 2020).

        Args:
            models: Number of models.
            rate: Total requests per second; None (the default) keeps the rates of Azure Functions.
            cv: Coefficient of variation of the time between a model's requests. Default 1 (Poisson).
            diurnal: Amplitude of the daily wave, relative to the mean, 0 (the default) to 1.
            seed: Seed of the draw. Default 0.

        Returns:
            The workload, most popular model first.

        Raises:
            InvalidInputError: An argument is out of range.
        """
        rates = synthetic.azure_rates(models, rate=rate, seed=seed)
        return cls.from_rates(rates.tolist(), cv=cv, diurnal=diurnal)

    # -- derived workloads ----------------------------------------------------------------------------------------

    def sample(self, duration: float, *, seed: int = 0) -> Workload:
        """Draw a trace from the rates; of a trace, return the first part.

        Args:
            duration: Length of the trace, seconds.
            seed: Seed of the draw, 0 or more. Default 0.

        Returns:
            The workload with single requests.

        Raises:
            InvalidInputError: An argument is out of range, or no request arrives in that time.
        """
        check_number("duration", duration, over=0)
        check_number("seed", seed, at_least=0, integer=True)
        if self.times is not None and self.index is not None:
            keep = self.times < duration
            service = None if self.service is None else self.service[keep]
            return self._trace(self.times[keep], self.index[keep], min(duration, self.duration), service)
        rng = np.random.default_rng(seed)
        times, index = synthetic.arrivals(self.rates, duration, cv=self.cv, diurnal=self.diurnal, rng=rng)
        if not len(times):
            raise InvalidInputError(f"no request arrives within {duration:g} s at {self.rate:.3g} requests/s")
        return self._trace(times, index, duration)

    def _trace(self, times: Floats, index: Ints, duration: float, service: Floats | None = None) -> Workload:
        rates = np.bincount(index, minlength=len(self.models)) / duration  # as they are in this trace
        return attrs.evolve(self, rates=rates, times=times, index=index, duration=duration, service=service)

    def scaled(self, *, traffic: float = 1.0, models: float = 1.0) -> Workload:
        """Return the workload with more or fewer requests and models.

        A trace runs faster for more requests. For more models it is copied, and each copy starts at another time.

        Args:
            traffic: Factor on the number of requests. Default 1.
            models: Factor on the number of models; the traffic is spread over them. Default 1.

        Returns:
            The changed workload.

        Raises:
            InvalidInputError: A factor is not over 0.
        """
        check_number("traffic", traffic, over=0)
        check_number("models", models, over=0)
        copies = max(1, round(models))
        if copies == 1 and models != 1.0:
            kept = max(1, round(len(self.models) * models))
            return self._first(kept).scaled(traffic=traffic)
        names = tuple(name if not copy else f"{name}#{copy + 1}" for copy in range(copies) for name in self.models)
        rates = np.tile(self.rates, copies) * traffic / copies
        if self.times is None or self.index is None:
            return attrs.evolve(self, models=names, rates=rates)
        # Each copy gets 1/copies of the traffic, so the trace is stretched by the same factor.
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
        """Return the most popular models, with the traffic of all models in proportion to their rates."""
        return self.only(np.argsort(-self.rates, kind="stable")[:count]).scaled(
            traffic=self.rate / float(np.sort(self.rates)[::-1][:count].sum())
        )

    def only(self, which: Ints | Sequence[int]) -> Workload:
        """Return the traffic of some of the models.

        Args:
            which: Positions of the models in `models`.

        Returns:
            The workload of these models.

        Raises:
            InvalidInputError: A position is out of range.
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
        """Return the ratio of the busiest traffic to the mean.

        For a trace it is the 99th percentile of the windows, relative to their mean; otherwise the top of the daily
        wave.

        Args:
            window: Length of a window, seconds. Default 60.

        Returns:
            The ratio, 1 or more.
        """
        if self.times is None or self.duration < 20 * window:
            return 1.0 + self.diurnal
        counts = np.bincount((self.times / window).astype(np.int64))[: int(self.duration // window)]
        return float(max(1.0, np.quantile(counts, 0.99) / max(counts.mean(), 1e-12)))
