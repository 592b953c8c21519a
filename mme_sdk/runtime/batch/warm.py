"""Warming up: which models are worth loading first, how many at a time, and when keeping one warm is a loss.

Under least-recently-used eviction memory is shared out by who is called last, so a model that is kept warm takes the
place of another. `keep_warm_advice` weighs the two with Che's approximation (Che, Tung, Wang, 2002): with a
characteristic time T, a model called at rate λ is found in memory with probability 1 - exp(-λT), and T is where the
sizes of those found fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError, MMEError, ModelInputError
from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = [
    "KeepWarmAdvice",
    "WarmOutcome",
    "WarmReport",
    "check_capacity",
    "keep_warm_advice",
    "outcome_of",
    "refuse_loss",
    "report_of",
    "warm_order",
    "warm_settings",
]

_TYPICAL_SIZE = 100_000_000  # bytes; of a model of which nothing is known


@attrs.frozen(kw_only=True)
class WarmOutcome:
    """What became of one model.

    Attributes:
        model: The target model.
        state: `loaded` now, `warm` already, `failed`, or `left out` because memory was full.
        took: Seconds.
        error: Why it failed.
    """

    model: str
    state: Literal["loaded", "warm", "failed", "left out"]
    took: float = 0.0
    error: MMEError | None = None


@attrs.frozen
class WarmReport:
    """What a warm-up did.

    Attributes:
        outcomes: One for each model, in the order of their worth.
    """

    outcomes: tuple[WarmOutcome, ...]

    @property
    def loaded(self) -> tuple[str, ...]:
        """Models that are loaded now."""
        return tuple(each.model for each in self.outcomes if each.state in ("loaded", "warm"))

    @property
    def failed(self) -> tuple[WarmOutcome, ...]:
        """Models that could not be loaded."""
        return tuple(each for each in self.outcomes if each.state == "failed")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Models for which there was no memory."""
        return tuple(each.model for each in self.outcomes if each.state == "left out")

    def __str__(self) -> str:
        took = sum(each.took for each in self.outcomes)
        return (
            f"{len(self.loaded)} models are loaded ({took:.1f} s of loading), {len(self.left_out)} did not fit, "
            f"{len(self.failed)} failed"
        )


def warm_order(
    models: Iterable[str | ModelVersion],
    *,
    endpoint: str,
    memory: Memory,
    expected: Mapping[str, float] | None = None,
    capacity: int | None = None,
) -> tuple[list[str | ModelVersion], list[str | ModelVersion]]:
    """Which models to load, in the order of rate times load time by size, and which do not fit.

    Args:
        models: The models.
        endpoint: The endpoint's name.
        memory: Knows load times.
        expected: Calls per second by model name or target model; all alike where None. A model that is not named comes
            after those that are.
        capacity: Bytes of models that the endpoint's memory holds; unlimited where None.

    Returns:
        Those to load, and those left out.

    Raises:
        InvalidInputError: `models`, `expected` or `capacity` cannot be used; the message names it.
    """
    if isinstance(models, (str, ModelVersion)):
        raise InvalidInputError(f"models must be a list of models, not {models!r}", hint=f"[{str(models)!r}] is one")
    models = list(models)
    for model in models:
        if not isinstance(model, (str, ModelVersion)):
            raise InvalidInputError(f"models must be target models or versions, and one is {model!r}")
    if capacity is not None:
        check_capacity(capacity)
    rates = dict(expected or {})
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < math.inf:
            raise InvalidInputError(f"expected[{name!r}] must be calls per second of at least 0, not {rate!r}")

    def size(model: str | ModelVersion) -> int:
        return (model.size if isinstance(model, ModelVersion) else None) or _TYPICAL_SIZE

    def worth(model: str | ModelVersion) -> tuple[float, float]:
        target, name = str(model), model.name if isinstance(model, ModelVersion) else str(model)
        rate = rates.get(target, rates.get(name, 0.0))
        known = model.size if isinstance(model, ModelVersion) else None
        density = memory.load_times.expected(endpoint, target, size=known).median / size(model)
        return rate * density, density

    chosen: list[str | ModelVersion] = []
    left: list[str | ModelVersion] = []
    room = math.inf if capacity is None else capacity
    for model in sorted(models, key=worth, reverse=True):
        if size(model) <= room:
            room -= size(model)
            chosen.append(model)
        else:
            left.append(model)
    return chosen, left


def report_of(results: Iterable[ItemResult[str | ModelVersion]], left_out: Iterable[str | ModelVersion]) -> WarmReport:
    """What probing calls say of their models."""
    probed = [outcome_of(result.item, result.reply, result.error) for result in results]
    return WarmReport((*probed, *(WarmOutcome(model=str(model), state="left out") for model in left_out)))


