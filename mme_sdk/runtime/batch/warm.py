"""`warm` and `keep_warm`: the order in which models are loaded, and whether keeping a model in memory pays.

An endpoint evicts the least recently used model, so a model that is kept in memory displaces another one.
`keep_warm_advice` compares the two with Che's approximation (Che, Tung, Wang, 2002): a model called at rate λ is in
memory with probability 1 - exp(-λT). The characteristic time T is the one for which the expected sizes of the models
in memory add up to the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from mme_sdk._validation import as_float, as_int, check_number
from mme_sdk.display import html
from mme_sdk.display.shown import Shown
from mme_sdk.errors import InvalidInputError, MMEError, ModelError, UndecodableReplyError
from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.retry.answers import is_load_failure
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.near import near_names
from mme_sdk.types.reply import Reply

__all__ = [
    "KeepWarmAdvice",
    "WarmOutcome",
    "WarmReport",
    "characteristic_time",
    "check_capacity",
    "keep_warm_advice",
    "outcome_of",
    "probe_of",
    "refuse_loss",
    "report_of",
    "warm_order",
    "warm_settings",
]

_PROBES = {  # by framework; JSON that the framework's container reads
    "huggingface": b'{"inputs": ""}',
    "sklearn": b"[[0]]",
    "triton": b'{"inputs": []}',
}
_TYPICAL_SIZE = 100_000_000  # bytes; assumed for a model of unknown size


@attrs.frozen(kw_only=True)
class WarmOutcome:
    """Result of `warm` for one model.

    Attributes:
        model: The target model.
        state: `loaded`: it is in memory now. `warm`: it is, and was before the call. `failed`. `left out` because
            memory is full.
        took: Seconds until the model answered. Default 0.
        error: Why it failed. None if it did not.
    """

    model: str
    state: Literal["loaded", "warm", "failed", "left out"]
    took: float = 0.0
    error: MMEError | None = None


@attrs.frozen(repr=False)
class WarmReport(Shown):
    """Result of `warm` or `keep_warm`.

    Attributes:
        outcomes: One outcome for each model, in the order in which they were called.
    """

    outcomes: tuple[WarmOutcome, ...]

    @property
    def loaded(self) -> tuple[str, ...]:
        """Target models that are in memory now."""
        return tuple(each.model for each in self.outcomes if each.state in ("loaded", "warm"))

    @property
    def failed(self) -> tuple[WarmOutcome, ...]:
        """Outcomes of the models that could not be loaded."""
        return tuple(each for each in self.outcomes if each.state == "failed")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Target models that did not fit in `capacity`."""
        return tuple(each.model for each in self.outcomes if each.state == "left out")

    def _text(self) -> str:
        failed = ", ".join(f"{one.model}: {type(one.error).__name__}" for one in self.failed[:3])
        return f"<WarmReport: {self}{f' ({failed})' if failed else ''}>"

    def _html(self) -> str:
        rows = [
            {"model": one.model, "state": one.state, "seconds": one.took, "error": one.error and one.error.message}
            for one in sorted(self.outcomes, key=lambda one: one.state != "failed")
        ]
        return html.table(str(self), rows)

    def __str__(self) -> str:
        took = sum(each.took for each in self.outcomes if each.state == "loaded")
        loading = f" ({took:.1f} s of loading)" if took else ""
        return (
            f"{len(self.loaded)} models are loaded{loading}, {len(self.left_out)} did not fit, "
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
    """Return the models to load, ordered by rate times load time divided by size, and the models that do not fit.

    Args:
        models: The models.
        endpoint: Name of the endpoint.
        memory: Holds the learned load times.
        expected: Calls per second by model name or target model, of these models only. None means that all are equal.
            A model that is not in it comes after those that are.
        capacity: Bytes of models that the endpoint holds in memory. None means no limit.

    Returns:
        The models to load, and the models left out.

    Raises:
        InvalidInputError: `models`, `expected` or `capacity` is invalid. The message names it.
    """
    if isinstance(models, (str, ModelVersion)):
        raise InvalidInputError(f"models must be a list of models, not {models!r}", hint=f"pass [{str(models)!r}]")
    if not isinstance(models, Iterable):
        raise InvalidInputError(f"models must be a list of models, not {models!r:.80}")
    models = list(models)
    for model in models:
        if not isinstance(model, (str, ModelVersion)):
            raise InvalidInputError(f"models must be target models or versions, not {model!r}")
    models = list(dict.fromkeys(models))
    if capacity is not None:
        check_capacity(capacity)
    rates = dict(expected or {})
    for name, rate in rates.items():
        check_number(f"expected[{name!r}]", rate, at_least=0)
    known = {one for model in models for one in (str(model), getattr(model, "name", str(model)))}
    for name in rates:
        if name not in known:
            near = near_names(str(name), sorted(known), limit=1)
            hint = f"did you mean {near[0]!r}?" if near else "add it to models, or remove it from expected"
            raise InvalidInputError(f"expected names {name!r}, which is not one of the models", hint=hint)

    def size(model: str | ModelVersion) -> int:
        return (model.size if isinstance(model, ModelVersion) else None) or _TYPICAL_SIZE

    def worth(model: str | ModelVersion) -> tuple[float, float]:
        target, name = str(model), model.name if isinstance(model, ModelVersion) else str(model)
        rate = rates.get(target, rates.get(name, 0.0))
        known = model.size if isinstance(model, ModelVersion) else None
        density = memory.load_times.expected(endpoint, target, size=known).median / size(model)
        return rate * density, density

    chosen: list[str | ModelVersion] = []
    left_out: list[str | ModelVersion] = []
    free = math.inf if capacity is None else capacity
    for model in sorted(models, key=worth, reverse=True):
        if size(model) <= free:
            free -= size(model)
            chosen.append(model)
        else:
            left_out.append(model)
    return chosen, left_out


def report_of(results: Iterable[ItemResult[str | ModelVersion]], left_out: Iterable[str | ModelVersion]) -> WarmReport:
    """Return the report of a batch that called each model once."""
    called = [outcome_of(result.item, result.reply, result.error) for result in results]
    return WarmReport((*called, *(WarmOutcome(model=str(model), state="left out") for model in left_out)))


def warm_settings(at_a_time: int | None, memory: Memory, endpoint: str) -> BatchSettings:
    """Return the settings of a batch that calls each model once, in the given order.

    Args:
        at_a_time: Models that are called at the same time. None means the learned limit of the endpoint.
        memory: Holds that limit.
        endpoint: Name of the endpoint.

    Raises:
        InvalidInputError: `at_a_time` is not a whole number of at least 1.
    """
    if at_a_time is not None:
        check_number("at_a_time", at_a_time, at_least=1, integer=True)
    count = at_a_time or memory.endpoint(endpoint).load_limiter.limit
    return BatchSettings(max_concurrency=count, models_at_once=count)


def refuse_loss(advice: KeepWarmAdvice) -> None:
    """Raise InvalidInputError if keeping models in memory makes more calls cold than it saves.

    Raises:
        InvalidInputError: It is a net loss. The message says by how much.
    """
    if not advice.worth_it:
        raise InvalidInputError(
            f"keeping these models warm: {advice.why}",
            hint="pass bound_by_slo=True to keep them in memory nevertheless, or give the endpoint more memory",
        )


def outcome_of(model: str | ModelVersion, reply: Reply[object] | None, error: MMEError | None) -> WarmOutcome:
    """Return the outcome of one model. A model is loaded if its code ran, whatever it made of the payload."""
    target = str(model)
    if reply is not None:
        return WarmOutcome(model=target, state="warm" if reply.cold is False else "loaded", took=reply.latency)
    history = () if error is None else error.attempt_history
    took = history[-1].at + history[-1].took if history else 0.0
    if error is not None and _ran(error):
        return WarmOutcome(model=target, state="loaded", took=took)
    return WarmOutcome(model=target, state="failed", took=took, error=error)


def _ran(error: MMEError) -> bool:
    """Return whether an error shows that the model's code ran on the payload."""
    if isinstance(error, UndecodableReplyError):
        return True
    if not isinstance(error, ModelError) or error.sent is False:
        return False
    # Without a status, or with 503, the container was busy or out of reach. It did not answer in time with status 0.
    return error.original_status not in (None, 0, 503) and not is_load_failure(error)


def probe_of(model: str | ModelVersion) -> bytes:
    """Return the JSON payload that loads a model with as little work and as few errors in its log as can be known."""
    framework = model.framework if isinstance(model, ModelVersion) else None
    return _PROBES.get(framework or "", b"{}")


@attrs.frozen(kw_only=True)
class KeepWarmAdvice:
    """Result of `keep_warm_advice`.

    Attributes:
        cold_before: Cold calls per second if no model is kept in memory.
        cold_after: Cold calls per second if the models are kept in memory.
        pings: Calls per second that keep them in memory.
        worth_it: Whether fewer calls are cold.
        why: The comparison as text.
    """

    cold_before: float
    cold_after: float
    pings: float
    worth_it: bool
    why: str


def keep_warm_advice(
    rates: Mapping[str, float], sizes: Mapping[str, int], *, capacity: int, keep: Sequence[str]
) -> KeepWarmAdvice:
    """Compare the cold calls that keeping some models in memory saves with those that it causes for other models.

    Args:
        rates: Calls per second of each model of the endpoint, by target model.
        sizes: Bytes of each model in memory, by target model.
        capacity: Bytes of models that an instance holds in memory.
        keep: Target models to keep in memory.

    Returns:
        Both rates of cold calls, and whether it pays.

    Raises:
        InvalidInputError: A model has no rate or size, or the models to keep do not fit in `capacity`.

    Example:
        >>> rates = {f"m{n}": 1 / (n + 1) / 60 for n in range(100)}
        >>> sizes = dict.fromkeys(rates, 100)
        >>> keep_warm_advice(rates, sizes, capacity=2000, keep=["m98", "m99"]).worth_it
        False
    """
    for model in (*keep, *rates):
        if model not in rates or model not in sizes:
            raise InvalidInputError(f"{model!r} needs a rate and a size", model=model)
        check_number(f"the rate of {model}", rates[model], at_least=0)
        check_number(f"the size of {model}", sizes[model], over=0)
    rates = {model: as_float(rate) for model, rate in rates.items()}
    sizes = {model: as_int(size) for model, size in sizes.items()}
    kept = sum(sizes[model] for model in set(keep))
    if kept > capacity:
        raise InvalidInputError(f"keeping {len(keep)} models warm takes {kept:,} bytes of {capacity:,}")
    others = [model for model in rates if model not in set(keep)]
    before_time = characteristic_time(rates, sizes, list(rates), capacity)
    after_time = characteristic_time(rates, sizes, others, capacity - kept)
    before = sum(rate * math.exp(-rate * before_time) for rate in rates.values() if rate > 0)
    after = sum(rates[model] * math.exp(-rates[model] * after_time) for model in others if rates[model] > 0)
    # A model must be called before it is the least recently used one.
    pings = len(set(keep)) / after_time if math.isfinite(after_time) and after_time > 0 else 0.0
    total = sum(rates.values()) or 1.0
    change = f"{before / total:.1%} of calls are cold without it, {after / total:.1%} with it"
    spent = f"{pings:.3g} pings a second ({pings / total:.2f} for each real call)"
    worth_it = after < before
    why = f"it pays: {change}, at {spent}" if worth_it else f"it is a net loss: {change}, at {spent}"
    return KeepWarmAdvice(cold_before=before, cold_after=after, pings=pings, worth_it=worth_it, why=why)


def check_capacity(capacity: object) -> None:
    """Raise InvalidInputError unless `capacity` is a whole number of bytes of at least 1."""
    check_number("capacity", capacity, at_least=1, integer=True)


def characteristic_time(
    rates: Mapping[str, float], sizes: Mapping[str, int], models: Sequence[str], capacity: float
) -> float:
    """Return the seconds for which a model that is not called stays in memory; infinity if all models fit.

    Args:
        rates: Calls per second of each model.
        sizes: Bytes of each model in memory.
        models: The models that share the memory.
        capacity: Bytes of models that fit into memory.
    """
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
