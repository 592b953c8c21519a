"""Limits how many models of an endpoint are loaded at a time.

A fleet that loads more models at a time than it has loaders loads each of them more slowly, evicts models that others
wait for, and does not recover. AWS does not publish how many loads an endpoint supports, so the limit adapts. It
grows by one when a load went well while the limit was reached. It halves when a load took more than twice as long as an
undisturbed load (additive increase, multiplicative decrease, as in TCP).

The duration of an undisturbed load follows the fastest loads and rises only slowly. A mean of all
loads would rise during an overload, and so hide it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["LoadLimiter", "Permit"]

_OVERLOADED = 2.0  # times as long as an undisturbed load
_FOLLOW_DOWN, _FOLLOW_UP = 0.3, 0.01  # weights of a faster and of a slower load
_MAX_SLOWNESS = 4.0


class Permit:
    """One caller's permission to start a load; an event that occurs when the permission is granted.

    Attributes:
        granted: Whether the caller may start.
        released: Whether the caller has returned the permit.
        alone: Whether no other permit was in use when this one was granted.
        epoch: How many times the limit had been halved when this permit was granted.
        verdict: 1 if the load that ended went well, -1 if it was slow, 0 if nothing was loaded.
    """

    __slots__ = ("_limiter", "_wake", "alone", "epoch", "granted", "released", "verdict")

    def __init__(self, limiter: LoadLimiter) -> None:
        self._limiter = limiter
        self._wake: Callable[[], None] | None = None
        self.granted = False
        self.released = False
        self.epoch = 0
        self.alone = True
        self.verdict = 0

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` when the permit is granted; at once if it has been."""
        with self._limiter.lock:
            if not self.granted:
                self._wake = wake
                return
        wake()

    def release(self, load: tuple[float, float] | None = None) -> None:
        """Return the permit. Idempotent.

        Args:
            load: Shortest and longest possible duration of the load, divided by the duration expected from the model's
                size, so that models can be compared; None if nothing was loaded.
        """
        self._limiter.release(self, load)

    def grant(self, epoch: int, *, alone: bool) -> Callable[[], None] | None:
        """Grant the permit. Return the function that wakes the caller, to be called without the lock."""
        self.granted, self.epoch, self.alone = True, epoch, alone
        wake, self._wake = self._wake, None
        return wake


class LoadLimiter:
    """Limits the concurrent loads of one endpoint.

    Args:
        initial: The limit at the beginning.
        maximum: The highest limit.

    Attributes:
        limit: The current limit.
        slowness: How many times as long as an undisturbed load recent concurrent loads took, from 1 to 4.

    Example:
        >>> limiter = LoadLimiter(1, 8)
        >>> first, second = limiter.acquire(), limiter.acquire()
        >>> first.granted, second.granted
        (True, False)
        >>> first.release(load=(2.0, 2.5))
        >>> second.granted, limiter.limit
        (True, 2)
    """

    def __init__(self, initial: int, maximum: int) -> None:
        self.lock = ForkLock()
        self.limit = initial
        self.slowness = 1.0
        self._maximum = max(initial, maximum)
        self._used = 0
        self._waiting: deque[Permit] = deque()
        self._epoch = 0
        self._undisturbed: float | None = None  # duration of an undisturbed load
        self._generation = 0

    @property
    def used(self) -> int:
        """How many permits are in use."""
        return self._used

    def acquire(self, *, at_once: bool = False) -> Permit:
        """Request a permit. It is granted at once or when one becomes free.

        Args:
            at_once: Grant it even above the limit, because the load has already begun.

        Returns:
            The permit; it may not be granted yet.
        """
        permit = Permit(self)
        with self.lock:
            if self._generation != self.lock.generation:
                self._used, self._generation = 0, self.lock.generation
                self._waiting.clear()
            if at_once or self._used < self.limit:
                self._used += 1
                permit.grant(self._epoch, alone=self._used == 1)
            else:
                self._waiting.append(permit)
        return permit

    def release(self, permit: Permit, load: tuple[float, float] | None) -> None:
        """Take back a permit; see `Permit.release`.

        Args:
            permit: The permit.
            load: Shortest and longest possible duration of the load; None if nothing was loaded.
        """
        wakes: list[Callable[[], None]] = []
        with self.lock:
            if permit.released:
                return
            permit.released = True
            if not permit.granted:
                self._waiting.remove(permit)
                return
            if load is not None:
                self._adapt(permit, load)
            self._used -= 1
            while self._waiting and self._used < self.limit:
                self._used += 1
                wake = self._waiting.popleft().grant(self._epoch, alone=self._used == 1)
                if wake is not None:
                    wakes.append(wake)
        for wake in wakes:
            wake()

    def _adapt(self, permit: Permit, load: tuple[float, float]) -> None:
        shortest, longest = load
        before = self._undisturbed
        if before is None:
            self._undisturbed = longest
        else:
            weight = _FOLLOW_DOWN if longest < before else _FOLLOW_UP
            self._undisturbed = before + weight * (longest - before)
        # A load that ran alone was not disturbed by others, however long it took.
        concurrent = self._used > 1 or not permit.alone
        slowness = min(shortest / self._undisturbed, _MAX_SLOWNESS) if concurrent else 1.0
        self.slowness += _FOLLOW_DOWN * (max(1.0, slowness) - self.slowness)
        # Probes are far apart, so only bounds of the duration are known. The load was slow if the lower bound is.
        permit.verdict = 1 if before is None or shortest <= _OVERLOADED * before else -1
        if permit.verdict > 0:
            if self._used >= self.limit:
                self.limit = min(self._maximum, self.limit + 1)
        elif permit.epoch == self._epoch:
            # Loads that began before the latest halving were slow for the same reason, so they count once.
            self.limit = max(1, self.limit // 2)
            self._epoch += 1
