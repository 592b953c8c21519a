"""What an invoker remembers of endpoints and models between calls; bounded, and shareable between invokers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk.config import ColdStart, RetryPolicy
from mme_sdk.runtime.cold_start.load_limiter import Slots
from mme_sdk.runtime.cold_start.load_times import Estimates
from mme_sdk.runtime.cold_start.single_flight import Flights, Pace
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.retry.answers import ErrorFields
from mme_sdk.runtime.retry.budgets import Breaker, Budget, HedgeBudget, Tail

if TYPE_CHECKING:
    from mme_sdk.runtime.cold_start.leases import Leases  # with sqlite3, which few need

__all__ = ["EndpointMemory", "Memory", "ModelMemory"]

_NEVER = float("-inf")
_LEAST_HORIZON = 20.0
_MOST_HORIZON = 3600.0


class ModelMemory:
    """One model on one endpoint.

    Attributes:
        last_ok: When it last answered.
        loaded: Whether it was loaded before, as far as this process saw.
        size: Bytes of its archive, where known.
        pending: Seconds of a first answer that may have included a load; a warm answer will tell.
        fresh_until: Until when it is taken to be loaded on one instance only.
        tail: How slow its answers usually are at most, where calls are hedged.
        failures: Loads that failed in a row.
        blocked_until: Until when calls to it fail at once.
        blocked_by: What it failed with.
    """

    __slots__ = (
        "blocked_by",
        "blocked_until",
        "failures",
        "fresh_until",
        "last_ok",
        "loaded",
        "pending",
        "size",
        "tail",
    )

    def __init__(self) -> None:
        self.last_ok = _NEVER
        self.loaded = False
        self.size: int | None = None
        self.pending: float | None = None
        self.fresh_until = _NEVER
        self.tail: Tail | None = None
        self.failures = 0
        self.blocked_until = _NEVER
        self.blocked_by: ErrorFields | None = None


class EndpointMemory:
    """One endpoint.

    Args:
        name: Its name.
        cold: Cold-start settings.
        retry: Retry policy.
        max_models: Models remembered.
    """

    __slots__ = (
        "_lock",
        "_max_models",
        "_models",
        "breaker",
        "faults",
        "found_warm",
        "hedges",
        "horizon",
        "latency",
        "name",
        "pace",
        "prefix",
        "slots",
        "throttles",
    )

    def __init__(self, name: str, cold: ColdStart, retry: RetryPolicy, max_models: int) -> None:
        self.name = name
        self.horizon = cold.warm_for
        self.latency: float | None = None
        self.found_warm = 0.5
        self.prefix: str | None = None
        self.pace = Pace()
        self.slots = Slots(cold.concurrent_loads, cold.max_concurrent_loads)
        self.throttles = Budget(retry.budget)
        self.faults = Budget(retry.budget)
        self.breaker = Breaker(retry)
        self.hedges = HedgeBudget()
        self._models: dict[str, ModelMemory] = {}
        self._max_models = max_models
        self._lock = ForkLock()

    def model(self, target: str) -> ModelMemory:
        """What is remembered of a model."""
        found = self._models.get(target)
        if found is not None:
            return found
        with self._lock:
            found = self._models.setdefault(target, ModelMemory())
            if len(self._models) > self._max_models:
                self._forget_one()
            return found

    def _forget_one(self) -> None:
        # Second chance: the oldest entry goes, unless it was used after everything around it; then it queues again.
        for _ in range(8):
            oldest = next(iter(self._models))
            entry = self._models.pop(oldest)
            following = self._models[next(iter(self._models))]
            if entry.last_ok <= following.last_ok:
                return
            self._models[oldest] = entry
        self._models.pop(next(iter(self._models)))

    def succeeded(self, took: float | None) -> None:
        """A request was answered well; `took` says how fast, where the model was thought to be loaded."""
        if self.throttles.spent:
            self.throttles.spent -= 1
        if self.faults.spent:
            self.faults.spent -= 1
            self.breaker.success()
        if took is not None:
            # What is usual: it follows the quick answers, since the slow ones may have met a load.
            usual = self.latency
            self.latency = took if usual is None else usual + (0.5 if took < usual else 0.02) * (took - usual)

    def first_look(self, *, warm: bool) -> None:
        """A model that was not known to be loaded was, or was not."""
        self.found_warm += 0.05 * (warm - self.found_warm)

    def kept(self, idle: float) -> None:
        """A model was still loaded after so many idle seconds."""
        if idle > self.horizon:
            self.horizon = min(_MOST_HORIZON, self.horizon * 1.25)

    def lost(self, idle: float) -> None:
        """A model was no longer loaded after so many idle seconds."""
        if idle < self.horizon:
            self.horizon = max(_LEAST_HORIZON, idle / 2)


class Memory:
    """What invokers remember; hand one to several invokers to share it.

    Args:
        cold: Cold-start settings.
        retry: Retry policy.
        estimates: Load-time estimates.
        leases: Shares single flight and cold slots with other processes.
        max_models: Models remembered of each endpoint.
    """

    def __init__(
        self,
        cold: ColdStart | None = None,
        retry: RetryPolicy | None = None,
        *,
        estimates: Estimates | None = None,
        leases: Leases | None = None,
        max_models: int = 100_000,
    ) -> None:
        self.cold = cold or ColdStart()
        self.retry = retry or RetryPolicy()
        self.estimates = estimates or Estimates(self.cold, max_models=max_models)
        self.flights = Flights()
        self.leases = leases
        self._endpoints: dict[str, EndpointMemory] = {}
        self._max_models = max_models

    def endpoint(self, name: str) -> EndpointMemory:
        """What is remembered of an endpoint."""
        found = self._endpoints.get(name)
        if found is None:
            found = self._endpoints.setdefault(name, EndpointMemory(name, self.cold, self.retry, self._max_models))
        return found
