"""The shared rate of one endpoint, as a process sees it: it takes turns from slices that it reserved in the store."""

from __future__ import annotations

from collections.abc import Callable

from mme_sdk._flows.effects import Flow, Sleep
from mme_sdk.runtime.effects import RunFlow
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.retry.budgets import RECOVERY
from mme_sdk.runtime.shared.link import Link
from mme_sdk.runtime.shared.rules import UNLIMITED, VOID, Ask, Grant, Rate, reserve

__all__ = ["SharedPace"]

_REPORT = 0.2  # seconds for which a process without a limit does not ask whether there is one
_LONGEST = 0.5  # seconds after which a waiting call looks again
_SHORTEST = 0.005  # seconds
_NEVER = float("-inf")


class SharedPace:
    """Turns of calls to one endpoint. A slice has some turns, and a time in which they are valid.

    Counters change without a lock where every call passes. Two threads can lose a count between them.

    Args:
        link: The way to the store.
        endpoint: Name of the endpoint.
        rate: Calls a second; None if the rate is learned.
    """

    __slots__ = (
        "_again",
        "_done",
        "_endpoint",
        "_generation",
        "_given",
        "_granted",
        "_left",
        "_link",
        "_local",
        "_lock",
        "_rate",
        "_served",
        "_throttled",
        "_tickets",
        "_trip",
        "_void",
        "_want",
        "_workers",
    )

    def __init__(self, link: Link, endpoint: str, rate: float | None) -> None:
        self._link, self._endpoint, self._given = link, endpoint, rate or 0.0
        self._lock = ForkLock()
        self._rate, self._workers = self._given, 1  # the last that is known of all workers together
        self._local: Rate | None = None  # the share of this worker while the store does not answer
        self._reset()

    def _reset(self) -> None:
        self._generation = self._lock.generation
        self._left: list[float] | None = []  # when the turns of the slice come, the next one last; None for any number
        self._granted = 0
        self._again = _NEVER  # when the store may be asked again
        self._void = _NEVER  # when they are void
        self._tickets = self._served = 0  # calls that waited, and those of them that have left
        self._trip = False  # whether a call asks the store now
        self._want = 1
        self._done = 0
        self._throttled = _NEVER

    def take_now(self, now: float) -> bool:
        """Take a turn if one is valid and no other call waits for it.

        Args:
            now: The time.

        Returns:
            Whether there was one.
        """
        if self._tickets != self._served or now >= self._void:
            return False
        left = self._left
        if left is not None:
            try:
                if left[-1] > now:
                    return False
                left.pop()  # two threads that do this at the same time get one turn each, the second one early
            except IndexError:
                return False
        return True

    def wait_for_turn(self, monotonic: Callable[[], float], ends: float) -> Flow[bool]:
        """Take a turn as soon as there is one.

        Args:
            monotonic: Returns the time.
            ends: Until when to wait.

        Returns:
            A flow that returns whether a turn was taken in time.

        Raises:
            ConfigurationError: The store cannot be used like this.
        """
        with self._lock:
            if self._generation != self._lock.generation:
                self._reset()  # the calls that waited are threads of the parent process
            self._tickets += 1
            ticket = self._tickets
        try:
            while True:
                now = monotonic()
                with self._lock:
                    wait = self._try(ticket, now)
                    asks = wait is None and not self._trip
                    if asks:
                        self._trip = True
                if wait == 0.0:
                    return True
                if now >= ends:
                    if asks:
                        self._trip = False
                    return False
                if asks:
                    yield from self._ask(monotonic)
                else:
                    yield Sleep(min(_SHORTEST if wait is None else wait, ends - now))
        finally:
            with self._lock:
                self._served += 1

    def throttled(self, *, sent: float) -> None:
        """Record that a call was throttled.

        Args:
            sent: When its request was sent.
        """
        if not self._given:
            self._throttled = max(self._throttled, sent)
            if self._left is None:
                self._void = _NEVER  # the next call asks the store for the new rate

    def answered(self) -> None:
        """Record an answer that throttled nothing."""
        self._done += 1

    def _try(self, ticket: int, now: float) -> float | None:
        """Take a turn and return 0, or return the seconds to wait; None if the slice is used up or void."""
        left, place = self._left, ticket - self._served
        if now >= self._void or (left is not None and not left):
            return min(self._again - now, _LONGEST) if now < self._again else None
        if left is None:
            return 0.0
        try:
            behind = place - len(left)
            # The first call without a turn asks for the next slice as soon as this one is used up.
            after = max(behind - 1, 0) * self._workers / max(self._rate, 1e-3)
            comes = left[-max(place, 1)] if behind <= 0 else left[0] + after
            if behind <= 0 and comes <= now:
                left.pop()
                return 0.0
        except IndexError:  # `take_now` took the last one
            return None
        return min(max(comes - now, _SHORTEST), _LONGEST)

    def _ask(self, monotonic: Callable[[], float]) -> Flow[None]:
        """Ask the store for a slice, or the local rules if it does not answer."""
        now = asked = monotonic()
        left = self._left
        grant: Grant | None = None
        if left is not None and self._granted:
            used = self._granted - len(left)
            self._want = max(1, 2 * used if not left else used)
        throttled = asked - self._throttled if self._throttled > _NEVER else -1.0
        want = max(self._want, self._tickets - self._served)
        ask = Ask(given=self._given, want=want, done=self._done, throttled=throttled)
        self._done, self._throttled = 0, _NEVER
        link, endpoint, worker = self._link, self._endpoint, self._link.worker
        try:
            sent = ask
            if link.alone:
                known = 0.0 if self._given else self._rate
                sent = Ask(given=self._given, want=0, done=ask.done, throttled=-1.0, known=known)
            grant = yield RunFlow(link.trip(lambda store: store.reserve(endpoint, worker, sent)))
            if grant is None or link.alone:
                grant = self._ask_locally(ask, asked)
            else:
                self._rate, self._workers, self._local = grant.rate, grant.workers, None
            now = monotonic()
        finally:
            with self._lock:
                if grant is not None:
                    self._accept(grant, asked, now)
                self._trip = False

    def _ask_locally(self, ask: Ask, now: float) -> Grant:
        workers = max(self._workers, 1)
        if self._local is None:
            self._local = Rate()
            if not ask.given and self._rate:
                # Half of the recovery is over: the rate begins at 98 % of what is known.
                self._local = Rate(peak=self._rate / workers, began=now - RECOVERY / 2, recovery=RECOVERY)
        mine = Ask(given=ask.given / workers, want=ask.want, done=ask.done, throttled=ask.throttled)
        grant = reserve(self._local, mine, now, active=1, workers=1)
        if not ask.given and grant.rate:
            self._rate = grant.rate * workers
        return grant

    def _accept(self, grant: Grant, asked: float, now: float) -> None:
        self._granted = max(grant.count, 0)
        if grant.count == UNLIMITED:
            self._left, self._void = None, now + _REPORT
        else:
            start = now + grant.starts_in
            self._left = [start + turn * grant.gap for turn in reversed(range(grant.count))]
            self._again = now if grant.count else start
            self._void = asked + grant.starts_in + VOID
