"""Limits on retries, which protect an endpoint that is overloaded or failing.

Counters change without a lock. Two threads can lose a token between them, which costs less than a lock in every call.
"""

from __future__ import annotations

from mme_sdk.config import RetryPolicy

__all__ = ["FAULT_COST", "THROTTLE_COST", "Breaker", "Budget"]

# Tokens for one retry. A fault costs more, as in the retry quota of the AWS SDKs, because a retry helps less often.
THROTTLE_COST = 5
FAULT_COST = 14


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
