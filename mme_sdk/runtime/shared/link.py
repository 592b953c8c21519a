"""The way from one process to its shared store: trips, and what follows if the store does not answer."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from mme_sdk._flows.effects import Do, Flow
from mme_sdk.errors import ConfigurationError
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.shared.settings import Password, Shared
from mme_sdk.runtime.shared.store import Store, StoreDownError, StoreRefusedError

__all__ = ["Link"]

T = TypeVar("T")
_LOG = logging.getLogger("mme_sdk.runtime")
_LOOK = 2.0  # seconds between two looks for a store that did not answer
_SETTLE = 2.5  # seconds after the store answers again in which the other workers find it, too


class Link:
    """Makes trips to a store. Threads and event loops may share it; a forked child becomes a worker of its own.

    Args:
        shared: The settings.
        store: The store; None opens that of the settings on the first trip.
        now: Returns seconds; `time.monotonic` by default.

    Attributes:
        trips: How many trips were made.
    """

    def __init__(
        self, shared: Shared, *, store: Store | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared, self._store, self._now = shared, store, now
        self._lock = ForkLock()
        self._worker, self._generation = "", -1
        self._down_until = float("-inf")
        self._settled_at = float("-inf")
        self._down = self._reached = False
        self.trips = 0

    @property
    def worker(self) -> str:
        """The name of this process in the store."""
        with self._lock:
            if self._generation != self._lock.generation:
                self._worker, self._generation = uuid.uuid4().hex, self._lock.generation
            return self._worker

    @property
    def alone(self) -> bool:
        """Whether this process takes its local share of the rate.

        The store does not answer, or it is back and other workers may not have found it yet.
        """
        return self._down or self._now() < self._settled_at

    def trip(self, ask: Callable[[Store], T]) -> Flow[T | None]:
        """Ask the store.

        Args:
            ask: Calls one method of the store.

        Returns:
            A flow that returns the answer; None if the store does not answer, or did not a moment ago.

        Raises:
            ConfigurationError: The store cannot be used like this, and never could in this process.
        """
        if self._now() < self._down_until:
            return None
        try:
            answer: T = yield Do(lambda: ask(self._open()))
        except StoreDownError as error:
            if isinstance(error, StoreRefusedError) and not self._reached:
                raise ConfigurationError(
                    f"cannot share state in {self._shared.url}: {error}",
                    hint="correct the URL, the password or the permissions of Shared",
                ) from None
            self._failed(error)
            return None
        self._reached = True
        if self._down:
            self._down = False
            self._settled_at = self._now() + _SETTLE
            _LOG.info("%s answers again; state is shared with other processes", self._shared.url)
        return answer

    def _open(self) -> Store:
        self.trips += 1
        if self._store is None:
            self._store = _open(self._shared)
        return self._store

    def _failed(self, error: StoreDownError) -> None:
        self._down_until = self._now() + _LOOK
        if not self._down:
            self._down = True
            _LOG.warning("%s does not answer (%s); this process continues alone until it does", self._shared.url, error)


def _open(shared: Shared) -> Store:
    """Return the store of the settings. It connects on first use."""
    if shared.url.startswith("file:"):
        from mme_sdk.runtime.shared.file_store import FileStore

        return FileStore(shared.url.removeprefix("file:"), namespace=shared.namespace, timeout=shared.timeout)
    from mme_sdk.runtime.shared.redis_store import RedisStore

    password = shared.password.value if isinstance(shared.password, Password) else None
    if shared.password_env is not None:
        password = os.environ.get(shared.password_env)
        if not password:
            raise ConfigurationError(
                f"the environment variable {shared.password_env} has no password for {shared.url}",
                hint="set the variable in this process, or omit password_env",
            )
    return RedisStore(shared.url, password=password, namespace=shared.namespace, timeout=shared.timeout)
