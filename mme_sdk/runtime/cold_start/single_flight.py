"""Single flight: while a model is loading, one caller probes it and the others wait for that caller.

Each request to a loading model can reach another instance and start another load there, and duplicate loads overload a
fleet. So the first caller of a loading model becomes the leader and probes it. Later callers become followers and wait.
When the leader receives an answer, the followers are released a few at a time, because a burst of requests would spill
to instances that do not hold the model. If the leader ends without an answer, a follower becomes the leader.

This module does not sleep, send or read a clock. A `Waiter` is an event that threads and tasks wait for in their own
way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["Flight", "ReleaseLimit", "Role", "SingleFlight", "Waiter"]

_INITIAL_LIMIT = 2  # the least that keeps an instance busy
_MAX_LIMIT = 64
_BURST = 24  # answers after which the waiting callers are steady traffic rather than a burst
_ANSWERS_PER_INCREASE = 128  # answers for each unit of the limit before the limit grows by one
_SLOWDOWN_AFTER_SPILL = 20  # factor on `_ANSWERS_PER_INCREASE` after a spill


class Role(Enum):
    """What a caller may do."""

    FOLLOWER = "follower"
    """Wait."""
    LEADER = "leader"
    """Probe the model."""
    RELEASED = "released"
    """Send its request: the model is loaded."""
    DONE = "done"
    """Nothing: it has left the flight."""


class ReleaseLimit:
    """How many released callers of one endpoint may send at a time.

    If too many send at once, some requests spill to an instance that does not hold the model, and that instance loads
    it. AWS does not publish the threshold, so the limit adapts: it grows by one after many answers at the usual speed,
    and shrinks by one, for a long time, after a spill.

    Attributes:
        limit: The limit.
    """

    __slots__ = ("_answers", "_answers_per_increase", "limit")

    def __init__(self) -> None:
        self.limit = _INITIAL_LIMIT
        self._answers = 0
        self._answers_per_increase = _ANSWERS_PER_INCREASE

    def succeeded(self) -> None:
        """Record that a released caller was answered at the usual speed."""
        self._answers += 1
        if self._answers >= self._answers_per_increase * self.limit and self.limit < _MAX_LIMIT:
            self.limit, self._answers, self._answers_per_increase = self.limit + 1, 0, _ANSWERS_PER_INCREASE

    def spilled(self) -> None:
        """Record that a released caller reached an instance that did not hold the model."""
        self.limit = max(1, self.limit - 1)
        self._answers, self._answers_per_increase = 0, _ANSWERS_PER_INCREASE * _SLOWDOWN_AFTER_SPILL


class Flight:
    """The cold start of one model, and the callers that take part in it.

    Attributes:
        cold_since: When the load began, as far as known; None before the first probe.
        last_cold: When the latest unsuccessful probe ended.
        next_probe: When the leader should probe next; None before the first probe.
        failed_probes: How many probes found the model loading.
        leased: Whether this process holds the lease that other processes respect.
        answers: How many callers were answered since the latest unsuccessful probe.
        spilled: Whether the model is missing only on the instance that was hit, so that new callers need not wait.
    """

    __slots__ = (
        "answers",
        "cold_since",
        "failed_probes",
        "followers",
        "key",
        "last_cold",
        "leader",
        "leased",
        "next_probe",
        "ready",
        "release_limit",
        "released",
        "spilled",
    )

    def __init__(self, key: tuple[str, str], release_limit: ReleaseLimit) -> None:
        self.key = key
        self.release_limit = release_limit
        self.leader: Waiter | None = None
        self.followers: deque[Waiter] = deque()
        self.released: set[Waiter] = set()
        self.ready = False
        self.cold_since: float | None = None
        self.last_cold: float | None = None
        self.next_probe: float | None = None
        self.failed_probes = 0
        self.leased = False
        self.answers = 0
        self.spilled = False

    @property
    def concurrency(self) -> int:
        """How many callers may be released at a time; it grows with the answers, so that steady traffic flows."""
        limit = self.release_limit.limit
        return max(limit, self.answers // 4) if self.answers > _BURST else limit

    @property
    def ended(self) -> bool:
        """Whether every caller has left."""
        return self.leader is None and not self.released and not self.followers


class Waiter:
    """One caller in a flight; an event that occurs when the caller's role allows it to act.

    Attributes:
        flight: The flight.
        role: The caller's current role.
    """

    __slots__ = ("_single_flight", "_wake", "flight", "role")

    def __init__(self, single_flight: SingleFlight, flight: Flight) -> None:
        self._single_flight = single_flight
        self.flight = flight
        self.role = Role.FOLLOWER
        self._wake: Callable[[], None] | None = None

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` when a follower becomes leader or is released, and when a leader is released."""
        with self._single_flight.lock:
            if self.role in (Role.FOLLOWER, Role.LEADER):
                self._wake = wake
                return
        wake()

    def succeeded(self) -> None:
        """Leave with an answer from the model, which releases followers."""
        self._single_flight.finish(self, answered=True)

    def found_cold(self) -> None:
        """Return a released caller to the queue because it met a loading model; it leads if nobody else does."""
        self._single_flight.rejoin(self)

    def leave(self) -> None:
        """Leave without an answer. Idempotent."""
        self._single_flight.finish(self, answered=False)

    def assign(self, role: Role) -> Callable[[], None] | None:
        """Set the role. Return the function that wakes the caller, to be called without the lock."""
        self.role = role
        wake, self._wake = self._wake, None
        return wake


