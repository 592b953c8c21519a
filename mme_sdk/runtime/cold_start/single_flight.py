"""Single flight: while a model is cold, one caller knocks and the others wait for it.

Every knock may reach another instance and start another load, and duplicate loads are what makes a fleet collapse. So
the first caller of a cold model *leads*; those who come meanwhile *wait*; when the leader gets an answer they *go*, a
few at a time, since all at once would spill to instances that do not hold the model. A leader that leaves without an
answer (its deadline, an error, a cancellation) hands over to one of those who wait.

Nothing here sleeps, sends or tells the time: a seat is a ticket that whoever sits in it waits for in its own way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["Flight", "Flights", "Pace", "Role", "Seat"]

_START = 2  # the least that keeps an instance busy
_MOST = 64
_HERD = 24  # answers after which those who wait are no herd but traffic, and are let go faster and faster
_PATIENCE = 128  # answers for each place of the width before one more is tried
_PATIENCE_AFTER_SPILL = 20  # times as long, where more was tried and was too much


class Role(Enum):
    """What a caller is to do."""

    WAITS = "waits"
    LEADS = "leads"
    GOES = "goes"
    LEFT = "left"


class Pace:
    """How many of those who waited may go at a time, at one endpoint.

    Too many at once spill to an instance that does not hold the model, which loads it again and lets them wait. From
    how many on is not published, so it is found: one more after many answers that came as usual, one less for long
    after one that did not.

    Attributes:
        width: How many.
    """

    __slots__ = ("_answers", "_patience", "width")

    def __init__(self) -> None:
        self.width = _START
        self._answers = 0
        self._patience = _PATIENCE

    def as_usual(self) -> None:
        """One of them was answered as fast as usual."""
        self._answers += 1
        if self._answers >= self._patience * self.width and self.width < _MOST:
            self.width, self._answers, self._patience = self.width + 1, 0, _PATIENCE

    def spilled(self) -> None:
        """One of them met an instance that was still to load the model."""
        self.width = max(1, self.width - 1)
        self._answers, self._patience = 0, _PATIENCE * _PATIENCE_AFTER_SPILL


class Flight:
    """One model's cold start, and everybody who is in it.

    Attributes:
        cold_since: When its load began, as far as known; None before the first look.
        last_cold: When the last look found it cold.
        next_look: When whoever leads should look next.
        looks: How many looks found it cold.
        leased: Whether it holds the lease that other processes respect.
        answers: How many of it were answered since the model was last found cold.
        spill: Whether the model is cold only on the instance that was hit: then nobody else need wait.
    """

    __slots__ = (
        "answers",
        "cold_since",
        "going",
        "key",
        "last_cold",
        "leader",
        "leased",
        "looks",
        "next_look",
        "pace",
        "ready",
        "spill",
        "waiting",
    )

    def __init__(self, key: tuple[str, str], pace: Pace) -> None:
        self.key = key
        self.pace = pace
        self.leader: Seat | None = None
        self.waiting: deque[Seat] = deque()
        self.going: set[Seat] = set()
        self.ready = False
        self.cold_since: float | None = None
        self.last_cold: float | None = None
        self.next_look: float | None = None
        self.looks = 0
        self.leased = False
        self.answers = 0
        self.spill = False

    @property
    def width(self) -> int:
        """How many may go at a time: the endpoint's pace, but a busy model is not held up for long."""
        return max(self.pace.width, self.answers // 4) if self.answers > _HERD else self.pace.width

    @property
    def ended(self) -> bool:
        """Whether everybody left it."""
        return self.leader is None and not self.going and not self.waiting


class Seat:
    """One caller's place in a flight; a ticket that comes when the caller may do something.

    Attributes:
        flight: The flight.
        role: What the caller is to do now.
    """

    __slots__ = ("_flights", "_wake", "flight", "role")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self.flight = flight
        self.role = Role.WAITS
        self._wake: Callable[[], None] | None = None

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` once the caller need not wait any more: when it leads, goes, or, leading, need not lead on."""
        with self._flights.lock:
            if self.role in (Role.WAITS, Role.LEADS):
                self._wake = wake
                return
        wake()

    def ready(self) -> None:
        """The caller got an answer from the model: the others may go."""
        self._flights.change(self, ready=True)

    def cold(self) -> None:
        """The caller found the model cold: if nobody leads, it does; else it waits behind who does."""
        self._flights.relapse(self)

    def leave(self) -> None:
        """The caller is done, in whatever way; may be said twice."""
        self._flights.change(self, ready=False)

    def turned(self, role: Role) -> Callable[[], None] | None:
        """Take a role; hands back whom to wake, for after the lock is free."""
        self.role = role
        wake, self._wake = self._wake, None
        return wake


class Flights:
    """All flights of an invoker, by endpoint and model. Safe from any thread and any event loop.

    Example:
        >>> flights, pace = Flights(), Pace()
        >>> first, second = [flights.join(("scoring", "fraud"), pace) for _ in range(2)]
        >>> first.role.value, second.role.value
        ('leads', 'waits')
        >>> first.ready()
        >>> second.role.value
        'goes'
    """

    def __init__(self) -> None:
        self.lock = ForkLock()
        self._flights: dict[tuple[str, str], Flight] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._flights)

    def busy(self, key: tuple[str, str]) -> bool:
        """Whether those who come have to queue: the model is loading, or others waited for it and go first."""
        if not self._flights:
            return False
        flight = self._flights.get(key)
        return flight is not None and not flight.spill

    def join(self, key: tuple[str, str], pace: Pace, *, ready: bool = False) -> Seat:
        """Take a seat in the flight of a model; its first caller leads.

        Args:
            key: Endpoint and target model.
            pace: How many of those who wait may go at a time.
            ready: Whether the model is known to be loaded: where there is no flight, nobody need lead.

        Returns:
            The seat; `leave` it in the end, whatever happens.
        """
        with self.lock:
            if self._generation != self.lock.generation:
                # The leaders of these flights are threads of the parent process.
                self._flights.clear()
                self._generation = self.lock.generation
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(key, pace)
                flight.ready = ready
            seat = Seat(self, flight)
            flight.waiting.append(seat)
            wakes = _advance(flight)
        _wake(wakes)
        return seat

    def change(self, seat: Seat, *, ready: bool) -> None:
        """A seat's caller got an answer (`ready`) or leaves; see `Seat`."""
        flight = seat.flight
        with self.lock:
            if seat.role is Role.LEFT:
                return
            _unseat(flight, seat)
            seat.turned(Role.LEFT)
            if ready:
                flight.ready = True
                flight.spill = False
                flight.answers += 1
            wakes = _advance(flight)
            if flight.ended and self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
        _wake(wakes)

    def relapse(self, seat: Seat) -> None:
        """A seat's caller found the model cold; see `Seat.cold`."""
        flight = seat.flight
        with self.lock:
            if seat.role is not Role.GOES:
                return
            flight.ready = False
            flight.answers = 0
            _unseat(flight, seat)
            seat.turned(Role.WAITS)
            flight.waiting.appendleft(seat)
            wakes = _advance(flight)
        _wake(wakes)


def _unseat(flight: Flight, seat: Seat) -> None:
    if seat.role is Role.LEADS:
        flight.leader = None
    elif seat.role is Role.GOES:
        flight.going.discard(seat)
    else:
        flight.waiting.remove(seat)


def _advance(flight: Flight) -> list[Callable[[], None]]:
    """Let the next ones go, or make one of them lead; hands back whom to wake, for after the lock is free."""
    turned: list[Callable[[], None] | None] = []
    if flight.ready:
        if flight.leader is not None:
            flight.going.add(flight.leader)
            turned.append(flight.leader.turned(Role.GOES))
            flight.leader = None
        while flight.waiting and len(flight.going) < flight.width:
            seat = flight.waiting.popleft()
            flight.going.add(seat)
            turned.append(seat.turned(Role.GOES))
    elif flight.leader is None and flight.waiting:
        flight.leader = flight.waiting.popleft()
        turned.append(flight.leader.turned(Role.LEADS))
    return [wake for wake in turned if wake is not None]


def _wake(wakes: list[Callable[[], None]]) -> None:
    for wake in wakes:
        wake()
