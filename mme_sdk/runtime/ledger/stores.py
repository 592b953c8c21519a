"""What a ledger keeps: each request in an object of its own, or the answers of a stream together in a few objects."""

from __future__ import annotations

import threading
import uuid
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from mme_sdk._flows.effects import Flow, Sleep, Together
from mme_sdk.errors import ConflictError
from mme_sdk.runtime.ledger.entries import Entry, damaged, decode, encode
from mme_sdk.runtime.ledger.objects import Objects
from mme_sdk.types.reply import Reply

__all__ = ["AnswerStore", "RequestStore", "StreamStore"]

_ATTEMPTS = 6  # to write an object that another job is writing, or that another program deletes
_PAUSE = 0.05  # seconds after the first of them; it doubles
_ENTRIES, _BYTES, _SECONDS = 256, 4 << 20, 10.0  # after which the answers of a stream are written
_CACHED = 8  # objects of a stream in memory
_WIDTH = 8  # objects of a stream that are read at a time


class AnswerStore(Protocol):
    """The answers of a job by the keys of their requests. All operations are flows."""

    def open(self) -> Flow[None]:
        """Prepare it, before the first request."""
        ...

    def find(self, key: str) -> Flow[Reply[Any] | None]:
        """Return the answer to a request; None if there is none."""
        ...

    def keep(self, key: str, reply: Reply[Any]) -> Flow[Reply[Any]]:
        """Keep an answer. Return the one that counts: that of another job, if it was faster."""
        ...

    def finish(self) -> Flow[None]:
        """Write what is not yet written."""
        ...


class RequestStore:
    """Each answer in an object of its own, which any process finds by the key of the request.

    Args:
        objects: The objects.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def open(self) -> Flow[None]:
        """Prepare nothing."""
        yield from ()

    def find(self, key: str) -> Flow[Reply[Any] | None]:
        """Return the answer to a request; None if there is none."""
        name = f"requests/{key}"
        data = yield from self._objects.get(name)
        if data is None:
            return None
        address = self._objects.address(name)
        found = dict(decode(address, data))
        if key not in found:
            raise damaged(address, "it holds the answer to another request")
        return found[key]

    def keep(self, key: str, reply: Reply[Any]) -> Flow[Reply[Any]]:
        """Keep an answer. Return the one that counts: that of another job, if it was faster."""
        name, body = f"requests/{key}", encode([(key, reply)])
        for attempt in range(_ATTEMPTS):
            if (yield from self._objects.create(name, body)):
                return reply
            found = yield from self.find(key)
            if found is not None:
                return found
            yield Sleep(_PAUSE * 2**attempt)  # S3 refuses an object too while another request writes it
        raise ConflictError(
            f"{self._objects.address(name)} was not written: S3 refuses it as existing, but it does not exist",
            hint="check that no other program deletes objects of the ledger, and run the job again",
        )

    def finish(self) -> Flow[None]:
        """Write nothing: each answer is written at once."""
        yield from ()


class StreamStore:
    """The answers of a stream, some hundreds in one object. What is in memory of the others is 16 bytes for each.

    Args:
        objects: The objects.
        now: Returns seconds.
    """

    def __init__(self, objects: Objects, now: Callable[[], float]) -> None:
        self._objects, self._now = objects, now
        self._run = uuid.uuid4().hex[:16]
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._keys, self._places = array("Q"), array("L")  # the start of each key, in order, and the number of its name
        self._cached: OrderedDict[str, dict[str, Reply[Any]]] = OrderedDict()
        self._new: list[Entry] = []
        self._bytes, self._began, self._written = 0, 0.0, 0

    def open(self) -> Flow[None]:
        """Read which answers there are."""
        self._names = yield from self._objects.names("items/")
        keys, places = array("Q"), array("L")
        for start in range(0, len(self._names), _WIDTH):
            names = self._names[start : start + _WIDTH]
            results = yield Together([self._read(name) for name in names], _WIDTH)
            for place, found in enumerate(results, start):
                if isinstance(found, BaseException):
                    raise found
                keys.extend(found)
                places.extend([place] * len(found))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = array("Q", (keys[at] for at in order))
        self._places = array("L", (places[at] for at in order))

    def find(self, key: str) -> Flow[Reply[Any] | None]:
        """Return the answer to a request; None if there is none."""
        start = _start(key)
        at = bisect_left(self._keys, start)
        while at < len(self._keys) and self._keys[at] == start:
            found = (yield from self._entries(self._names[self._places[at]])).get(key)
            if found is not None:
                return found
            at += 1
        return None

    def keep(self, key: str, reply: Reply[Any]) -> Flow[Reply[Any]]:
        """Keep an answer. It is written with others, at the latest by the next call after ten seconds."""
        with self._lock:
            if not self._new:
                self._began = self._now()
            self._new.append((key, reply))
            self._bytes += len(reply.body)
            late = self._now() - self._began >= _SECONDS
            full = len(self._new) >= _ENTRIES or self._bytes >= _BYTES or late
            taken = self._take() if full else None
        if taken is not None:
            yield from self._write(*taken)
        return reply

    def finish(self) -> Flow[None]:
        """Write what is not yet written."""
        with self._lock:
            taken = self._take()
        if taken[1]:
            yield from self._write(*taken)

    def _take(self) -> tuple[str, list[Entry]]:
        taken, self._new, self._bytes = self._new, [], 0
        self._written += 1
        return f"items/{self._run}-{self._written:08d}", taken

    def _write(self, name: str, entries: list[Entry]) -> Flow[None]:
        # The name is that of this run, so an object that exists is that of an earlier attempt.
        yield from self._objects.create(name, encode(entries))

    def _read(self, name: str) -> Flow[list[int]]:
        data = yield from self._objects.get(name)
        return [] if data is None else [_start(key) for key, _ in decode(self._objects.address(name), data)]

    def _entries(self, name: str) -> Flow[dict[str, Reply[Any]]]:
        with self._lock:
            if name in self._cached:
                self._cached.move_to_end(name)
                return self._cached[name]
        data = yield from self._objects.get(name)
        entries = {} if data is None else dict(decode(self._objects.address(name), data))
        with self._lock:
            self._cached[name] = entries
            while len(self._cached) > _CACHED:
                self._cached.popitem(last=False)
        return entries


def _start(key: str) -> int:
    return int(key[:16], 16)
