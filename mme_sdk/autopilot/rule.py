"""The rule: the number of instances whose price and cold seconds together cost least.

For each number of instances, Che's formula gives the models in memory, and from that the loads and the cold calls.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs
import numpy as np

from mme_sdk._validation import instance, number, optional
from mme_sdk.autopilot.demand import WINDOWS, Demand, Machine
from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.analysis import Poisson, Tabulated, erlang_c
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["Forecast", "Goal", "Need", "Rule", "need"]

_AGES = 96  # rows of the residency table: Che's age to about a percent
_share = number(over=0, at_most=1)


@attrs.frozen(kw_only=True)
class Goal:
    """What cold calls are worth: one of three figures.

    Attributes:
        cold_seconds_per_hour: How many seconds that callers wait for a load are worth one instance-hour.
        price_of_cold_second: What a second that a caller waits for a load is worth, in the currency of the prices.
        cold_share: Largest share of the calls that may be cold, over 0 to 1. Then price is the only thing that counts.

    Example:
        >>> Goal(price_of_cold_second=0.0005).seconds(0.20)
        400.0
    """

    cold_seconds_per_hour: float | None = attrs.field(default=None, validator=optional(number(over=0)))
    price_of_cold_second: float | None = attrs.field(default=None, validator=optional(number(over=0)))
    cold_share: float | None = attrs.field(default=None, validator=optional(_share))

    def __attrs_post_init__(self) -> None:
        given = [one for one in attrs.astuple(self) if one is not None]
        if len(given) != 1:
            raise InvalidInputError("Goal: give one of cold_seconds_per_hour, price_of_cold_second and cold_share")

    def seconds(self, price: float | None) -> float:
        """Return how many cold seconds are worth one instance-hour; infinite for a share.

        Args:
            price: Price of an instance and hour; None if it is unknown.

        Raises:
            InvalidInputError: The goal is a price, and the price of an instance is unknown.
        """
        if self.cold_seconds_per_hour is not None:
            return float(self.cold_seconds_per_hour)
        if self.price_of_cold_second is None:
            return float("inf")
        if price is None:
            raise InvalidInputError(
                "Goal: a price of a cold second needs the price of an instance", hint="give Machine(…) a price"
            )
        return price / self.price_of_cold_second


@attrs.frozen(kw_only=True)
class Rule:
    """The limits and times of the rule.

    Attributes:
        goal: What cold calls are worth.
        loader_limit: Largest utilisation of the loader slots, over 0 to 1. Default 0.4.
        vcpu_limit: Largest utilisation of the vCPUs, over 0 to 1. Default 0.75.
        fast_calls: Calls of a model within 5 minutes from which this window counts for it. Default 10.
        packing: Share of the memory of all instances that called models fill before the first of them is evicted, over
            0 to 1. It is below 1 because SageMaker keeps a model on the instance where it was placed, so that some
            instances evict models while others have space. Default 0.95, as simulated.
        shrink_after: Minutes for which fewer instances must suffice before one is removed. Default 30.
    """

    goal: Goal = attrs.field(validator=instance(Goal))
    loader_limit: float = attrs.field(default=0.4, validator=_share)
    vcpu_limit: float = attrs.field(default=0.75, validator=_share)
    fast_calls: int = attrs.field(default=10, validator=number(at_least=1, integer=True))
    packing: float = attrs.field(default=0.95, validator=_share)
    shrink_after: int = attrs.field(default=30, validator=number(at_least=1, integer=True))


@attrs.frozen(kw_only=True)
class Forecast:
    """What a number of instances gives at the rates of a demand, by formula.

    Attributes:
        count: Number of instances.
        cold_share: Share of the calls that wait for a load, 0 to 1.
        cold_seconds: Seconds that callers wait for loads, in an hour; infinite if the loader slots are overloaded.
        loaders: Utilisation of the loader slots.
        vcpus: Utilisation of the vCPUs.
    """

    count: int
    cold_share: float
    cold_seconds: float
    loaders: float
    vcpus: float


@attrs.frozen(kw_only=True)
class Need:
    """The number of instances that the rule wants.

    Attributes:
        count: The number.
        reason: Why this number, in words.
        forecasts: What each number within the limits gives, ascending.
    """

    count: int
    reason: str
    forecasts: tuple[Forecast, ...]

    def of(self, count: int) -> Forecast:
        """Return the forecast of a number of instances; that of the nearest one if it was not computed."""
        return min(self.forecasts, key=lambda one: abs(one.count - count))


def expected_rates(demand: Demand, rule: Rule) -> Floats:
    """Return the calls per second to expect of each model: the largest of the windows.

    A model with few calls in 5 minutes is counted over 15 minutes or more: one call in 5 minutes says little.
    """
    if not len(demand.models):
        return np.zeros(0)
    fast = np.where(demand.counts[:, 0] >= rule.fast_calls, demand.rates(0), 0.0)
    return np.asarray(np.max([fast, *(demand.rates(column) for column in range(1, len(WINDOWS)))], axis=0))


@attrs.frozen(eq=False, slots=False)
class _Fleet:
    """The models and the machine as arrays; `forecast` evaluates a number of instances."""

    rates: Floats
    memory: Floats
    disk: Floats
    load: Floats
    fetch: Floats
    service: Floats
    machine: Machine
    packing: float

    @cached_property
    def _table(self) -> tuple[Floats, np.ndarray[Any, Any]]:
        table = Tabulated.of(Poisson(self.rates), steps=_AGES)
        return np.log(table.ages), table.present_table

    def _hits(self, sizes: Floats, capacity: float) -> Floats:
        ages, present = self._table
        filled = present @ sizes
        if filled[-1] <= capacity:
            return np.ones(len(sizes))
        age = float(np.exp(np.interp(capacity, filled, ages)))
        return np.asarray(-np.expm1(-self.rates * age))

    def _copies(self, count: int) -> Floats:
        """Return the instances that hold each model: a model with many outstanding requests is on several."""
        spill = self.machine.spill_outstanding
        busy = np.maximum(self.rates * self.service / (0.6 * spill), (1.0 + self.rates * self.load) / spill)
        return np.clip(busy, 1.0, count)

    def forecast(self, count: int) -> Forecast:
        machine, rates = self.machine, self.rates
        copies = self._copies(count)
        usable = [
            # Half a model stays free on average, and the instances are not equally full.
            max(size * self.packing - float(sizes.mean()) / 2.0, float(sizes.max())) * count
            for size, sizes in ((machine.memory_bytes, self.memory), (machine.volume_bytes, self.disk))
        ]
        in_memory = self._hits(self.memory * copies, usable[0])
        on_volume = np.maximum(in_memory, self._hits(self.disk * copies, usable[1]))
        leads = rates * (1.0 - in_memory)
        fetched = np.divide(1.0 - on_volume, 1.0 - in_memory, out=np.zeros(len(rates)), where=in_memory < 1.0)
        holding = self.load + fetched * self.fetch
        work = float((leads * holding).sum())
        slots = machine.loader_slots * count
        wait = 0.0
        if work > 0:
            busy = work / count
            mean = work / float(leads.sum())
            slack = machine.loader_slots - busy
            wait = erlang_c(machine.loader_slots, busy) * mean / slack if slack > 0 else float("inf")
        duration = holding + wait
        if np.isfinite(wait):
            cold = np.minimum(rates, leads * (1.0 + rates * duration))
            seconds = float((leads * duration * (1.0 + rates * duration / 2.0)).sum()) * 3600.0
        else:
            cold, seconds = rates, float("inf")
        total = float(rates.sum())
        return Forecast(
            count=count,
            cold_share=float(cold.sum()) / total if total > 0 else 0.0,
            cold_seconds=seconds,
            loaders=work / slots,
            vcpus=float((rates * self.service).sum()) / (machine.vcpus * count),
        )


def need(
    demand: Demand, rule: Rule, machine: Machine, *, smallest: int, largest: int, rates: Floats | None = None
) -> Need:
    """Return the number of instances that the rule wants for a demand.

    Args:
        demand: The calls and the models.
        rule: The rule.
        machine: One instance.
        smallest: Smallest number of instances.
        largest: Largest number of instances.
        rates: Calls per second to expect of each model. Default: None, the largest of the demand's windows.

    Returns:
        The number, the reason, and what each number gives.

    Raises:
        InvalidInputError: A model is larger than an instance, or the goal is a price and the price is unknown.
    """
    worth = rule.goal.seconds(machine.price)
    rates = expected_rates(demand, rule) if rates is None else rates
    called = rates > 0
    if not called.any():
        idle = Forecast(count=smallest, cold_share=0.0, cold_seconds=0.0, loaders=0.0, vcpus=0.0)
        return Need(count=smallest, reason="no model was called in the last 60 minutes", forecasts=(idle,))
    fleet = _Fleet(
        rates=rates[called],
        memory=demand.column("memory_bytes")[called],
        disk=demand.column("disk_bytes")[called],
        load=demand.column("load_seconds")[called],
        fetch=machine.download_seconds(demand.column("archive_bytes"))[called],
        service=demand.column("service_seconds")[called],
        machine=machine,
        packing=rule.packing,
    )
    for sizes, space, what in (
        (fleet.memory, machine.memory_bytes, "memory"),
        (fleet.disk, machine.volume_bytes, "space on the volume"),
    ):
        if float(sizes.max()) > space:
            largest_model = demand.models[int(np.flatnonzero(called)[np.argmax(sizes)])]
            raise InvalidInputError(
                f"model {largest_model!r} is larger than an instance of {machine.instance_type}: it needs "
                f"{sizes.max():,.0f} bytes of {what}, and there are {space:,}"
            )
    forecasts = tuple(fleet.forecast(count) for count in range(smallest, largest + 1))
    able = [one for one in forecasts if one.loaders <= rule.loader_limit and one.vcpus <= rule.vcpu_limit]
    if not able:
        last = forecasts[-1]
        reason = (
            f"even {largest} instances, the largest number allowed, leave the loader slots {last.loaders:.0%} and the "
            f"vCPUs {last.vcpus:.0%} busy (limits {rule.loader_limit:.0%} and {rule.vcpu_limit:.0%})"
        )
        return Need(count=largest, reason=reason, forecasts=forecasts)
    if rule.goal.cold_share is not None:
        meeting = [one for one in able if one.cold_share <= rule.goal.cold_share]
        best = meeting[0] if meeting else able[-1]
        reason = f"{best.count} instances are the fewest with at most {rule.goal.cold_share:.2%} cold calls"
        if not meeting:
            reason = f"no allowed number of instances gives at most {rule.goal.cold_share:.2%} cold calls"
    else:
        best = min(able, key=lambda one: (one.count + one.cold_seconds / worth, one.count))
        reason = (
            f"{best.count} instances and {best.cold_seconds:,.0f} cold seconds an hour cost least, "
            f"at {worth:,.0f} cold seconds for an instance-hour"
        )
    if best is able[0] and best.count > smallest:
        before = forecasts[best.count - 1 - smallest]
        what, limit = (
            ("vCPUs", rule.vcpu_limit) if before.vcpus > rule.vcpu_limit else ("loader slots", rule.loader_limit)
        )
        reason = f"with {best.count - 1} instances, the {what} would be busier than {limit:.0%}"
    return Need(count=best.count, reason=reason, forecasts=forecasts)
