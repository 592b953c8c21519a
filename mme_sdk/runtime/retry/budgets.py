"""Limits on retries, which protect an endpoint that is overloaded or failing, and the pace of batches.

A single call fails if the budget of its endpoint is spent. A call of a batch waits for its turn at a common pace: the
rate falls when calls are throttled, then rises again, and more slowly near the rate that was throttled, as in TCP
CUBIC.

Counters change without a lock. Two threads can lose a token between them, which costs less than a lock in every call.
"""

from __future__ import annotations

from collections import deque

from mme_sdk.config import RetryPolicy
from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = [
    "DECREASE",
    "DOUBLING",
    "FAULT_COST",
    "FIRST_RATE",
    "LOWEST_RATE",
    "RECOVERY",
    "RELEASED",
    "THROTTLE_COST",
    "Breaker",
    "Budget",
    "Pace",
    "rate_after",
]

# Tokens for one retry. A fault costs more, as in the retry quota of the AWS SDKs, because a retry helps less often.
THROTTLE_COST = 5
FAULT_COST = 14
DECREASE = 0.85  # of the rate at which calls were throttled
RECOVERY = 5.0  # seconds until that rate is reached again
DOUBLING = 2.0  # seconds after that until it has doubled; it grows faster and faster
FIRST_RATE = 10.0  # calls a second, if calls are throttled before a rate was seen
LOWEST_RATE = 0.1  # calls a second
RELEASED = 64.0  # times the rate at which calls were throttled, from which on the pace has no limit
_INSTANT = 1e-4  # seconds; a shorter wait is none
_SEEN = 32  # answers that measure the rate


def rate_after(peak: float, elapsed: float, recovery: float) -> float | None:
    """Return the rate some time after it was decreased.

    Args:
        peak: Calls a second at which calls were throttled.
        elapsed: Seconds since the decrease.
        recovery: Seconds after the decrease at which the rate reaches the peak again.

    Returns:
        Calls a second; None for no limit.
    """
    since = elapsed - recovery
    if since < 0:
        return max(LOWEST_RATE, peak * (1 - (1 - DECREASE) * (-since / recovery) ** 3))
    growth: float = 2 ** min((since / DOUBLING) ** 2, 64.0)
    return None if growth > RELEASED else peak * growth


class Budget:
    """Tokens that pay for retries. Successful answers add tokens.

    Args:
        capacity: Largest number of tokens.

    Attributes:
        spent: Tokens that are missing.
    """

    __slots__ = ("_capacity", "spent")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.spent = 0

    def pay(self, cost: int) -> bool:
        """Take tokens.

        Args:
            cost: How many.

        Returns:
            Whether there were enough.
        """
        if self.spent + cost > self._capacity:
            return False
        self.spent += cost
        return True


class Breaker:
    """A circuit breaker: it stops retries, but never first attempts, after many faults in a row.

    Args:
        policy: How many faults, and for how long.

    Attributes:
        open_until: Until when retries are stopped.
    """

    __slots__ = ("_faults", "_policy", "open_until")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._faults = 0
        self.open_until = 0.0

    def fault(self, now: float) -> bool:
        """Record a fault.

        Args:
            now: The time.

        Returns:
            Whether the request may be retried.
        """
        self._faults += 1
        if self._faults >= self._policy.breaker_faults:
            self._faults = 0
            self.open_until = now + self._policy.breaker_rest
        return now >= self.open_until

    def success(self) -> None:
        """Record a success."""
        self._faults = 0


class Pace:
    """The rate of the calls that batches send to one endpoint; no limit until calls are throttled.

    Example:
        >>> pace = Pace()
        >>> pace.wait(pace.take(), 0.0)
        0.0
        >>> pace.throttled(sent=0.0, now=0.0)
        >>> pace.wait(pace.take(), 0.0) < pace.wait(pace.take(), 0.0)
        True
    """

    __slots__ = ("_began", "_lock", "_passed", "_passed_at", "_peak", "_recovery", "_seen", "_taken")

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._seen: deque[float] = deque(maxlen=_SEEN)
        self._peak: float | None = None  # calls a second at which calls were throttled
        self._began = 0.0  # when the rate was last decreased
        self._recovery = RECOVERY
        self._taken = 0  # turns
        self._passed, self._passed_at = 0.0, 0.0  # turns that have come, and when that was counted

    @property
    def limited(self) -> bool:
        """Whether calls wait for their turn."""
        return self._peak is not None

    def take(self) -> int:
        """Take the next turn, and return its number."""
        with self._lock:
            self._taken += 1
            return self._taken

    def wait(self, turn: int, now: float) -> float:
        """Return the seconds until a turn at the present rate, which may change; 0 if it has come.

        Args:
            turn: The number of the turn.
            now: The time.
        """
        with self._lock:
            rate = self._rate(now)
            if rate is None:
                self._passed = self._taken
                return 0.0
            passed = self._passed + max(0.0, now - self._passed_at) * rate
            self._passed, self._passed_at = min(passed, self._taken + 1.0), max(now, self._passed_at)
            left = (turn - self._passed) / rate
            return 0.0 if left < _INSTANT else left

    def throttled(self, *, sent: float, now: float) -> None:
        """Record an answer that throttled a call.

        Args:
            sent: When the request was sent. Those sent before the last decrease say nothing new.
            now: The time.
        """
        with self._lock:
            rate, measured = self._rate(now), self._measured(now)
            if rate is None:
                peak = FIRST_RATE if measured is None else measured
                self._recovery = 0.0 if measured is None else RECOVERY
                self._passed, self._passed_at = self._taken, now
            elif sent < self._began:
                return
            else:
                peak = min(rate, max(measured or 0.0, rate / 2))
                self._recovery = RECOVERY
            self._peak, self._began = max(peak, LOWEST_RATE), now

    def answered(self, now: float) -> None:
        """Record an answer that throttled nothing.

        Args:
            now: The time.
        """
        self._seen.append(now)

    def _measured(self, now: float) -> float | None:
        """Return the answers a second, or None before there were some."""
        if len(self._seen) < 2 or now <= self._seen[0]:
            return None
        return (len(self._seen) - 1) / (now - self._seen[0])

    def _rate(self, now: float) -> float | None:
        """Return the calls a second, or None for no limit."""
        if self._peak is None:
            return None
        rate = rate_after(self._peak, now - self._began, self._recovery)
        if rate is None:
            self._peak = None
        return rate
