"""The rule: the number of instances whose price and cold seconds together cost least.

For each number of instances, Che's formula gives the models in memory, and from that the loads and the cold calls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import attrs
import numpy as np

from mme_sdk._validation import instance, number, optional
from mme_sdk.autopilot.demand import WINDOWS, Demand, Machine
from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.analysis import Poisson, Tabulated, erlang_c
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["Forecast", "Goal", "Need", "Rule", "corrected_packing", "need"]

_AGES = 96  # rows of the residency table: Che's age to about a percent
_GAIN = 0.0015  # of the correction in a minute: ten times as many cold calls lower the packing by 1 % in 3 minutes
_LEAST = 0.8  # the packing is never corrected to less
_NEGLIGIBLE = 0.003  # a share of cold calls below this says little
_share = number(over=0, at_most=1)


@attrs.frozen(kw_only=True)
class Goal:
    """What cold calls are worth: a value of waiting, a largest share of cold calls, or both.

    Attributes:
        cold_seconds_per_hour: How many seconds that callers wait for a load are worth one instance-hour.
        price_of_cold_second: What a second that a caller waits for a load is worth, in the currency of the prices.
            Give one of these two at most.
        cold_share: Largest share of the calls that may be cold, over 0 to 1. Alone, the fewest instances that keep it
            are wanted; with a value of waiting, the number that costs least among those that keep it.

    Example:
        >>> Goal(price_of_cold_second=0.0005).seconds(0.20)
        400.0
    """

    cold_seconds_per_hour: float | None = attrs.field(default=None, validator=optional(number(over=0)))
    price_of_cold_second: float | None = attrs.field(default=None, validator=optional(number(over=0)))
    cold_share: float | None = attrs.field(default=None, validator=optional(_share))

    def __attrs_post_init__(self) -> None:
        if self.cold_seconds_per_hour is not None and self.price_of_cold_second is not None:
            raise InvalidInputError("Goal: give cold_seconds_per_hour or price_of_cold_second, not both")
        if all(one is None for one in attrs.astuple(self)):
            raise InvalidInputError("Goal: give cold_seconds_per_hour, price_of_cold_second or cold_share")

    def seconds(self, price: float | None) -> float:
        """Return how many cold seconds are worth one instance-hour; infinite if only a share is given.

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
            instances evict models while others have space. Default 0.95, as simulated. The measured share of cold
            calls corrects it, see `corrected_packing`.
        shrink_after: Minutes for which fewer instances must suffice before some are removed. Default 30.
        shrink_by: Largest number of instances that are removed at a time; never more than sufficed throughout these
            minutes. Default 1.
    """

    goal: Goal = attrs.field(validator=instance(Goal))
    loader_limit: float = attrs.field(default=0.4, validator=_share)
    vcpu_limit: float = attrs.field(default=0.75, validator=_share)
    fast_calls: int = attrs.field(default=10, validator=number(at_least=1, integer=True))
    packing: float = attrs.field(default=0.95, validator=_share)
    shrink_after: int = attrs.field(default=30, validator=number(at_least=1, integer=True))
    shrink_by: int = attrs.field(default=1, validator=number(at_least=1, integer=True))


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

    @classmethod
    def of(cls, demand: Demand, machine: Machine, rates: Floats, packing: float) -> _Fleet:
        """Return the fleet of the models that are called."""
        called = rates > 0
        return cls(
            rates=rates[called],
            memory=demand.column("memory_bytes")[called],
            disk=demand.column("disk_bytes")[called],
            load=demand.column("load_seconds")[called],
            fetch=machine.download_seconds(demand.column("archive_bytes"))[called],
            service=demand.column("service_seconds")[called],
            machine=machine,
            packing=packing,
        )

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


@attrs.frozen(kw_only=True, eq=False)
class Need:
    """The number of instances that the rule wants.

    Attributes:
        count: The number.
        reason: Why this number, in words.
        forecast: What a number of instances gives, by formula.
    """

    count: int
    reason: str
    forecast: Callable[[int], Forecast]


def corrected_packing(
    demand: Demand, rule: Rule, machine: Machine, *, count: int, packing: float, minutes: float
) -> float:
    """Return the packing after a comparison of the forecast with the measured share of cold calls.

    The correction is a factor: it lowers the packing if more calls were cold than the formula says, and raises it if
    fewer were. It is damped (a difference of a factor of 10 changes the packing by 1 % in 3 minutes), it fades (by half
    in six hours), and the result is between 0.8 and 1. A correction of the share itself would be of no use: next to
    the number of instances at which all models fit into memory, the forecast is nearly 0, and a multiple of it too.

    Args:
        demand: The calls, with the measured share of cold calls.
        rule: The rule, with the packing to which the correction fades.
        machine: One instance.
        count: Number of instances that ran while the share was measured.
        packing: The packing so far.
        minutes: Minutes since it was corrected the last time; more than 15 count as 15.

    Returns:
        The packing; that of the rule, or on its way to it, if no share was measured.
    """
    minutes = min(max(minutes, 0.0), float(WINDOWS[1]))
    faded = float(rule.packing * (packing / rule.packing) ** (0.5 ** (minutes / 360.0)))
    recent = demand.rates(1)
    if demand.cold_share is None or not recent.any():
        return faded
    called = recent > 0
    found = _Fleet.of(demand, machine, recent, packing).forecast(max(count, 1))
    # The first call of a model is cold whatever the number of instances; so are those that wait with it.
    first = called & (demand.counts[:, 1] == demand.counts[:, -1])
    duration = demand.column("load_seconds") + machine.download_seconds(demand.column("archive_bytes"))
    calls = float(demand.counts[:, 1].sum())
    expected = found.cold_share + float((1.0 + recent * duration)[first].sum()) / calls
    ratio = (expected + _NEGLIGIBLE) / (demand.cold_share + _NEGLIGIBLE)
    return float(min(max(faded * ratio ** (_GAIN * minutes), min(_LEAST, rule.packing)), 1.0))


def need(
    demand: Demand,
    rule: Rule,
    machine: Machine,
    *,
    smallest: int,
    largest: int,
    rates: Floats | None = None,
    packing: float | None = None,
) -> Need:
    """Return the number of instances that the rule wants for a demand.

    Args:
        demand: The calls and the models.
        rule: The rule.
        machine: One instance.
        smallest: Smallest number of instances.
        largest: Largest number of instances.
        rates: Calls per second to expect of each model. Default: None, the largest of the demand's windows.
        packing: Share of the memory that models fill. Default: None, that of the rule.

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
        return Need(
            count=smallest, reason="no model was called in the last 60 minutes",
            forecast=lambda count: attrs.evolve(idle, count=count),
        )  # fmt: skip
    fleet = _Fleet.of(demand, machine, rates, rule.packing if packing is None else packing)
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
    forecast = cache(fleet.forecast)

    def is_able(count: int) -> bool:
        found = forecast(count)
        return found.loaders <= rule.loader_limit and found.vcpus <= rule.vcpu_limit

    # More instances never give more cold calls and never busier slots or vCPUs, so that the first number is searched.
    share = rule.goal.cold_share
    numbers = range(smallest, largest + 1)
    able = bisect_left(numbers, True, key=is_able) + smallest
    if able > largest:
        last = forecast(largest)
        reason = (
            f"even {largest} instances, the largest number allowed, leave the loader slots {last.loaders:.0%} and the "
            f"vCPUs {last.vcpus:.0%} busy (limits {rule.loader_limit:.0%} and {rule.vcpu_limit:.0%})"
        )
        return Need(count=largest, reason=reason, forecast=forecast)
    least = able
    if share is not None:
        least += bisect_left(numbers[able - smallest :], True, key=lambda one: forecast(one).cold_share <= share)
        if least > largest:
            reason = f"no allowed number of instances gives at most {share:.2%} cold calls"
            return Need(count=largest, reason=reason, forecast=forecast)
    best, reason = least, f"{least} instances are the fewest with at most {share or 0.0:.2%} cold calls"
    if worth < float("inf"):
        cost = float("inf")
        for count in range(least, largest + 1):
            if count >= cost:
                break  # the instances alone cost more than the best number with its cold seconds
            found = count + forecast(count).cold_seconds / worth
            best, cost = (count, found) if found < cost else (best, cost)
        reason = (
            f"{best} instances and {forecast(best).cold_seconds:,.0f} cold seconds an hour cost least, "
            f"at {worth:,.0f} cold seconds for an instance-hour"
        )
        if least > able:
            reason += f", among those with at most {share or 0.0:.2%} cold calls"
    if best == able > smallest:
        what, limit = (
            ("vCPUs", rule.vcpu_limit)
            if forecast(best - 1).vcpus > rule.vcpu_limit
            else ("loader slots", rule.loader_limit)
        )
        reason = f"with {best - 1} instances, the {what} would be busier than {limit:.0%}"
    return Need(count=best, reason=reason, forecast=forecast)
