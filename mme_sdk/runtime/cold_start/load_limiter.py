"""How many models of an endpoint may be cold-started at a time.

A fleet that loads more models at once than it has loaders gets slower at each of them, evicts what others still wait
for, and does not recover by itself. The number it bears is not published, so it is found: one more after a load that
went well while all slots were taken, half after one that took more than twice as long as loads do when they are not in
each other's way (AIMD, as in TCP). That is the quickest that was seen, forgotten slowly: an average would grow with the
jam that it should show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["Slot", "Slots"]

_JAM = 2.0
_DOWN, _UP = 0.3, 0.01
_MOST_SLOWNESS = 4.0


class Slot:
    """One caller's place among those who cold-start; a ticket that comes when it is free.

    Attributes:
        granted: Whether the caller may go on.
        alone: Whether nobody else had a slot when it was granted.
    """

    __slots__ = ("_slots", "_wake", "alone", "done", "epoch", "granted")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._wake: Callable[[], None] | None = None
        self.granted = False
        self.done = False
        self.epoch = 0
        self.alone = True

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` once the slot is granted."""
        with self._slots.lock:
            if not self.granted:
                self._wake = wake
                return
        wake()

    def give_back(self, load: tuple[float, float] | None = None) -> None:
        """The caller is done; may be said twice.

        Args:
            load: What the load took at least and at most, in seconds or in any measure that makes models comparable;
                None where nothing was loaded.
        """
        self._slots.take_back(self, load)

    def grant(self, epoch: int, *, alone: bool) -> Callable[[], None] | None:
        """Become granted; hands back whom to wake, for after the lock is free."""
        self.granted, self.epoch, self.alone = True, epoch, alone
        wake, self._wake = self._wake, None
        return wake


class Slots:
    """The cold slots of one endpoint.

    Args:
        start: Slots to begin with.
        most: The most that they become.

    Attributes:
        slowness: How many times as long loads that are not alone take lately as in a free fleet, from 1 to 4.

    Example:
        >>> slots = Slots(1, 8)
        >>> first, second = slots.take(), slots.take()
        >>> first.granted, second.granted
        (True, False)
        >>> first.give_back(load=(2.0, 2.5))
        >>> second.granted, slots.limit
        (True, 2)
    """

    def __init__(self, start: int, most: int) -> None:
        self.lock = ForkLock()
        self.limit = start
        self.slowness = 1.0
        self._most = max(start, most)
        self._used = 0
        self._waiting: deque[Slot] = deque()
        self._epoch = 0
        self._free: float | None = None  # what a load takes in a free fleet
        self._generation = 0

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._used

    def take(self, *, at_once: bool = False) -> Slot:
        """Ask for a slot; granted at once or in turn.

        Args:
            at_once: Grant it although none may be free: the load has begun already.
        """
        slot = Slot(self)
        with self.lock:
            if self._generation != self.lock.generation:
                self._used, self._generation = 0, self.lock.generation
                self._waiting.clear()
            if at_once or self._used < self.limit:
                self._used += 1
                slot.grant(self._epoch, alone=self._used == 1)
            else:
                self._waiting.append(slot)
        return slot

    def take_back(self, slot: Slot, load: tuple[float, float] | None) -> None:
        """A slot's caller is done; see `Slot.give_back`."""
        wakes: list[Callable[[], None]] = []
        with self.lock:
            if slot.done:
                return
            slot.done = True
            if not slot.granted:
                self._waiting.remove(slot)
                return
            if load is not None:
                self._adapt(slot, load)
            self._used -= 1
            while self._waiting and self._used < self.limit:
                self._used += 1
                wake = self._waiting.popleft().grant(self._epoch, alone=self._used == 1)
                if wake is not None:
                    wakes.append(wake)
        for wake in wakes:
            wake()

    def _adapt(self, slot: Slot, load: tuple[float, float]) -> None:
        at_least, at_most = load
        free = self._free
        self._free = at_most if free is None else free + (_DOWN if at_most < free else _UP) * (at_most - free)
        # A load that was alone was in nobody's way: it is slow for a reason of its own.
        slow = min(at_least / self._free, _MOST_SLOWNESS) if self._used > 1 or not slot.alone else 1.0
        self.slowness += _DOWN * (max(1.0, slow) - self.slowness)
        # Looks are far apart, so a load is known within bounds: it was slow if even the lower one is.
        if free is None or at_least <= _JAM * free:
            if self._used >= self.limit:
                self.limit = min(self._most, self.limit + 1)
        elif slot.epoch == self._epoch:
            # Those who started before the last halving met the same jam: it is one reason, not many.
            self.limit = max(1, self.limit // 2)
            self._epoch += 1