def warm_settings(at_a_time: int | None, memory: Memory, endpoint: str) -> BatchSettings:
    """Return the settings of a batch that calls each model once, in the given order.

    Args:
        at_a_time: Models that are called at the same time. None means the learned limit of the endpoint.
        memory: Knows that limit.
        endpoint: Name of the endpoint.

    Raises:
        InvalidInputError: `at_a_time` is not a whole number of at least 1.
    """
    if at_a_time is not None:
        check_number("at_a_time", at_a_time, at_least=1, integer=True)
    count = at_a_time or memory.endpoint(endpoint).load_limiter.limit
    return BatchSettings(max_concurrency=count, models_at_once=count)


def refuse_loss(advice: KeepWarmAdvice) -> None:
    """Refuse to keep models warm where that makes more calls cold than it spares.

    Raises:
        InvalidInputError: It is a net loss; the message says by how much.
    """
    if not advice.worth_it:
        raise InvalidInputError(
            f"keeping these models warm: {advice.why}",
            hint="pass bound_by_slo=True to do it for their sake all the same, or give the endpoint more memory",
        )


def outcome_of(model: str | ModelVersion, reply: Reply[object] | None, error: MMEError | None) -> WarmOutcome:
    """What a probing call says of a model: one that refuses the probe's payload is loaded all the same."""
    target = str(model)
    if reply is not None:
        return WarmOutcome(model=target, state="loaded" if reply.cold else "warm", took=reply.latency)
    history = () if error is None else error.attempt_history
    took = history[-1].at + history[-1].took if history else 0.0
    if isinstance(error, ModelInputError):
        return WarmOutcome(model=target, state="loaded" if len(history) > 1 else "warm", took=took)
    return WarmOutcome(model=target, state="failed", took=took, error=error)


@attrs.frozen(kw_only=True)
class KeepWarmAdvice:
    """Whether keeping models warm pays.

    Attributes:
        cold_before: Cold calls per second without.
        cold_after: Cold calls per second with.
        pings: Calls per second that keep them warm.
        worth_it: Whether fewer calls are cold.
        why: In words.
    """

    cold_before: float
    cold_after: float
    pings: float
    worth_it: bool
    why: str


def keep_warm_advice(
    rates: Mapping[str, float], sizes: Mapping[str, int], *, capacity: int, keep: Sequence[str]
) -> KeepWarmAdvice:
    """Weigh keeping some models warm against the models that lose their place.

    Args:
        rates: Calls per second of each model of the endpoint.
        sizes: Bytes of each.
        capacity: Bytes of models that an instance's memory holds.
        keep: Models to keep warm.

    Returns:
        The advice.

    Raises:
        InvalidInputError: A model without a rate or size, or more to keep than there is room for.

    Example:
        >>> rates = {f"m{n}": 1 / (n + 1) / 60 for n in range(100)}
        >>> sizes = dict.fromkeys(rates, 100)
        >>> keep_warm_advice(rates, sizes, capacity=2000, keep=["m98", "m99"]).worth_it
        False
    """
    for model in (*keep, *rates):
        if not (rates.get(model, -1.0) >= 0 and sizes.get(model, 0) > 0):
            raise InvalidInputError(f"{model!r} needs a rate of 0 or more and a size above 0", model=model)
    kept = sum(sizes[model] for model in set(keep))
    if kept > capacity:
        raise InvalidInputError(f"keeping {len(keep)} models warm takes {kept:,} bytes of {capacity:,}")
    others = [model for model in rates if model not in set(keep)]
    before_time = _characteristic_time(rates, sizes, list(rates), capacity)
    after_time = _characteristic_time(rates, sizes, others, capacity - kept)
    before = sum(rate * math.exp(-rate * before_time) for rate in rates.values() if rate > 0)
    after = sum(rates[model] * math.exp(-rates[model] * after_time) for model in others if rates[model] > 0)
    # A ping has to come before the model is the least recently used one.
    pings = len(set(keep)) / after_time if math.isfinite(after_time) and after_time > 0 else 0.0
    total = sum(rates.values()) or 1.0
    change = f"{before / total:.1%} of calls are cold without it, {after / total:.1%} with it"
    spent = f"{pings:.3g} pings a second ({pings / total:.2f} for each real call)"
    worth_it = after < before
    why = f"it pays: {change}, at {spent}" if worth_it else f"it is a net loss: {change}, at {spent}"
    return KeepWarmAdvice(cold_before=before, cold_after=after, pings=pings, worth_it=worth_it, why=why)


def check_capacity(capacity: object) -> None:
    """Refuse what is not a number of bytes.

    Raises:
        InvalidInputError: It is no whole number of at least 1.
    """
    if type(capacity) is not int or capacity < 1:
        raise InvalidInputError(f"capacity must be a whole number of bytes of at least 1, not {capacity!r}")


def _characteristic_time(
    rates: Mapping[str, float], sizes: Mapping[str, int], models: Sequence[str], capacity: float
) -> float:
    called = [model for model in models if rates[model] > 0]
    if sum(sizes[model] for model in called) <= capacity:
        return math.inf
    if capacity <= 0:
        return 0.0

    def filled(time: float) -> float:
        return sum(sizes[model] * -math.expm1(-rates[model] * time) for model in called)

    high = 1.0
    while filled(high) < capacity:
        high *= 2
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if filled(middle) < capacity else (low, middle)
    return high
