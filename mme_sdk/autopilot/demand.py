"""What a decision starts from: the calls of each model in the last hour, the models' sizes and times, the instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import numpy as np

from mme_sdk._validation import check_instance, check_number, instance, number, optional
from mme_sdk.autopilot.checks import check_moment
from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.inputs import Assumptions
from mme_sdk.planning.advice.planner import instance_types
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.simulation.inputs import Floats, Ints
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["WINDOWS", "Demand", "Machine", "measured_cold_share", "minute_counts"]

WINDOWS = (5, 15, 30, 60)
"""Lengths of the windows over which calls are counted, minutes."""

_count = number(at_least=1, integer=True)
_MOST_CALLS = 10**12  # of a model in a minute; sums of them fit into 64 bits
_BITS = 8.0 / 1e9  # bytes to Gbit


@attrs.frozen(kw_only=True)
class Machine:
    """One instance of the endpoint.

    Attributes:
        instance_type: Name of the type, for reports.
        memory_bytes: Memory for models, bytes.
        volume_bytes: Space for models on the volume, bytes.
        vcpus: Number of vCPUs.
        loader_slots: Number of models that the instance downloads and loads at a time, at most 1000. Default 2.
        spill_outstanding: Number of outstanding requests for a model on one instance from which SageMaker loads the
            model on another instance. Default 8.
        s3_latency: Time until the first byte of a download, seconds. Default 0.2.
        s3_gbps: Bandwidth of one download, Gbit/s. Default 1.
        price: Price of an hour, in any currency. Default: None, unknown.

    Example:
        >>> Machine.of("ml.m5.xlarge", price=0.23).vcpus
        4
    """

    instance_type: str = attrs.field(validator=instance(str))
    memory_bytes: int = attrs.field(validator=_count)
    volume_bytes: int = attrs.field(validator=_count)
    vcpus: int = attrs.field(validator=_count)
    loader_slots: int = attrs.field(default=2, validator=number(at_least=1, at_most=1_000, integer=True))
    spill_outstanding: int = attrs.field(default=8, validator=_count)
    s3_latency: float = attrs.field(default=0.2, validator=number(at_least=0))
    s3_gbps: float = attrs.field(default=1.0, validator=number(over=0))
    price: float | None = attrs.field(default=None, validator=optional(number(over=0)))

    @classmethod
    def of(cls, instance_type: str, *, price: float | None = None, assumptions: Assumptions | None = None) -> Machine:
        """Return an instance of a type, by the same assumptions as a plan.

        Args:
            instance_type: Name of the type, such as `ml.m5.xlarge`.
            price: Price of an hour, in any currency. Default: None, unknown.
            assumptions: Figures that AWS does not document. Default: None, those of a plan.

        Returns:
            The instance.

        Raises:
            InvalidInputError: The type is not known.
        """
        check_instance("instance_type", instance_type, str)
        check_instance("assumptions", assumptions, Assumptions, type(None))
        known = instance_types()
        if instance_type not in known:
            raise InvalidInputError(
                f"the instance type {instance_type!r} is not known", hint="give Machine(…) its memory and vCPUs"
            )
        assumed = assumptions or Assumptions()
        config = fleet_config(known[instance_type], 1, assumed)
        return cls(
            instance_type=instance_type,
            memory_bytes=config.memory_bytes,
            volume_bytes=config.volume_bytes,
            vcpus=config.workers,
            loader_slots=config.loader_slots,
            spill_outstanding=config.spill_outstanding,
            s3_latency=assumed.s3_latency,
            s3_gbps=min(assumed.s3_gbps, known[instance_type].network_gbps),
            price=price,
        )

    def download_seconds(self, archive: Floats) -> Floats:
        """Return the time to download archives of these sizes (bytes), seconds."""
        return np.asarray(self.s3_latency + archive * _BITS / self.s3_gbps)


@attrs.frozen(kw_only=True, eq=False)
class Demand:
    """The calls of each model in the last 5, 15, 30 and 60 minutes, and what each model needs.

    Attributes:
        at: End of the windows, in UTC.
        models: Target models that were called in the last 60 minutes.
        counts: Calls of each model (row) in each window of `WINDOWS` (column).
        minutes: Minutes with data among the last 60; shorter than a window, they are its length.
        newest: Start of the newest minute with a call. None if there is none.
        profiles: Size and times of each model.
        unnamed: Calls in the last 60 minutes that are not recorded by model. Default 0.
        source: Where the counts come from: `recordings`, `cloudwatch` or `given`. Default `given`.
        cold_share: Measured share of cold calls in the last 15 minutes, 0 to 1. Default: None, unknown.
    """

    at: datetime
    models: tuple[str, ...]
    counts: Ints
    minutes: int = attrs.field(validator=number(at_least=1, at_most=WINDOWS[-1], integer=True))
    newest: datetime | None
    profiles: tuple[ModelProfile, ...]
    unnamed: int = attrs.field(default=0, validator=number(at_least=0, integer=True))
    source: str = attrs.field(default="given", validator=instance(str))
    cold_share: float | None = attrs.field(default=None, validator=optional(number(at_least=0, at_most=1)))

    def __attrs_post_init__(self) -> None:
        check_moment("Demand.at", self.at)
        if self.newest is not None:
            check_moment("Demand.newest", self.newest)
        if self.counts.shape != (len(self.models), len(WINDOWS)) or len(self.profiles) != len(self.models):
            raise InvalidInputError("counts must have a row for each model and a column for each window")

    @classmethod
    def of(
        cls,
        minutes: Mapping[datetime, Mapping[str, int]],
        *,
        at: datetime,
        catalogue: Catalogue,
        unnamed: int = 0,
        source: str = "given",
        since: datetime | None = None,
        cold_share: float | None = None,
    ) -> Demand:
        """Count the calls of the last hour.

        Args:
            minutes: Calls by target model, by the start of the minute.
            at: End of the windows, with a time zone. The minute that contains it is not over and does not count.
            catalogue: Size and times of each model.
            unnamed: Calls in the last 60 minutes that are not recorded by model. Default 0.
            source: Where the counts come from. Default `given`.
            since: When the counts begin, if that is less than an hour ago. Default: None, the first minute given.
            cold_share: Measured share of cold calls in the last 15 minutes. Default: None, unknown.

        Returns:
            The demand.

        Raises:
            InvalidInputError: A time has no time zone, a count is negative, or the catalogue has no profile of a model.
        """
        check_instance("minutes", minutes, Mapping)
        check_instance("catalogue", catalogue, Catalogue)
        end = _minute(at)
        ages = {moment: (end - _minute(moment)) // timedelta(minutes=1) for moment in minutes}
        totals: dict[str, list[int]] = {}
        newest: datetime | None = None
        for moment, calls in minutes.items():
            if not 1 <= ages[moment] <= WINDOWS[-1]:
                continue
            check_instance(f"the calls of {moment}", calls, Mapping)
            for model, count in calls.items():
                check_instance("a target model in the calls", model, str)
                check_number(f"the calls of {model!r}", count, at_least=0, at_most=_MOST_CALLS, integer=True)
                row = totals.setdefault(model, [0] * len(WINDOWS))
                for column, window in enumerate(WINDOWS):
                    row[column] += int(count) if ages[moment] <= window else 0
            if any(calls.values()) and (newest is None or moment > newest):
                newest = moment
        names = tuple(sorted(totals))
        begun = since or min((one for one, age in ages.items() if age >= 1), default=end)
        known = max(1, min(WINDOWS[-1], (end - _minute(begun)) // timedelta(minutes=1)))
        return cls(
            at=at.astimezone(UTC),
            models=names,
            counts=np.asarray([totals[name] for name in names], dtype=np.int64).reshape(len(names), len(WINDOWS)),
            minutes=known,
            newest=None if newest is None else newest.astimezone(UTC),
            profiles=tuple(catalogue[name] for name in names),
            unnamed=unnamed,
            source=source,
            cold_share=cold_share,
        )

    def rates(self, column: int) -> Floats:
        """Return the calls per second of each model in a window of `WINDOWS`."""
        return np.asarray(self.counts[:, column] / (60.0 * min(WINDOWS[column], self.minutes)))

    @property
    def calls(self) -> int:
        """Calls of all models in the last 60 minutes."""
        return int(self.counts[:, -1].sum())

    def column(self, name: str) -> Floats:
        """Return a field of each model's profile."""
        if name == "archive_bytes":
            return np.asarray([float(one.archive_bytes or one.disk_bytes) for one in self.profiles])
        return np.asarray([float(getattr(one, name)) for one in self.profiles])

    def to_dict(self) -> dict[str, Any]:
        """Return the demand as values that JSON has. Models of the same size and times share a profile."""
        distinct: dict[ModelProfile, int] = {}
        rows = {
            name: [*map(int, counts), distinct.setdefault(profile, len(distinct))]
            for name, counts, profile in zip(self.models, self.counts, self.profiles, strict=True)
        }
        return {
            "at": self.at.isoformat(),
            "models": rows,
            "minutes": self.minutes,
            "newest": None if self.newest is None else self.newest.isoformat(),
            "profiles": [attrs.asdict(one) for one in distinct],
            "unnamed": self.unnamed,
            "source": self.source,
            "cold_share": self.cold_share,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Demand:
        """Return the demand that `to_dict` gave."""
        profiles = [ModelProfile(**one) for one in given["profiles"]]
        rows = given["models"]
        counts = np.asarray([row[:-1] for row in rows.values()], dtype=np.int64)
        return cls(
            at=datetime.fromisoformat(given["at"]),
            models=tuple(rows),
            counts=counts.reshape(len(rows), len(WINDOWS)),
            minutes=given["minutes"],
            newest=None if given["newest"] is None else datetime.fromisoformat(given["newest"]),
            profiles=tuple(profiles[row[-1]] for row in rows.values()),
            unnamed=given["unnamed"],
            source=given["source"],
            cold_share=given.get("cold_share"),  # records of older versions have none
        )


def minute_counts(
    records: Iterable[RecordedMinute], endpoint: str, variant: str | None = None
) -> tuple[dict[datetime, dict[str, int]], dict[datetime, int]]:
    """Return the calls by minute and target model, and those of each minute that are not recorded by model.

    Args:
        records: The recorded minutes.
        endpoint: Name of the endpoint.
        variant: Only calls that this variant answered, and calls without an answer. Default: None, all calls.
    """
    named: dict[datetime, dict[str, int]] = {}
    unnamed: dict[datetime, int] = {}
    for one in records:
        if one.endpoint != endpoint or (variant is not None and one.variant not in (None, variant)):
            continue
        calls = named.setdefault(one.at, {})
        if one.model is None:
            unnamed[one.at] = unnamed.get(one.at, 0) + one.calls
        else:
            calls[one.model] = calls.get(one.model, 0) + one.calls
    return named, unnamed


def measured_cold_share(
    records: Iterable[RecordedMinute], endpoint: str, variant: str | None = None, *, at: datetime
) -> float | None:
    """Return the share of cold calls in the last 15 minutes; None without calls.

    Args:
        records: The recorded minutes.
        endpoint: Name of the endpoint.
        variant: Only calls that this variant answered, and calls without an answer. Default: None, all calls.
        at: End of the 15 minutes, with a time zone.
    """
    end = _minute(at)
    recent = [
        one
        for one in records
        if one.endpoint == endpoint
        and (variant is None or one.variant in (None, variant))
        and 1 <= (end - _minute(one.at)) // timedelta(minutes=1) <= WINDOWS[1]
    ]
    calls = sum(one.calls for one in recent)
    return sum(one.cold for one in recent) / calls if calls else None


def _minute(moment: datetime) -> datetime:
    check_moment("a time of calls", moment)
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
