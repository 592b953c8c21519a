"""What `MMEClient` and `AsyncMMEClient` share: settings, `with_options`, and the parts that derived clients share."""

from __future__ import annotations

import copy
import enum
import inspect
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar

import attrs

from mme_sdk._lazy import Lazy
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance, check_number
from mme_sdk.aws.session import Aws
from mme_sdk.config import TRANSPORTS, ColdStart, RetryPolicy, Timeouts
from mme_sdk.display.shown import Shown, without_secrets
from mme_sdk.errors import ClosedError, ConfigurationError, InvalidInputError
from mme_sdk.runtime.fork_safe_lock import ForkLock

if TYPE_CHECKING:
    from datetime import datetime

    from mme_sdk.aws.session import Session
    from mme_sdk.registry.store import ObjectOptions
    from mme_sdk.runtime import Codecs, Hook, Memory

__all__ = ["UNCHANGED", "ClientBase", "ClientSettings", "Registries", "Unchanged", "read_metrics"]

T = TypeVar("T")
TransportT = TypeVar("TransportT")
RegistryT = TypeVar("RegistryT")
EndpointsT = TypeVar("EndpointsT")
InvokerT = TypeVar("InvokerT")


class Unchanged(enum.Enum):
    """Default of the keywords of `with_options`: the setting keeps its value."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED


@attrs.frozen(kw_only=True)
class ClientSettings:
    """Arguments of a client that are not objects to share; `MMEClient` documents them."""

    region: str | None
    session: Session | None
    endpoint_url: str | Mapping[str, str] | None
    timeouts: Timeouts
    retry: RetryPolicy
    cold_start: ColdStart
    transport: str
    hooks: tuple[Hook, ...]
    codecs: Codecs | None

    def __attrs_post_init__(self) -> None:
        if self.region is not None and not (isinstance(self.region, str) and self.region):
            raise InvalidInputError(f"region must be the name of an AWS region, or None, not {self.region!r}")
        if self.session is not None and not callable(getattr(self.session, "client", None)):
            raise InvalidInputError(
                f"session must be a boto3 session, or None, not {str(self.session)[:80]!r}",
                hint="boto3.Session(profile_name=…) makes one of a profile",
            )
        url = self.endpoint_url
        if url is not None:
            pairs = url.items() if isinstance(url, Mapping) else [("*", url)]
            if not all(isinstance(part, str) and part for pair in pairs for part in pair):
                raise InvalidInputError(
                    f"endpoint_url must be an address, or an address for each service name, not {str(url)[:80]!r}"
                )
        check_instance("timeouts", self.timeouts, Timeouts)
        check_instance("retry", self.retry, RetryPolicy)
        check_instance("cold_start", self.cold_start, ColdStart)
        if not isinstance(self.transport, str) or self.transport not in TRANSPORTS:
            raise ConfigurationError(f"transport must be one of {TRANSPORTS}, not {str(self.transport)[:80]!r}")
        if self.codecs is not None:
            from mme_sdk.runtime.payloads.codecs import Codecs

            check_instance("codecs", self.codecs, Codecs)


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
            check_number("staleness", staleness, over=0)
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
            made: Any = make(aws, uri, key=wanted_key, options=wanted_options, staleness=wanted_staleness)
            made._client = client
            registry: RegistryT = made
            if all(wanted_staleness < entry.staleness for entry in entries):
                self.stores[prefix] = registry
            self._entries.setdefault(prefix, []).append(_Entry(registry, wanted_key, wanted_options, wanted_staleness))
            return registry


def _defaults(make: Callable[..., Any]) -> tuple[str, None, float]:
    parameters = inspect.signature(make).parameters
    return parameters["key"].default, None, parameters["staleness"].default


@short_tracebacks
class ClientBase(Shown, Generic[TransportT, RegistryT, EndpointsT, InvokerT]):
    """Settings of a client, and the parts that it shares with the clients that `with_options` returns."""

    _aws: Aws
    _registries: Lazy[Registries[RegistryT]]
    _transport: Lazy[TransportT]
    _memory: Lazy[Memory]
    _given_memory: Memory | None
    _endpoints: Lazy[EndpointsT]
    _invoker: Lazy[InvokerT]

    def __init__(
        self,
        *,
        region: str | None = None,
        session: Session | None = None,
        endpoint_url: str | Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        cold_start: ColdStart | None = None,
        transport: str = "auto",
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        codecs: Codecs | None = None,
    ) -> None:
        _check_memory(memory, cold_start)
        self._settings = ClientSettings(
            region=region,
            session=session,
            endpoint_url=endpoint_url,
            timeouts=Timeouts() if timeouts is None else timeouts,
            retry=RetryPolicy() if retry is None else retry,
            cold_start=_cold_start(memory, cold_start),
            transport=transport,
            hooks=_hooks(hooks),
            codecs=codecs,
        )
        self._set_up(None, memory)

    def __reduce__(self) -> tuple[Any, ...]:
        from mme_sdk.aws.travel import reduce_client

        return reduce_client(self)

    def __copy__(self) -> Self:
        return self.with_options()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        keywords = self._keywords()
        return type(self)(**keywords | {"memory": copy.deepcopy(keywords["memory"], memo)})

    def _keywords(self) -> dict[str, Any]:
        """Return the keywords that make a client with the settings of this one."""
        memory = self._given_memory
        own = {"memory": memory} if memory is None else {"memory": memory, "cold_start": None}  # the memory has them
        return attrs.asdict(self._settings, recurse=False) | own

    def _set_up(self, parent: Self | None, memory: Memory | None) -> None:
        """Make the parts of this client, or take those of `parent` that the settings allow to share."""
        settings = self._settings
        kept = _Kept() if parent is None else _Kept.between(parent._settings, settings)
        self._closed = False
        self._owns_aws = not (kept.account and kept.sockets and kept.retry)
        self._owns_transport = not (kept.account and kept.sockets and kept.transport)
        if parent is None or self._owns_aws:
            self._aws = Aws(
                region=settings.region,
                session=settings.session,
                endpoint_url=settings.endpoint_url,
                timeouts=settings.timeouts,
                retry=settings.retry,
            )
            self._registries = Lazy(self._make_registries)
            if parent is not None and kept.account:
                self._aws.shared = parent._aws.shared  # the caches of aliases
        if parent is None or self._owns_transport:
            self._transport = Lazy(self._make_transport)
        if parent is None or memory is not None or not (kept.account and kept.learning):
            self._memory = Lazy(lambda: memory or self._make_memory())
            self._given_memory = memory
        self._endpoints = Lazy(self._make_endpoints)
        # `close` in another thread closes the invoker that it finds; one that is made later is refused here.
        self._invoker = Lazy(self._make_invoker, self._check_open)

    def _facts(self) -> dict[str, object]:
        settings, transport = self._settings, self._transport.made
        given = settings.endpoint_url
        address: object = (
            {name: without_secrets(url) for name, url in given.items()} if isinstance(given, Mapping) else given
        )
        return {
            "region": self._aws.known_region,
            "endpoint_url": without_secrets(given) if isinstance(given, str) else address,
            "transport": settings.transport if transport is None else getattr(transport, "name", None),
            "closed": self._closed or None,
        }

    @abstractmethod
    def _make_transport(self) -> TransportT: ...

    @abstractmethod
    def _make_registries(self) -> Registries[RegistryT]: ...

    @abstractmethod
    def _make_endpoints(self) -> EndpointsT: ...

    @abstractmethod
    def _make_invoker(self) -> InvokerT: ...

    def _make_memory(self) -> Memory:
        from mme_sdk.runtime import Memory

        return Memory(self._settings.cold_start, self._settings.retry)

    @property
    def region(self) -> str:
        """The AWS region.

        Raises:
            ConfigurationError: No region is configured.
        """
        return self._aws.region

    @property
    def timeouts(self) -> Timeouts:
        """Connect and read time-outs, and the default deadline, in seconds."""
        return self._settings.timeouts

    @property
    def memory(self) -> Memory:
        """Load times and loaded models. `memory.load_times` can be saved and loaded."""
        return self._memory.get()

    def with_options(
        self,
        *,
        region: str | Unchanged | None = UNCHANGED,
        session: Session | Unchanged | None = UNCHANGED,
        endpoint_url: str | Mapping[str, str] | Unchanged | None = UNCHANGED,
        timeouts: Timeouts | Unchanged | None = UNCHANGED,
        retry: RetryPolicy | Unchanged | None = UNCHANGED,
        cold_start: ColdStart | Unchanged | None = UNCHANGED,
        transport: str | Unchanged = UNCHANGED,
        memory: Memory | Unchanged | None = UNCHANGED,
        hooks: Sequence[Hook] | Unchanged = UNCHANGED,
        codecs: Codecs | Unchanged | None = UNCHANGED,
    ) -> Self:
        """Return a client with some settings changed. This client stays as it is.

        The new client shares what the changed settings allow:

        - connections: unless `region`, `session`, `endpoint_url`, `transport` or a time-out of `timeouts` other than
          the deadline changes;
        - registries, and the boto3 clients of the control plane: unless `region`, `session`, `endpoint_url`, `retry` or
          a time-out other than the deadline changes. The caches of aliases are shared even if `retry` or a time-out
          changes;
        - the memory of load times and loaded models: unless `region`, `session`, `endpoint_url`, `cold_start`, `memory`
          or the budget or circuit breaker of `retry` changes.

        Closing the new client ends its own invocations and closes only what it does not share. Closing this client
        closes what is shared, so that the new client cannot be used afterwards.

        Args:
            region: AWS region. None means the region of the session or the environment.
            session: A boto3 session. None makes one from the environment.
            endpoint_url: Address for every service, or one for each service name. None means AWS's addresses.
            timeouts: Connect and read time-outs, and the default deadline, in seconds. None means `Timeouts()`.
            retry: Retry policy. None means `RetryPolicy()`.
            cold_start: Settings of cold starts. None means `ColdStart()`.
            transport: `auto`, `fast`, `core` or `botocore`.
            memory: Load times and loaded models. None makes a new memory.
            hooks: Functions that receive the events of invocations.
            codecs: Codecs of payloads. None means the built-in ones.

        Returns:
            The new client.

        Raises:
            InvalidInputError: `memory` and `cold_start` are both given.

        Example:
            ```python
            quick = client.with_options(timeouts=Timeouts(deadline=5))  # over the same connections
            ```
        """
        own_memory = None if isinstance(memory, Unchanged) else memory
        _check_memory(own_memory, None if isinstance(cold_start, Unchanged) else cold_start)
        before = self._settings
        new_timeouts, new_retry = _kept(timeouts, before.timeouts), _kept(retry, before.retry)
        child = object.__new__(type(self))
        child.__dict__.update(self.__dict__)
        child.__dict__.pop("_identity", None)
        child._settings = ClientSettings(
            region=_kept(region, before.region),
            session=_kept(session, before.session),
            endpoint_url=_kept(endpoint_url, before.endpoint_url),
            timeouts=Timeouts() if new_timeouts is None else new_timeouts,
            retry=RetryPolicy() if new_retry is None else new_retry,
            cold_start=_cold_start(own_memory, _kept(cold_start, before.cold_start)),
            transport=_kept(transport, before.transport),
            hooks=_hooks(_kept(hooks, before.hooks)),
            codecs=_kept(codecs, before.codecs),
        )
        child._set_up(self, child._make_memory() if memory is None else own_memory)
        return child

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this client was closed", hint="make a new one, or close it later")


class _Kept(NamedTuple):
    """Which groups of settings are the same in a client and in the one that it is derived from."""

    account: bool = False
    sockets: bool = False
    transport: bool = False
    retry: bool = False
    learning: bool = False

    @classmethod
    def between(cls, before: ClientSettings, after: ClientSettings) -> Self:
        old, new = before.retry, after.retry
        return cls(
            account=before.session is after.session
            and (before.region, before.endpoint_url) == (after.region, after.endpoint_url),
            sockets=attrs.evolve(before.timeouts, deadline=1) == attrs.evolve(after.timeouts, deadline=1),
            transport=before.transport == after.transport,
            retry=old == new,
            learning=before.cold_start == after.cold_start
            and (old.budget, old.breaker_faults, old.breaker_rest)
            == (new.budget, new.breaker_faults, new.breaker_rest),
        )


def read_metrics(
    endpoint: str, /, *, variant: str, hours: float, period: int, now: datetime
) -> Generator[Any, Any, Any]:
    """Read metrics with `mme_sdk.metrics.read_metrics`, which is imported here: it needs pydantic."""
    from mme_sdk.metrics import read_metrics

    return read_metrics(endpoint, variant=variant, hours=hours, period=period, now=now)


def _check_memory(memory: Memory | None, cold_start: ColdStart | None) -> None:
    if memory is None:
        return
    from mme_sdk.runtime.cold_start.memory import Memory

    check_instance("memory", memory, Memory)
    if cold_start is not None:
        raise InvalidInputError("memory and cold_start exclude each other: a Memory has its own ColdStart")


def _cold_start(memory: Memory | None, cold_start: ColdStart | None) -> ColdStart:
    if memory is not None:
        return memory.cold
    return ColdStart() if cold_start is None else cold_start


def _hooks(given: Any) -> tuple[Hook, ...]:
    hooks = tuple(given) if isinstance(given, Iterable) else None
    if hooks is None or not all(map(callable, hooks)):
        raise InvalidInputError(f"hooks must be a sequence of functions, not {str(given)[:80]!r}")
    return hooks


def _kept(given: T | Unchanged, before: T) -> T:
    return before if isinstance(given, Unchanged) else given
