"""Parts of a client: values that are made on first use, and the registries by S3 prefix."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mme_sdk._validation import check_instance, check_number
from mme_sdk.aws.session import Aws
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.fork_safe_lock import ForkLock

if TYPE_CHECKING:
    from mme_sdk.registry.store import ObjectOptions

__all__ = ["Lazy", "Registries"]

T = TypeVar("T")
RegistryT = TypeVar("RegistryT")


class Lazy(Generic[T]):
    """Value that is made on first use. Threads that race for it get the same value.

    Args:
        make: Makes the value. It may be called more than once; one value is kept.
        check: Called after the value is made, and whenever it is asked for. It raises if the value may not be used.
            None means that it always may.
    """

    def __init__(self, make: Callable[[], T], check: Callable[[], None] | None = None) -> None:
        self._make = make
        self._check = check
        self._made: dict[str, T] = {}

    @property
    def made(self) -> T | None:
        """The value, or None if it has not been created."""
        return self._made.get("value")

    def get(self) -> T:
        """Return the value."""
        found = self._made.get("value")
        if found is None:
            found = self._made.setdefault("value", self._make())
        if self._check is not None:
            self._check()
        return found


class _Entry(NamedTuple, Generic[RegistryT]):
    registry: RegistryT
    key: str
    options: ObjectOptions | None
    staleness: float


class Registries(Generic[RegistryT]):
    """Registries of a client, by S3 prefix. Safe to share between threads.

    A prefix has one layout of keys. Its registries may differ in `options` and `staleness`.

    Attributes:
        stores: The registry of each prefix that resolves `name@alias` in invocations: the one with the shortest
            staleness.

    Args:
        load: Imports and returns the registry class.
    """

    def __init__(self, load: Callable[[], Callable[..., RegistryT]]) -> None:
        self.stores: dict[str, Any] = {}
        self._load = load
        self._entries: dict[str, list[_Entry[RegistryT]]] = {}
        self._lock = ForkLock()

    def get(
        self,
        aws: Aws,
        uri: str,
        *,
        key: str | None,
        options: ObjectOptions | None,
        staleness: float | None,
        client: object = None,
    ) -> RegistryT:
        """Return the registry of a prefix with the given settings. It is made on first use.

        Args:
            aws: AWS session of a new registry.
            uri: The prefix.
            key: Layout of the keys. None means the layout that the prefix has here, or the default.
            options: Options of written objects. None means those of the first registry of the prefix.
            staleness: Seconds. None means the staleness of the first registry of the prefix, or the default.
            client: The client that makes the registry, with which it travels to another process.

        Raises:
            InvalidInputError: A setting is invalid, or the prefix has another layout of keys.
        """
        from mme_sdk.types.s3uri import S3Uri

        prefix = str(S3Uri.parse(uri).as_prefix())
        if staleness is not None:
            check_number("staleness", staleness, at_least=0)
        if options is not None:
            from mme_sdk.registry.store import ObjectOptions

            check_instance("options", options, ObjectOptions)
        make = self._load()
        with self._lock:
            entries = self._entries.get(prefix, [])
            if entries and key is not None and key != entries[0].key:
                raise InvalidInputError(
                    f"key: this client uses {prefix} with the layout {entries[0].key!r}, not {key!r}",
                    hint="pass key= to the first models() call of the prefix, or make another client for this layout",
                )
            wanted_key, wanted_options, wanted_staleness = (
                (entries[0].key, entries[0].options, entries[0].staleness) if entries else _defaults(make)
            )
            wanted_key = wanted_key if key is None else key
            wanted_options = wanted_options if options is None else options
            wanted_staleness = wanted_staleness if staleness is None else staleness
            for entry in entries:
                if (entry.options, entry.staleness) == (wanted_options, wanted_staleness):
                    self.stores.setdefault(prefix, entry.registry)  # an invoker removes a store that it cannot read
                    return entry.registry
            registry = make(aws, uri, key=wanted_key, options=wanted_options, staleness=wanted_staleness, client=client)
            if all(wanted_staleness < entry.staleness for entry in entries):
                self.stores[prefix] = registry
            self._entries.setdefault(prefix, []).append(_Entry(registry, wanted_key, wanted_options, wanted_staleness))
            return registry


def _defaults(make: Callable[..., Any]) -> tuple[str, None, float]:
    parameters = inspect.signature(make).parameters
    return parameters["key"].default, None, parameters["staleness"].default
