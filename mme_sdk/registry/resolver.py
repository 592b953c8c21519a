"""Cache of aliases and tombstones. It resolves `name@alias` to a version before every invocation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs

from mme_sdk._flows.effects import Flow
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError, MMEError, ModelNotFoundError
from mme_sdk.registry.alias import Alias, choose_version
from mme_sdk.registry.aliases import Aliases, record_name
from mme_sdk.registry.latest import Absent, without_record
from mme_sdk.registry.store import Record
from mme_sdk.types.model import ModelVersion, is_invokable

__all__ = ["Resolution", "Resolver"]

_CAPACITY = 10_000  # cached records; a program exceeds it only if it generates references
_REREADS = 4  # of an alias that other clients change while they delete its versions
_TOMBSTONES = ""  # cache name of the tombstones; no alias has it


@attrs.define
class _Cached:
    """A record in the cache.

    Attributes:
        record: The record; None if it does not exist.
        value: The alias, or the tombstones, in the record. `Absent` if the reference stands for no version.
        at: When the read began, on the monotonic clock.
        failed: When the last refresh failed, on the monotonic clock; None if it succeeded.
    """

    record: Record | None
    value: Any
    at: float
    failed: float | None = None


@attrs.frozen
class Resolution:
    """Answer of the cache to a reference.

    Attributes:
        version: The version; None if records must be read first.
        missing: Names of records to read first.
        stale: Names of records to refresh in the background.
    """

    version: ModelVersion | None = None
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


class Resolver:
    """Cache of the aliases and tombstones under one prefix, at most `staleness` seconds old while S3 answers.

    A reference in regular use is refreshed in the background at half that age, so that no caller waits. The first use
    of a reference, and the first use after a pause, read from S3. While S3 does not answer, the cached records stay in
    use.

    Args:
        aliases: The aliases and tombstones of the prefix.
        staleness: Maximum age of a cached record in seconds. A registry passes 5 unless its user chooses another value.
        monotonic: Monotonic clock, in seconds.
        random: Returns a uniform random number from [0, 1), for weighted aliases without a key.
    """

    def __init__(
        self, aliases: Aliases, *, staleness: float, monotonic: Callable[[], float], random: Callable[[], float]
    ) -> None:
        check_number("staleness", staleness, over=0, infinite=True)
        self._aliases = aliases
        self._staleness, self._monotonic, self._random = staleness, monotonic, random
        self._cache: dict[str, _Cached] = {}
        self._reads: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._generation = 0
        self._pid = os.getpid()

    def lookup(self, reference: str, key: str | None) -> Resolution:
        """Resolve a reference from the cache, without I/O and without waiting.

        Args:
            reference: `name@alias`, a target model, or `name@latest` for the version that was stored last.
            key: Key for a sticky choice of a weighted alias.

        Returns:
            The version, or the records that must be read first.

        Raises:
            InvalidInputError: The reference is not valid.
            ModelNotFoundError: The alias does not exist, or the version was deleted.
        """
        if self._pid != os.getpid():
            self._lock, self._reads, self._pid = threading.Lock(), {}, os.getpid()
        names = _record_names(reference)
        now = self._monotonic()
        cache = self._cache  # another thread may replace it
        missing, stale = [], []
        for name in names:
            cached = cache.get(name)
            if cached is None:
                missing.append(name)
                continue
            age = now - cached.at
            if age <= self._staleness / 2 or name in self._reads:
                continue
            if cached.failed is not None:
                if now - cached.failed > self._staleness / 2:
                    stale.append(name)
            elif age > self._staleness:
                missing.append(name)
            else:
                stale.append(name)
        if missing:
            return Resolution(missing=tuple(missing))
        if self._is_deleted(names) and cache[names[1]].at < cache[_TOMBSTONES].at:
            return Resolution(missing=names)  # the alias may have changed before the version was deleted
        return Resolution(self._version(cache, reference, names, key), stale=tuple(stale))

    def is_stored(self, target: str) -> bool:
        """Tell without I/O whether a target model has no tombstone.

        Args:
            target: The target model.

        Returns:
            True if the tombstones are cached, will not be refreshed yet, and do not have it.
        """
        cached = self._cache.get(_TOMBSTONES)
        if cached is None or cached.failed is not None or self._monotonic() - cached.at > self._staleness / 2:
            return False
        return target not in cached.value

    def last_known(self, reference: str, key: str | None) -> ModelVersion | None:
        """Resolve a reference from the cache, however old it is; None if it is not cached."""
        names, cache = _record_names(reference), self._cache
        if not all(name in cache for name in names):
            return None
        return self._version(cache, reference, names, key)

    def _version(
        self, cache: dict[str, _Cached], reference: str, names: tuple[str, ...], key: str | None
    ) -> ModelVersion:
        keys = self._aliases.store.keys
        target = reference
        if len(names) == 2:
            alias: Alias | Absent = cache[names[1]].value
            if isinstance(alias, Absent):
                raise ModelNotFoundError(alias.reason, model=reference, sent=False, hint=alias.hint)
            target = keys.target(alias.name, choose_version(alias, key, self._random))
        if target in cache[_TOMBSTONES].value:
            raise ModelNotFoundError(
                f"{keys.prefix.join(target)} was deleted",
                model=target,
                sent=False,
                hint="invoke another version, or point the alias at another version",
            )
        return keys.version(target)

    def claim(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], list[Future[None]]]:
        """Divide reads between callers.

        Returns:
            The records that this caller must `load` or `release`, and the reads of other callers to wait for.
        """
        with self._lock:
            others = [self._reads[name] for name in names if name in self._reads]
            own = tuple(name for name in names if name not in self._reads)
            for name in own:
                self._reads[name] = Future()
            return own, others

    def load(self, names: tuple[str, ...]) -> Flow[None]:
        """Read claimed records from S3 into the cache, and wake the callers that wait for them.

        Raises:
            MMEError: S3 did not answer. The cached records stay in use.
        """
        error: BaseException | None = None
        generation = self._generation
        try:
            # Aliases first: a tombstone counts only if the alias still refers to the version after it was read.
            for name in sorted(names, key=lambda name: name == _TOMBSTONES):
                yield from self._load(name, generation)
            for _ in range(_REREADS):
                if not self._is_deleted(names) or not (yield from self._load(names[1], generation)):
                    break
                yield from self._load(_TOMBSTONES, generation)
        except BaseException as caught:
            error = caught
            raise
        finally:
            with self._lock:
                for name in names:
                    cached = self._cache.get(name)
                    if cached is not None and error is not None:
                        cached.failed = self._monotonic()
                    read = self._reads.pop(name, None)
                    if read is not None and isinstance(error, MMEError):
                        read.set_exception(error)
                    elif read is not None:
                        read.set_result(None)

    def _load(self, name: str, generation: int) -> Flow[bool]:
        """Read one record into the cache. Return whether it has changed."""
        at = self._monotonic()
        cached = self._cache.get(name)
        old = None if cached is None else cached.record
        if name == _TOMBSTONES:
            record = yield from self._aliases.tombstones.record(old)
            value: Any = {} if record is None else record.body
        else:
            record, value = yield from self._aliases.read(name, old)
            if value is None:
                model, _, alias = name.removesuffix(".json").rpartition("@")
                value = yield from without_record(self._aliases, model, alias)
        if len(self._cache) >= _CAPACITY:
            self._cache = {}
        if generation == self._generation:  # otherwise it may be older than a change by this client
            self._cache[name] = _Cached(record, value, at)
        return record is not old or (cached is not None and cached.value != value)

    def _is_deleted(self, names: tuple[str, ...]) -> bool:
        """Return whether an alias refers to a version that has a tombstone."""
        cache = self._cache
        if len(names) < 2 or not all(name in cache for name in names):
            return False
        alias: Alias | Absent = cache[names[1]].value
        if isinstance(alias, Absent):
            return False
        tombstones = cache[_TOMBSTONES].value
        keys = self._aliases.store.keys
        return any(keys.target(alias.name, version) in tombstones for version in alias.weights)

    def release(self, names: tuple[str, ...]) -> None:
        """Give up claimed records, if they were not read. The callers that wait for them look again."""
        with self._lock:
            for name in names:
                read = self._reads.pop(name, None)
                if read is not None:
                    read.set_result(None)

    def invalidate(self) -> None:
        """Empty the cache after a change by this client."""
        self._generation += 1
        self._cache = {}


def _record_names(reference: str) -> tuple[str, ...]:
    if not isinstance(reference, str):
        raise InvalidInputError(f"a reference to a model must be text, not {type(reference).__name__}")
    name, at, alias = reference.rpartition("@")
    if at:
        return _TOMBSTONES, record_name(name, alias)
    if not is_invokable(reference):
        raise InvalidInputError(
            f"{reference[:80]!r} is neither a target model nor name@alias",
            hint="give a key relative to the prefix, such as fraud/v3.tar.gz, or fraud@live",
        )
    return (_TOMBSTONES,)