class SingleFlight:
    """The flights of all models, by endpoint and model. Threads and event loops may share it.

    Example:
        >>> single_flight, limit = SingleFlight(), ReleaseLimit()
        >>> first, second = [single_flight.join(("scoring", "fraud"), limit) for _ in range(2)]
        >>> first.role.value, second.role.value
        ('leader', 'follower')
        >>> first.succeeded()
        >>> second.role.value
        'released'
    """

    def __init__(self) -> None:
        self.lock = ForkLock()
        self._flights: dict[tuple[str, str], Flight] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._flights)

    def busy(self, key: tuple[str, str]) -> bool:
        """Return whether a new caller of a model must join a flight.

        Args:
            key: Endpoint and target model.

        Returns:
            True while the model is loading, and while callers that waited for it have priority.
        """
        if not self._flights:
            return False
        flight = self._flights.get(key)
        return flight is not None and not flight.spilled

    def join(self, key: tuple[str, str], release_limit: ReleaseLimit, *, ready: bool = False) -> Waiter:
        """Join the flight of a model. The first caller becomes the leader.

        Args:
            key: Endpoint and target model.
            release_limit: How many released callers of the endpoint may send at a time.
            ready: Whether the model is known to be loaded, so that a new flight needs no leader.

        Returns:
            The caller's place. The caller must call its `leave` in the end.
        """
        with self.lock:
            if self._generation != self.lock.generation:
                # The callers in these flights are threads of the parent process.
                self._flights.clear()
                self._generation = self.lock.generation
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(key, release_limit)
                flight.ready = ready
            waiter = Waiter(self, flight)
            flight.followers.append(waiter)
            wakes = _advance(flight)
        _wake(wakes)
        return waiter

    def finish(self, waiter: Waiter, *, answered: bool) -> None:
        """Remove a caller from its flight.

        Args:
            waiter: The caller.
            answered: Whether the model answered it.
        """
        flight = waiter.flight
        with self.lock:
            if waiter.role is Role.DONE:
                return
            _remove(flight, waiter)
            waiter.assign(Role.DONE)
            if answered:
                flight.ready = True
                flight.spilled = False
                flight.answers += 1
            wakes = _advance(flight)
            if flight.ended and self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
        _wake(wakes)

    def rejoin(self, waiter: Waiter) -> None:
        """Return a released caller to the head of the queue; see `Waiter.found_cold`.

        Args:
            waiter: The caller.
        """
        flight = waiter.flight
        with self.lock:
            if waiter.role is not Role.RELEASED:
                return
            flight.ready = False
            flight.answers = 0
            _remove(flight, waiter)
            waiter.assign(Role.FOLLOWER)
            flight.followers.appendleft(waiter)
            wakes = _advance(flight)
        _wake(wakes)


def _remove(flight: Flight, waiter: Waiter) -> None:
    if waiter.role is Role.LEADER:
        flight.leader = None
    elif waiter.role is Role.RELEASED:
        flight.released.discard(waiter)
    else:
        flight.followers.remove(waiter)


def _advance(flight: Flight) -> list[Callable[[], None]]:
    """Release followers, or make one of them the leader. Return the functions that wake them."""
    wakes: list[Callable[[], None] | None] = []
    if flight.ready:
        if flight.leader is not None:
            flight.released.add(flight.leader)
            wakes.append(flight.leader.assign(Role.RELEASED))
            flight.leader = None
        while flight.followers and len(flight.released) < flight.concurrency:
            waiter = flight.followers.popleft()
            flight.released.add(waiter)
            wakes.append(waiter.assign(Role.RELEASED))
    elif flight.leader is None and flight.followers:
        flight.leader = flight.followers.popleft()
        wakes.append(flight.leader.assign(Role.LEADER))
    return [wake for wake in wakes if wake is not None]


def _wake(wakes: list[Callable[[], None]]) -> None:
    for wake in wakes:
        wake()
