"""What invokers remember of endpoints and models between calls. It is bounded, and invokers may share it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mme_sdk._validation import check_instance
from mme_sdk.config import ColdStart, RetryPolicy
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.cold_start.load_limiter import LoadLimiter
from mme_sdk.runtime.cold_start.load_times import LoadTimes
from mme_sdk.runtime.cold_start.single_flight import ReleaseLimit, SingleFlight
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.retry.answers import ErrorFields
from mme_sdk.runtime.retry.budgets import Breaker, Budget, Pace

if TYPE_CHECKING:
    from mme_sdk.runtime.cold_start.leases import Leases  # imports sqlite3, which few callers need
    from mme_sdk.runtime.shared.leases import SharedLeases
    from mme_sdk.runtime.shared.link import Link
    from mme_sdk.runtime.shared.pace import SharedPace
    from mme_sdk.runtime.shared.settings import Shared

__all__ = ["EndpointMemory", "Memory", "ModelMemory"]

_NEVER = float("-inf")
_MIN_WARM_FOR = 20.0
_MAX_WARM_FOR = 3600.0
_SECOND_CHANCES = 8
_QUEUE_LIMIT = 60.0  # seconds; SageMaker ends a call after them, so a full queue has an answer until then


class ModelMemory:
    """What is known of one model on one endpoint.

    Attributes:
        last_answer: When the model last answered.
        loaded: Whether it was loaded before, as far as this process knows.
        size: Bytes of its archive, if known.
        slow_first_answer: Seconds that the first answer took, if it may have included a load. The next answer decides.
        fresh_until: Until when the model is assumed to be loaded on one instance only.
        failures: Failed loads in a row.
        blocked_until: Until when calls fail without being sent.
        blocked_by: The answer that made them fail.
        busy_since: When its container first refused a call because its queue was full, if it has answered none since.
    """

    __slots__ = (
        "blocked_by",
        "blocked_until",
        "busy_since",
        "failures",
        "fresh_until",
        "last_answer",
        "loaded",
        "size",
        "slow_first_answer",
    )

    def __init__(self) -> None:
        self.last_answer = _NEVER
        self.loaded = False
        self.size: int | None = None
        self.slow_first_answer: float | None = None
        self.fresh_until = _NEVER
        self.failures = 0
        self.blocked_until = _NEVER
        self.blocked_by: ErrorFields | None = None
        self.busy_since: float | None = None

    def queue_is_full(self, now: float) -> bool:
        """Return whether an answer 503 means that too many calls wait for the container, as a throttle does.

        A container that answers no call for a minute does not work on a full queue.

        Args:
            now: Time by the clock, in seconds.
        """
        if self.busy_since is None:
            self.busy_since = now
        return now - self.busy_since < _QUEUE_LIMIT


class EndpointMemory:
    """What is known of one endpoint.

    Args:
        name: Name of the endpoint.
        cold: Settings of cold starts.
        retry: The retry policy.
        max_models: How many models to remember.

    Attributes:
        warm_for: Seconds after an answer for which a model is assumed to be loaded.
        latency: Usual seconds of an answer from a loaded model; None before the first.
        warm_share: Share of the models first called by this process that were already loaded.
        prefix: S3 prefix of the models, if known.
        names: What a name stands for that is not a target model itself: a target model, or `name@latest`.
        release_limit: How many callers may be released at a time after a load.
        load_limiter: Limits concurrent loads.
        throttles: Budget for retries after throttling.
        faults: Budget for retries after faults.
        breaker: Stops retries after many faults in a row.
        pace: Slows down the calls of batches together while the endpoint throttles.
        shared_pace: Gives the calls of several processes their turns instead; None without a shared store.
    """

    __slots__ = (
        "_lock",
        "_max_models",
        "_models",
        "breaker",
        "faults",
        "latency",
        "load_limiter",
        "name",
        "names",
        "pace",
        "prefix",
        "release_limit",
        "shared_pace",
        "throttles",
        "warm_for",
        "warm_share",
    )

    def __init__(self, name: str, cold: ColdStart, retry: RetryPolicy, max_models: int) -> None:
        self.name = name
        self.warm_for = cold.warm_for
        self.latency: float | None = None
        self.warm_share = 0.5
        self.prefix: str | None = None
        self.names: dict[str, str] = {}
        self.release_limit = ReleaseLimit()
        self.load_limiter = LoadLimiter(cold.concurrent_loads, cold.max_concurrent_loads)
        self.throttles = Budget(retry.budget)
        self.faults = Budget(retry.budget)
        self.breaker = Breaker(retry)
        self.pace = Pace()
        self.shared_pace: SharedPace | None = None
        self._models: dict[str, ModelMemory] = {}
        self._max_models = max_models
        self._lock = ForkLock()

    def model(self, target: str) -> ModelMemory:
        """Return what is known of a model.

        Args:
            target: The target model; an empty text on a single-model endpoint.

        Returns:
            The record. If there are too many records, that of a model that was not called for a long time is dropped.
        """
        found = self._models.get(target)
        if found is not None:
            return found
        with self._lock:
            found = self._models.setdefault(target, ModelMemory())
            if len(self._models) > self._max_models:
                self._forget_one()
            return found

    def find(self, target: str) -> ModelMemory | None:
        """Return what is known of a model.

        Args:
            target: The target model; an empty text on a single-model endpoint.

        Returns:
            The record; None if nothing is known of the model.
        """
        return self._models.get(target)

    def targets(self) -> list[str]:
        """Return the target models of which something is known."""
        return list(self._models)

    def _forget_one(self) -> None:
        # Second-chance replacement: an old entry that was used after its neighbour returns to the end of the queue.
        for _ in range(_SECOND_CHANCES):
            oldest = next(iter(self._models))
            entry = self._models.pop(oldest)
            following = next(iter(self._models.values()), entry)
            if entry.last_answer <= following.last_answer:
                return
            self._models[oldest] = entry
        self._models.pop(next(iter(self._models)))

    def succeeded(self, took: float | None) -> None:
        """Record a successful answer.

        Args:
            took: Seconds it took; None if it may include a load.
        """
        if self.throttles.spent:
            self.throttles.spent -= 1
        if self.faults.spent:
            self.faults.spent -= 1
            self.breaker.success()
        if took is not None:
            # The usual latency follows fast answers, because slow ones may include a load.
            usual = self.latency
            self.latency = took if usual is None else usual + (0.5 if took < usual else 0.02) * (took - usual)

    def first_probe(self, *, warm: bool) -> None:
        """Record whether a model that was not known to be loaded was loaded.

        Args:
            warm: Whether it was.
        """
        self.warm_share += 0.05 * (warm - self.warm_share)

    def expect_cold(self) -> None:
        """Record that models are called here which another endpoint held: their first probes need permits to load."""
        self.warm_share = 0.0

    def stayed_loaded(self, idle: float) -> None:
        """Record that a model was still loaded.

        Args:
            idle: Seconds since its last answer.
        """
        if idle > self.warm_for:
            self.warm_for = min(_MAX_WARM_FOR, self.warm_for * 1.25)

    def was_evicted(self, idle: float) -> None:
        """Record that a model was no longer loaded.

        Args:
            idle: Seconds since its last answer.
        """
        if idle < self.warm_for:
            self.warm_for = max(_MIN_WARM_FOR, idle / 2)


class Memory:
    """What invokers remember of endpoints and models. Pass one object to several invokers to share it.

    A pickled memory arrives with its settings, its leases and the load times; it does not say which models are loaded.
    It becomes one object in each process, however often it is unpickled there.

    Args:
        cold: Settings of cold starts; the defaults of `ColdStart` if None.
        retry: The retry policy; the defaults of `RetryPolicy` if None.
        load_times: Estimates of load times; new ones if None.
        leases: Shares single flight with other processes; None shares nothing. It excludes `shared`.
        shared: Shares single flight, cold slots, the rate of calls and load times with other processes; None shares
            nothing.
        max_models: How many models of each endpoint to remember; 100,000 by default.

    Raises:
        InvalidInputError: Both `leases` and `shared` are given, or `shared` is not a `Shared`.

    Example:
        >>> from mme_sdk.runtime import FileLeases
        >>> memory = Memory(ColdStart(expected=30), leases=FileLeases("/var/tmp/leases.db"))
        >>> len(memory.load_times)
        0
    """

    def __init__(
        self,
        cold: ColdStart | None = None,
        retry: RetryPolicy | None = None,
        *,
        load_times: LoadTimes | None = None,
        leases: Leases | None = None,
        shared: Shared | None = None,
        max_models: int = 100_000,
    ) -> None:
        self.cold = cold or ColdStart()
        self.retry = retry or RetryPolicy()
        # `or` would replace an object that is empty.
        self.load_times = LoadTimes(self.cold, max_models=max_models) if load_times is None else load_times
        self.single_flight = SingleFlight()
        self.leases = leases
        self.shared = shared
        self.slots: SharedLeases | None = None
        self._link: Link | None = None
        if shared is not None:
            self._share(shared)
        self._endpoints: dict[str, EndpointMemory] = {}
        self._max_models = max_models
        self._identity = ""

    def _share(self, shared: Shared) -> None:
        from mme_sdk.runtime.shared.leases import SharedLeases
        from mme_sdk.runtime.shared.link import Link
        from mme_sdk.runtime.shared.settings import Shared

        check_instance("shared", shared, Shared)
        if self.leases is not None:
            raise InvalidInputError(
                "leases and shared exclude each other", hint="omit leases: the store of shared has leases, too"
            )
        cold = self.cold
        self._link = Link(shared)
        self.leases = self.slots = SharedLeases(
            self._link, self.load_times, initial=cold.concurrent_loads, maximum=cold.max_concurrent_loads
        )

    def __reduce__(self) -> tuple[Any, ...]:
        from mme_sdk.aws.travel import new_identity, revive

        self._identity = self._identity or new_identity()
        return revive, (self._identity, _memory_of, self._arguments())

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        return _memory_of(*copy.deepcopy(self._arguments(), memo))

    def _arguments(self) -> tuple[Any, ...]:
        """Return what travels: settings, estimates and leases. Which models are loaded, each process sees itself."""
        leases = self.leases if self.shared is None else None
        return self.cold, self.retry, self.load_times, leases, self.shared, self._max_models

    def find(self, name: str) -> EndpointMemory | None:
        """Return what is known of an endpoint.

        Args:
            name: Name of the endpoint.

        Returns:
            The record; None if nothing is known of the endpoint.
        """
        return self._endpoints.get(name)

    def endpoint(self, name: str) -> EndpointMemory:
        """Return what is known of an endpoint.

        Args:
            name: Name of the endpoint.

        Returns:
            The record; a new one for an unknown endpoint.
        """
        found = self._endpoints.get(name)
        if found is None:
            made = EndpointMemory(name, self.cold, self.retry, self._max_models)
            if self.shared is not None and self._link is not None:
                from mme_sdk.runtime.shared.pace import SharedPace

                made.shared_pace = SharedPace(self._link, name, self.shared.rate)
            found = self._endpoints.setdefault(name, made)
        return found


def _memory_of(
    cold: ColdStart,
    retry: RetryPolicy,
    load_times: LoadTimes,
    leases: Leases | None,
    shared: Shared | None,
    max_models: int,
) -> Memory:
    return Memory(cold, retry, load_times=load_times, leases=leases, shared=shared, max_models=max_models)
