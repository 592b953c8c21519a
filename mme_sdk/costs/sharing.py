"""What each model or tenant of an endpoint costs: the bill of its instances, shared by memory and by time in use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from mme_sdk import instance_types
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["Cost", "CostRow", "share_cost"]

_HOURS_PER_MONTH = 730.0
_UTILISATION = 0.6  # of the vCPUs of a dedicated instance
_UNIT = 1_000_000  # the bill is shared in millionths of the currency's unit, so that the shares add up to it
_OTHERS = "(not recorded by name)"
_IDLE = "(no recorded calls)"


@attrs.frozen(kw_only=True)
class CostRow:
    """The cost of one model or tenant.

    Attributes:
        name: Target model or tenant; in parentheses, what cannot be assigned to one.
        amount: Its part of the bill.
        calls: Number of its calls.
        cold_wait_seconds: Seconds that its callers waited for models to load, an estimate.
        dedicated_monthly: Cost per month of its models on endpoints of their own, an estimate.
    """

    name: str
    amount: float
    calls: int
    cold_wait_seconds: float
    dedicated_monthly: float


@attrs.frozen(kw_only=True)
class Cost:
    """The cost of an endpoint in a time, and who caused it.

    Attributes:
        endpoint: Name of the endpoint.
        by: What the rows are: `model` or `tenant`.
        hours: Length of the time, in hours.
        currency: Currency of the prices, as the caller named it.
        total: Bill of the instances in that time. The amounts of the rows add up to it.
        monthly: Bill of a month of 730 hours with the same instances, a forecast.
        dedicated_monthly: Cost per month of an endpoint for each recorded model, an estimate.
        rows: The rows, the most expensive one first.
        estimated: What is estimated, and how.
    """

    endpoint: str
    by: Literal["model", "tenant"]
    hours: float
    currency: str
    total: float
    monthly: float
    dedicated_monthly: float
    rows: tuple[CostRow, ...]
    estimated: tuple[str, ...]


def share_cost(
    endpoint: str,
    instances: Iterable[tuple[str, int]],
    records: Iterable[RecordedMinute],
    *,
    hours: float,
    prices: Mapping[str, float],
    instance_hours: Sequence[float] | None = None,
    by: Literal["model", "tenant"] = "model",
    sizes: Mapping[str, int] | None = None,
    memory_share: float = 0.5,
    currency: str = "USD",
    estimated: tuple[str, ...] = (),
) -> Cost:
    """Share the bill of an endpoint's instances among its models or tenants.

    Args:
        endpoint: Name of the endpoint.
        instances: Instance type and number of instances of each variant, now.
        records: The calls by minute and model in that time.
        hours: Length of the time, in hours.
        prices: Price of an instance and hour, by instance type.
        instance_hours: Hours that the instances of each variant ran in that time, all together, in the order of
            `instances`. Default: None; the instances of now ran for the whole time.
        by: `model` or `tenant`. Default: `model`.
        sizes: Bytes of each model. Default: None; all models count as equally large.
        memory_share: Part of the bill that is shared by bytes in memory, 0 to 1; time in use shares the rest. Default:
            0.5.
        currency: Currency of the prices. Default: `USD`.
        estimated: Estimates that went into the arguments. Default: none.

    Returns:
        The cost. The amounts add up to the bill, to a millionth of the currency's unit.

    Raises:
        InvalidInputError: An argument is not valid, or a type has no price.
    """
    check_number("hours", hours, over=0)
    check_number("memory_share", memory_share, at_least=0, at_most=1)
    if by not in ("model", "tenant"):
        raise InvalidInputError(f"by must be 'model' or 'tenant', not {by!r}")
    instances = list(instances)
    if not instances:
        raise InvalidInputError(f"{endpoint} has no instances whose cost could be shared", endpoint=endpoint)
    for kind, _ in instances:
        if kind not in prices:
            raise InvalidInputError(f"there is no price of {kind}", hint=f"pass prices={{{kind!r}: …}}")
    ran = [count * hours for _, count in instances] if instance_hours is None else list(instance_hours)
    if len(ran) != len(instances):
        raise InvalidInputError(f"instance_hours has {len(ran)} numbers for {len(instances)} variants")
    for number in ran:
        check_number("instance_hours", number, at_least=0)
    hourly = math.fsum(prices[kind] * count for kind, count in instances)
    models = _models(record for record in records if record.endpoint == endpoint)
    known = {name: size for name, size in (sizes or {}).items() if size > 0}
    usual = sum(known.values()) / len(known) if known else 1.0
    kind = instances[0][0]
    workers = max(1, instance_types.vcpus(kind) or 1)
    memory: dict[str, float] = {}
    busy: dict[str, float] = {}
    calls: dict[str, int] = {}
    waits: dict[str, float] = {}
    dedicated: dict[str, float] = {}
    for (model, tenant), one in models.items():
        named = model if by == "model" else tenant
        name = _OTHERS if named is None else named
        memory[name] = memory.get(name, 0.0) + len(one.minutes) * known.get(model or "", usual)
        busy[name] = busy.get(name, 0.0) + one.warm_seconds
        calls[name] = calls.get(name, 0) + one.calls
        waits[name] = waits.get(name, 0.0) + one.wait
        needed = max(1, math.ceil(one.warm_seconds / (hours * 3600.0) / (_UTILISATION * workers)))
        if model is not None:
            dedicated[name] = dedicated.get(name, 0.0) + needed * prices[kind] * _HOURS_PER_MONTH
    if len(instances) > 1:
        estimated = (*estimated, "the variants share one bill; a call counts the same on each of them")
    total = round(math.fsum(prices[kind] * number for (kind, _), number in zip(instances, ran, strict=True)) * _UNIT)
    weights = _weights(memory, busy, memory_share) or {_IDLE: 1.0}
    rows = [
        CostRow(
            name=name,
            amount=amount / _UNIT,
            calls=calls.get(name, 0),
            cold_wait_seconds=waits.get(name, 0.0),
            dedicated_monthly=dedicated.get(name, 0.0),
        )
        for name, amount in _shared(total, weights).items()
    ]
    return Cost(
        endpoint=endpoint,
        by=by,
        hours=hours,
        currency=currency,
        total=total / _UNIT,
        monthly=hourly * _HOURS_PER_MONTH,
        dedicated_monthly=math.fsum(dedicated.values()),
        rows=tuple(sorted(rows, key=lambda row: (-row.amount, row.name))),
        estimated=(
            *estimated,
            "a model counts as in memory in each minute with a call, with the size of its archive",
            "the wait of a cold call is its time above the mean of the model's warm calls",
            f"dedicated hosting has an instance of {kind} for each recorded model, more if its vCPUs exceed 60 %",
        ),
    )


class _Model:
    """The sums of one model."""

    def __init__(self) -> None:
        self.minutes: set[object] = set()
        self.calls = self.cold = self.failed = 0
        self.warm_seconds = self.cold_seconds = 0.0

    @property
    def wait(self) -> float:
        warm = self.calls - self.cold - self.failed
        usual = self.warm_seconds / warm if warm > 0 else 0.0
        return max(0.0, self.cold_seconds - self.cold * usual)


def _models(records: Iterable[RecordedMinute]) -> dict[tuple[str | None, str | None], _Model]:
    found: dict[tuple[str | None, str | None], _Model] = {}
    for each in records:
        one = found.setdefault((each.model, each.tenant), _Model())
        one.minutes.add(each.at)
        one.calls += each.calls
        one.cold += each.cold
        one.failed += sum(each.errors.values())
        one.warm_seconds += each.warm_seconds
        one.cold_seconds += each.cold_seconds
    return found


def _weights(memory: Mapping[str, float], busy: Mapping[str, float], memory_share: float) -> dict[str, float]:
    all_memory, all_busy = math.fsum(memory.values()), math.fsum(busy.values())
    if not all_busy:
        memory_share = 1.0
    return {
        name: memory_share * memory[name] / all_memory + (1.0 - memory_share) * busy[name] / (all_busy or 1.0)
        for name in memory
    }


def _shared(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Return whole parts of a total in proportion to weights; the largest fractions get what is left."""
    sum_of = math.fsum(weights.values())
    exact = {name: total * weight / sum_of for name, weight in weights.items()}
    parts = {name: math.floor(value) for name, value in exact.items()}
    order = sorted(parts, key=lambda name: (parts[name] - exact[name], name))
    left = total - sum(parts.values())
    step = 1 if left > 0 else -1
    for at in range(abs(left)):
        parts[order[at % len(order)]] += step
    return parts
