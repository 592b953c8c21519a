"""How many models of an endpoint may be cold-started at a time.

A fleet that loads more models at once than it has loaders gets slower at each of them, evicts what others still wait
for, and does not recover by itself. The number it bears is not published, so it is found: one more after a load that
went well while all slots were taken, half after one that took more than twice as long as expected (AIMD, as in TCP).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mme_sdk.runtime.forks import ForkLock

__all__ = ["Slot", "Slots"]


class Slot:
    """One caller's place among those who cold-start; a ticket that comes when it is free.

    Attributes:
        granted: Whether the caller may go on.
    """

    __slots__ = ("_slots", "_wake", "done", "epoch", "granted")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._wake: Callable[[], None] | None = None
        self.granted = False
        self.done = False
        self.epoch = 0

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` once the slot is granted."""
        with self._slots.lock:
            if not self.granted:
                self._wake = wake
                return
        wake()

    def give_back(self, slow: bool | None = None) -> None:
        """The caller is done; may be said twice.

        Args:
            slow: Whether the load took more than twice what was expected; None where nothing was loaded.
        """
        self._slots.take_back(self, slow)

    def grant(self, epoch: int) -> Callable[[], None] | None:
        """Become granted; hands back whom to wake, for after the lock is free."""
        self.granted, self.epoch = True, epoch
        wake, self._wake = self._wake, None
        return wake


class Slots:
    """The cold slots of one endpoint.

    Args:
        start: Slots to begin with.
        most: The most that they become.

    Example:
        >>> slots = Slots(1, 8)
        >>> first, second = slots.take(), slots.take()
        >>> first.granted, second.granted
        (True, False)
        >>> first.give_back(slow=False)
        >>> second.granted, slots.limit
        (True, 2)
    """

    def __init__(self, start: int, most: int) -> None:
        self.lock = ForkLock()
        self.limit = start
        self._most = max(start, most)
        self._used = 0
        self._waiting: deque[Slot] = deque()
        self._epoch = 0
        self._generation = 0

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._used

    def take(self) -> Slot:
        """Ask for a slot; granted at once or in turn."""
        slot = Slot(self)
        with self.lock:
            if self._generation != self.lock.generation:
                self._used, self._generation = 0, self.lock.generation
                self._waiting.clear()
            if self._used < self.limit:
                self._used += 1
                slot.grant(self._epoch)
            else:
                self._waiting.append(slot)
        return slot

    def take_back(self, slot: Slot, slow: bool | None) -> None:
        """A slot's caller is done; see `Slot.give_back`."""
        wakes: list[Callable[[], None]] = []
        with self.lock:
            if slot.done:
                return
            slot.done = True
            if not slot.granted:
                self._waiting.remove(slot)
                return
            if slow is False and self._used >= self.limit:
                self.limit = min(self._most, self.limit + 1)
            elif slow and slot.epoch == self._epoch:
                # Those who started before the last halving met the same jam: it is one reason, not many.
                self.limit = max(1, self.limit // 2)
                self._epoch += 1
            self._used -= 1
            while self._waiting and self._used < self.limit:
                self._used += 1
                wake = self._waiting.popleft().grant(self._epoch)
                if wake is not None:
                    wakes.append(wake)
        for wake in wakes:
            wake()
