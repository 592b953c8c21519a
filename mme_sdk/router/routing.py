"""Which cell each call goes to, and to which one it goes after that; the part of both routers that makes no call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.registry.names import KeyLayout
from mme_sdk.router.cell import Cell
from mme_sdk.router.health import Health
from mme_sdk.router.placement import Placed
from mme_sdk.router.route_cache import RouteCache
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.types.model import ModelVersion, check_compressed
from mme_sdk.types.reply import Reply
from mme_sdk.types.s3uri import S3Uri

__all__ = ["Link", "Routing", "after_failures", "attempts_of", "check_session", "later"]

InvokerT = TypeVar("InvokerT")
_MAX_NAMES = 100_000  # remembered; a program exceeds it only if it generates names


class Link(Generic[InvokerT]):
    """A cell as a client calls it.

    Args:
        cell: The cell.
        endpoint: The handle of its endpoint.
        monotonic: Monotonic clock, in seconds.

    Attributes:
        call: Invokes a model: the function of the invoker that its own endpoint handles use.
    """

    __slots__ = ("_handle", "call", "cell", "endpoint", "health", "invoker", "name", "own_bucket")

    def __init__(self, cell: Cell, handle: Any, monotonic: Callable[[], float]) -> None:
        self.cell, self._handle = cell, handle
        self.name, self.endpoint = cell.name, cell.endpoint
        self.health = Health(monotonic)
        self.invoker: InvokerT = handle._invoker
        self.call: Callable[..., Any] = handle._invoker._call
        self.own_bucket = cell.region is not None or cell.client is not None

    @property
    def client(self) -> Any:
        """The client that calls the cell."""
        return self._handle._context.client

    @property
    def memory(self) -> Memory:
        """What the client of the cell remembers."""
        found: Memory = self._handle._invoker.memory
        return found

    def model(self, model: Any) -> Any:
        """Return a model as this cell is called with it.

        A version names an address of one bucket. Another region or account has a copy of it, by the same target model.
        """
        if isinstance(model, ModelVersion) and self.own_bucket:
            check_compressed(model, "a multi-model endpoint")
            return model.target_model
        return model


class Routing(Generic[InvokerT]):
    """Chooses cells for calls.

    Args:
        routes: The route table.
        layout: Template of the models' keys.
        connect: Makes the link of a cell.
        draw: Returns a random number from 0 to 1.

    Attributes:
        quick: The links of the homes of models whose cells are healthy, by the model as callers name it. Those of calls
            without a model have the key None, if all cells are healthy and of the same weight.
    """

    def __init__(
        self,
        routes: RouteCache,
        layout: str,
        connect: Callable[[Cell], Link[InvokerT]],
        draw: Callable[[], float],
    ) -> None:
        self.routes = routes
        self.quick: dict[str | None, tuple[Link[InvokerT], ...]] = {}
        self.draw = draw
        self._layout = KeyLayout(S3Uri("layout", ""), layout)
        self._connect = connect
        self._links: dict[str, Link[InvokerT]] = {}
        self._keys: dict[str, str] = {}
        self._placed: dict[str, Placed] = {}
        routes.changed = self._table_changed

    def _table_changed(self) -> None:
        self._placed = {}
        self.quick = {}

    def link(self, name: str) -> Link[InvokerT]:
        """Return the link of a cell of the table, whatever its state."""
        cell = self.routes.known.cells[name]
        found = self._links.get(name)
        if found is None or found.cell != cell or found.cell.client is not cell.client:
            found = self._links[name] = self._connect(cell)
        return found

    def key(self, model: Any) -> str:
        """Return the name by which a model is placed. All versions and aliases of a model have the same one.

        Raises:
            InvalidInputError: The model is an S3 address, of which a router cannot tell the part below the prefix.
        """
        if isinstance(model, ModelVersion):
            return model.name
        text = str(model)
        found = self._keys.get(text)
        if found is None:
            if text[:5].lower() == "s3://":
                raise InvalidInputError(
                    f"{self.routes.name}: a router takes no S3 address as a model, but {text[:200]!r} is one",
                    hint="pass the address relative to the prefix of the endpoints, such as fraud/v3.tar.gz",
                )
            name, _, alias = text.rpartition("@")
            found = name if name and "/" not in alias else self._layout.parse(text)[0]
            if len(self._keys) >= _MAX_NAMES:
                self._keys.clear()
            self._keys[text] = found
        return found

    def placed(self, key: str) -> Placed:
        """Return the cells of a model, by its key."""
        placed = self._placed  # if the table is replaced meanwhile, so is this dict, and what is added to it is gone
        found = placed.get(key)
        if found is None:
            found = self.routes.known.placement.of(key)
            if len(placed) >= _MAX_NAMES:
                placed.clear()
            placed[key] = found
        return found

    def places(self, model: Any, options: InvokeOptions) -> tuple[str, Placed]:
        """Return the key of a call and its cells. A call without a model goes to a cell by the weights.

        Args:
            model: The model, as the caller names it.
            options: Options of the call.
        """
        if model is not None:
            key = self.key(model)
            return key, self.placed(key)
        if options.prefix_aware_id is not None:
            return "", self.routes.known.placement.of(options.prefix_aware_id)
        return "", self.routes.known.placement.drawn(self.draw())

    def links(self, model: Any, options: InvokeOptions) -> tuple[str, Iterator[Link[InvokerT]]]:
        """Return the key of a call, and the links to try, one after the other, as long as they fail.

        Args:
            model: The model, as the caller names it.
            options: Options of the call.

        Raises:
            InvalidInputError: No cell serves the model.
        """
        quick = self.quick  # if a cell fails or the table is replaced meanwhile, so is this dict
        key, placed = self.places(model, options)
        homes = [self.link(name) for name in placed.homes]
        if isinstance(model, str) and len(quick) < _MAX_NAMES and all(one.health.healthy(key) for one in homes):
            quick[model] = tuple(homes)
        elif model is None:
            weights = self.routes.known.placement.weights
            alike = [self.link(name) for name in weights]
            if len(set(weights.values())) == 1 and all(one.health.healthy(key) for one in alike):
                quick[None] = tuple(alike)
        if len(homes) > 1:
            first = int(self.draw() * len(homes))
            homes = homes[first:] + homes[:first]
        return key, self._in_order([*homes, *(self.link(name) for name in placed.others)], key)

    def _in_order(self, links: list[Link[InvokerT]], key: str) -> Iterator[Link[InvokerT]]:
        rested = []
        for link in links:
            if link.health.usable(key):
                yield link
            else:
                rested.append(link)
        yield from rested  # no other cell has answered

    def failed(self, link: Link[InvokerT], key: str, error: MMEError) -> None:
        """Record that a cell did not answer a call."""
        lost = link.health.failed(key, error)
        self.quick = {}
        if lost:
            for other in list(self._links.values()):
                if other is not link:
                    other.memory.endpoint(other.endpoint).expect_cold()

    def answered(self, link: Link[InvokerT], key: str) -> None:
        """Record that a cell answered a call."""
        link.health.answered(key)

    def serving(self, placed: Placed, trusted: str | None = None) -> tuple[str, ...]:
        """Return the cells that get the calls of a model: its homes, or in place of lost homes the next cell.

        Args:
            placed: The cells of the model.
            trusted: A cell that counts as serving even if calls to it failed. Default: None.
        """
        lost = {name for name, link in list(self._links.items()) if link.health.lost and name != trusted}
        homes = tuple(name for name in placed.homes if name not in lost)
        return homes or next(((name,) for name in placed.others if name not in lost), placed.homes[:1])

    def by_cell(self, models: Iterable[Any]) -> list[tuple[Link[InvokerT], Any]]:
        """Return each model with each of the cells that get its calls."""
        return [(self.link(name), model) for model in models for name in self.serving(self.placed(self.key(model)))]


def check_session(router: str, session_id: str | None) -> None:
    """Raise InvalidInputError for a stateful session: it lives in one cell, and its id does not say in which.

    Args:
        router: Name of the router.
        session_id: The session of a call.
    """
    if session_id is not None:
        raise InvalidInputError(
            f"{router}: a router does not support the option session_id, because a session lives in one endpoint",
            hint="call client.endpoint(name) of one cell",
        )


def later(attempts: Iterable[Attempt], seconds: float) -> tuple[Attempt, ...]:
    """Return attempts whose times count from an earlier start."""
    return tuple(attrs.evolve(attempt, at=attempt.at + seconds) for attempt in attempts)


def attempts_of(failures: Iterable[MMEError]) -> tuple[Attempt, ...]:
    """Return the attempts of the cells that failed, in order."""
    return tuple(attempt for error in failures for attempt in error.attempt_history)


def after_failures(reply: Reply[Any], failures: list[MMEError], waited: float) -> Reply[Any]:
    """Return a reply whose history and latency include the cells that failed before.

    Args:
        reply: The reply of the last cell.
        failures: What the cells before it met, in order.
        waited: Seconds from the start of the call until the last cell was called.
    """
    fields = reply.__dict__
    fields["history"] = (*attempts_of(failures), *later(reply.history, waited))
    fields["latency"] = reply.latency + waited
    return reply
