"""What retries and hedges may cost an endpoint that is in trouble.

Counts are changed without a lock: two threads may lose a token between them, and that is cheaper than making every call
of every thread queue for a mutex.
"""

from __future__ import annotations

from mme_sdk.config import RetryPolicy

__all__ = ["FAULT_COST", "THROTTLE_COST", "Breaker", "Budget", "HedgeBudget", "Tail"]

THROTTLE_COST = 5  # tokens, as in the AWS SDKs' retry quota; a fault costs more because its cause is less often gone
FAULT_COST = 14

_FEW = 20  # answers before anything is called unusual
_MOST_SAVED = 5.0  # hedges; a budget that was saved for hours must not flood a fleet that gets slow
_STEP = 0.2


class Budget:
    """A bucket of tokens that pay for retries; successes fill it again.

    Args:
        capacity: Tokens when full.
    """

    __slots__ = ("_capacity", "spent")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.spent = 0

    def pay(self, cost: int) -> bool:
        """Take tokens; False where too few are left."""
        if self.spent + cost > self._capacity:
            return False
        self.spent += cost
        return True


class Breaker:
    """Stops retries, never first attempts, after many faults in a row.

    Args:
        policy: How many, and for how long.
    """

    __slots__ = ("_faults", "_policy", "open_until")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._faults = 0
        self.open_until = 0.0

    def fault(self, now: float) -> bool:
        """Count a fault; whether it may be retried."""
        self._faults += 1
        if self._faults >= self._policy.breaker_faults:
            self._faults = 0
            self.open_until = now + self._policy.breaker_rest
        return now >= self.open_until

    def success(self) -> None:
        """Count a success."""
        self._faults = 0


class Tail:
    """How slow a model's answers usually are at most: the 95th percentile, followed without storing any of them.

    Stochastic approximation on a logarithmic scale: up by 0.95 of a step for an answer that took longer, down by 0.05
    for one that did not, which balance where one in twenty takes longer (Robbins, Monro 1951).
    """

    __slots__ = ("_p95", "_seen")

    def __init__(self) -> None:
        self._p95 = 0.0
        self._seen = 0

    def saw(self, took: float) -> None:
        """An answer of the loaded model took so many seconds."""
        self._p95 *= 1 + _STEP * (0.95 if took > self._p95 else -0.05)
        if not self._seen:
            self._p95 = took
        self._seen += 1

    @property
    def unusual(self) -> float | None:
        """Seconds after which an answer is unusually late; None where too few were seen."""
        return self._p95 if self._seen >= _FEW else None


class HedgeBudget:
    """Tokens for second requests: every call that could be hedged earns its share of one."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = 0.0

    def earn(self, share: float) -> None:
        """A call was made that could have been hedged."""
        self._saved = min(_MOST_SAVED, self._saved + share)

    def pay(self) -> bool:
        """Take one token; False where there is none."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
