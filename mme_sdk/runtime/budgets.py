"""What retries may cost an endpoint that is in trouble.

Counts are changed without a lock: two threads may lose a token between them, and that is cheaper than making every call
of every thread queue for a mutex.
"""

from __future__ import annotations

from mme_sdk.config import RetryPolicy

__all__ = ["FAULT_COST", "THROTTLE_COST", "Breaker", "Budget"]

THROTTLE_COST = 5  # tokens, as in the AWS SDKs' retry quota; a fault costs more because its cause is less often gone
FAULT_COST = 14


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
