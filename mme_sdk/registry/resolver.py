"""From `name@alias` to a version, from memory: what runs before every invocation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs

from mme_sdk._effects import Flow
from mme_sdk.errors import InvalidInputError, MMEError, ModelNotFoundError
from mme_sdk.registry.aliases import Alias, Aliases, choose, note_name
from mme_sdk.registry.store import Note
from mme_sdk.types.model import ModelVersion, is_invokable

__all__ = ["Resolution", "Resolver"]

_MOST = 10_000  # references remembered; more come from somebody who makes them up
_AGAIN = 4  # reads of an alias that others move and whose versions they delete all the time
_TOMBSTONES = ""  # cached beside the aliases, under a place that no alias has


@attrs.define
class _Known:
    """Something read from S3.

    Attributes:
        note: The note; None where there was none.
        value: What it says.
        at: When the read began, on the monotonic clock.
        failed: When the last attempt to read it again failed; None where it did not.
    """

    note: Note | None
    value: Any
    at: float
    failed: float | None = None


@attrs.frozen
class Resolution:
    """What memory says about a reference.

    Attributes:
        version: The answer; None where something must be read first.
        missing: Places to read before there is an answer.
        stale: Places to read in the background.
    """

    version: ModelVersion | None = None
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


class Resolver:
    """Aliases and tombstones in memory, never older than `staleness` while S3 answers.

    A reference in steady use is read again behind the callers' backs at half that age, so that none of them waits.
    The first use of a reference, and the first after a pause, reads S3. While S3 does not answer, what was last known
    holds.

    Args:
        aliases: The aliases and tombstones of the prefix.
        staleness: Seconds.
        monotonic: The clock.
        draw: Uniform draws from [0, 1), for weighted aliases without a key.
    """

    def __init__(
        self, aliases: Aliases, *, staleness: float, monotonic: Callable[[], float], draw: Callable[[], float]
    ) -> None:
        if isinstance(staleness, bool) or not isinstance(staleness, (int, float)) or not staleness > 0:
            raise InvalidInputError(f"staleness must be a positive number of seconds, not {staleness!r}")
        self._aliases = aliases
        self._staleness, self._monotonic, self._draw = staleness, monotonic, draw
        self._known: dict[str, _Known] = {}
        self._flights: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._forgotten = 0
        self._pid = os.getpid()

    def look(self, reference: str, key: str | None) -> Resolution:
        """Answer from memory, as far as that goes; no I/O, no waiting.

        Args:
            reference: `name@alias`, or a target model.
            key: Makes a weighted alias sticky.

        Returns:
            The version, or what must be read first.

        Raises:
            InvalidInputError: No legal reference.
            ModelNotFoundError: There is no such alias, or the version was deleted.
        """
        if self._pid != os.getpid():
            self._lock, self._flights, self._pid = threading.Lock(), {}, os.getpid()
        places = _places(reference)
        now = self._monotonic()
        memory = self._known  # another thread may put a new one in its place
        missing, stale = [], []
        for place in places:
            known = memory.get(place)
            if known is None:
                missing.append(place)
                continue
            age = now - known.at
            if age <= self._staleness / 2 or place in self._flights:
                continue
            if known.failed is not None:
                if now - known.failed > self._staleness / 2:
                    stale.append(place)
            elif age > self._staleness:
                missing.append(place)
            else:
                stale.append(place)
        if missing:
            return Resolution(missing=tuple(missing))
        if self._is_dead(places) and memory[places[1]].at < memory[_TOMBSTONES].at:
            return Resolution(missing=places)  # the alias may have moved before the version was deleted
        return Resolution(self._version(memory, reference, places, key), stale=tuple(stale))

    def last_known(self, reference: str, key: str | None) -> ModelVersion | None:
        """The answer from memory, however old; None where there is none."""
        places, memory = _places(reference), self._known
        if not all(place in memory for place in places):
            return None
        return self._version(memory, reference, places, key)

    def _version(
        self, memory: dict[str, _Known], reference: str, places: tuple[str, ...], key: str | None
    ) -> ModelVersion:
        keys = self._aliases.store.keys
        target = reference
        if len(places) == 2:
            alias: Alias | None = memory[places[1]].value
            if alias is None:
                raise ModelNotFoundError(
                    f"there is no alias {reference} under {keys.prefix}",
                    model=reference,
                    sent=False,
                    hint="set it with alias(); a target model with '@' in its name cannot be told from an alias",
                )
            target = keys.target(alias.name, choose(alias, key, self._draw))
        if target in memory[_TOMBSTONES].value:
            raise ModelNotFoundError(
                f"{keys.prefix.join(target)} was deleted",
                model=target,
                sent=False,
                hint="invoke another version, or point the alias elsewhere",
            )
        return keys.version(target)

    def claim(self, places: tuple[str, ...]) -> tuple[tuple[str, ...], list[Future[None]]]:
        """Share the work: places for the caller to `read`, and reads of others to wait for."""
        with self._lock:
            others = [self._flights[place] for place in places if place in self._flights]
            mine = tuple(place for place in places if place not in self._flights)
            for place in mine:
                self._flights[place] = Future()
            return mine, others

    def read(self, places: tuple[str, ...]) -> Flow[None]:
        """Read claimed places from S3 into memory, and wake who waits for them.

        Raises:
            MMEError: S3 does not answer; what was known stays.
        """
        error: BaseException | None = None
        forgotten = self._forgotten
        try:
            # Aliases first. A tombstone counts if the alias still means the version after it was read.
            for place in sorted(places, key=lambda place: place == _TOMBSTONES):
                yield from self._read(place, forgotten)
            for _ in range(_AGAIN):
                if not self._is_dead(places) or not (yield from self._read(places[1], forgotten)):
                    break
                yield from self._read(_TOMBSTONES, forgotten)
        except BaseException as caught:
            error = caught
            raise
        finally:
            with self._lock:
                for place in places:
                    known = self._known.get(place)
                    if known is not None and error is not None:
                        known.failed = self._monotonic()
                    flight = self._flights.pop(place, None)
                    if flight is not None and isinstance(error, MMEError):
                        flight.set_exception(error)
                    elif flight is not None:
                        flight.set_result(None)

    def _read(self, place: str, forgotten: int) -> Flow[bool]:
        """Read one place into memory, and say whether it has changed."""
        at = self._monotonic()
        known = self._known.get(place)
        old = None if known is None else known.note
        if place == _TOMBSTONES:
            note = yield from self._aliases.tombstones.note(old)
            value: Any = {} if note is None else note.body
        else:
            note, value = yield from self._aliases.read(place, old)
        if len(self._known) >= _MOST:
            self._known = {}
        if forgotten == self._forgotten:  # else it may be older than a change of our own
            self._known[place] = _Known(note, value, at)
        return note is not old

    def _is_dead(self, places: tuple[str, ...]) -> bool:
        """Whether an alias means a version with a tombstone."""
        memory = self._known
        if len(places) < 2 or not all(place in memory for place in places):
            return False
        alias: Alias | None = memory[places[1]].value
        dead = memory[_TOMBSTONES].value
        keys = self._aliases.store.keys
        return alias is not None and any(keys.target(alias.name, version) in dead for version in alias.weights)

    def abandon(self, places: tuple[str, ...]) -> None:
        """Give back claimed places that cannot be read."""
        with self._lock:
            for place in places:
                self._flights.pop(place).set_result(None)

    def forget(self) -> None:
        """Read everything again at its next use: this process has changed something."""
        self._forgotten += 1
        self._known = {}


def _places(reference: str) -> tuple[str, ...]:
    if not isinstance(reference, str):
        raise InvalidInputError(f"a reference to a model is text, not {type(reference).__name__}")
    name, at, alias = reference.rpartition("@")
    if at:
        return _TOMBSTONES, note_name(name, alias)
    if not is_invokable(reference):
        raise InvalidInputError(f"{reference[:80]!r} is no target model and no name@alias")
    return (_TOMBSTONES,)
