"""The shared store in Redis or Valkey, through redis-py."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from mme_sdk.errors import MissingExtraError
from mme_sdk.runtime.shared.rules import CONSTANTS, Ask, Grant
from mme_sdk.runtime.shared.store import StoreDownError, StoreRefusedError

__all__ = ["RedisStore"]

_SERVER_CLOCK = -1.0


class RedisStore:
    """`Store` in Redis or Valkey. Every operation is one script, so it happens at once or not at all.

    Args:
        url: Address of the server, without a password.
        password: The password; None for none.
        namespace: Beginning of all keys.
        timeout: Longest wait for the server, in seconds.
        now: The time, for tests. None means the clock of the server.

    Raises:
        MissingExtraError: redis-py is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None,
        namespace: str,
        timeout: float,
        now: Callable[[], float] | None = None,
    ) -> None:
        try:
            import redis
            from redis import exceptions
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise MissingExtraError(
                "Shared('redis://…') needs redis-py, which is not installed", hint="pip install 'mme-sdk[shared]'"
            ) from error
        self._errors = exceptions
        self._client: Any = redis.Redis.from_url(
            url,
            password=password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # the caller decides what follows a failure
            decode_responses=True,
        )
        weakref.finalize(self, self._client.close)  # before its sockets are collected
        constants = "".join(f"local {name} = {value!r}\n" for name, value in CONSTANTS.items())
        text = resources.files("mme_sdk.runtime.shared").joinpath("store.lua").read_text(encoding="utf-8")
        self._script = self._client.register_script(constants + text)
        self._namespace, self._now = namespace, now

    def _run(self, operation: str, endpoint: str, worker: str, model: str, *arguments: str | int) -> Sequence[str]:
        base = f"{self._namespace}:{{{endpoint}}}"  # a cluster keeps the keys of an endpoint together
        keys = [f"{base}:{name}" for name in ("rate", "workers", f"lease:{model}", "slots", "limit", "times")]
        now = _SERVER_CLOCK if self._now is None else self._now()
        errors = self._errors
        try:
            answer: Sequence[str] = self._script(keys=keys, args=[operation, repr(now), worker, model, *arguments])
        except (errors.AuthenticationError, errors.AuthorizationError) as error:
            raise StoreRefusedError("it refuses the user or the password") from error
        except (errors.ConnectionError, errors.TimeoutError) as error:
            raise StoreDownError(str(error)) from error
        except errors.RedisError as error:
            raise StoreRefusedError(str(error)) from error
        except UnicodeDecodeError as error:
            raise StoreRefusedError("its entries are not those of mme_sdk") from error
        return answer

    def reserve(self, endpoint: str, worker: str, ask: Ask) -> Grant:
        """Reserve calls; see `Store.reserve`."""
        values = (repr(ask.given), ask.want, ask.done, repr(ask.throttled), repr(ask.known))
        count, starts_in, gap, rate, workers = map(float, self._run("reserve", endpoint, worker, "", *values))
        return Grant(int(count), starts_in, gap, rate, int(workers))

    def acquire(self, endpoint: str, model: str, worker: str, *, seconds: float) -> tuple[bool, str]:
        """Acquire a lease; see `Store.acquire`."""
        acquired, curves = self._run("acquire", endpoint, worker, model, repr(seconds))
        return acquired == "1", curves

    def renew(self, endpoint: str, model: str, worker: str, *, seconds: float) -> None:
        """Extend a lease and a cold slot; see `Store.renew`."""
        self._run("renew", endpoint, worker, model, repr(seconds))

    def release(self, endpoint: str, model: str, worker: str, *, curves: str) -> None:
        """Release a lease; see `Store.release`."""
        self._run("release", endpoint, worker, model, curves)

    def take_slot(self, endpoint: str, model: str, worker: str, *, seconds: float, initial: int, forced: bool) -> int:
        """Take a cold slot; see `Store.take_slot`."""
        (epoch,) = self._run("take_slot", endpoint, worker, model, repr(seconds), initial, int(forced))
        return int(epoch)

    def free_slot(self, endpoint: str, model: str, worker: str, *, verdict: int, epoch: int, maximum: int) -> None:
        """Free a cold slot; see `Store.free_slot`."""
        self._run("free_slot", endpoint, worker, model, verdict, epoch, maximum)
