"""Limits on retries and second requests, which protect an endpoint that is overloaded or failing.

Counters change without a lock. Two threads can lose a token between them, which costs less than a lock in every call.
"""

from __future__ import annotations

from mme_sdk.config import RetryPolicy

__all__ = ["FAULT_COST", "THROTTLE_COST", "Breaker", "Budget", "HedgeBudget", "SlowAnswers"]

# Tokens for one retry. A fault costs more, as in the retry quota of the AWS SDKs, because a retry helps less often.
THROTTLE_COST = 5
FAULT_COST = 14

_MIN_ANSWERS = 20  # answers before a limit is known
_MAX_HEDGES = 5.0  # tokens that can be saved; more would flood a fleet that becomes slow after hours of traffic
_STEP = 0.2


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


class SlowAnswers:
    """The 95th percentile of a model's latency, estimated without storing the answers.

    Stochastic approximation on a logarithmic scale: an answer above the estimate raises it by 0.95 of a step, and an
    answer below lowers it by 0.05 of a step. The two balance where one answer in twenty is above (Robbins, Monro 1951).
    """

    __slots__ = ("_answers", "_p95")

    def __init__(self) -> None:
        self._p95 = 0.0
        self._answers = 0

    def observe(self, took: float) -> None:
        """Record an answer of the loaded model.

        Args:
            took: Seconds it took.
        """
        self._p95 *= 1 + _STEP * (0.95 if took > self._p95 else -0.05)
        if not self._answers:
            self._p95 = took
        self._answers += 1

    @property
    def limit(self) -> float | None:
        """Seconds above which an answer is unusually slow; None before 20 answers."""
        return self._p95 if self._answers >= _MIN_ANSWERS else None


class HedgeBudget:
    """Tokens for second requests. Each call that could be hedged adds a share of a token."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = 0.0

    def earn(self, share: float) -> None:
        """Add a share of a token, for a call that could be hedged.

        Args:
            share: Share of calls that may be hedged.
        """
        self._tokens = min(_MAX_HEDGES, self._tokens + share)

    def pay(self) -> bool:
        """Take one token. Return False if there is none."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
