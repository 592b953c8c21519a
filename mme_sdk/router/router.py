# Generated from async_router.py by scripts/unasync.py. Change that file, then run `make facades`.
"""`Router`: one name over several endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from mme_sdk._flows.effects import Flow, Sleep
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance, check_number
from mme_sdk.endpoints.invocation import InvocationMixin
from mme_sdk.errors import InvalidInputError
from mme_sdk.registry._registry_base import operations
from mme_sdk.registry.names import KeyLayout
from mme_sdk.router.balance import balanced
from mme_sdk.router.cell import Cell, cells_of
from mme_sdk.router.evacuation import CellChange, CellState, called_models, check_expected, moving, named_models
from mme_sdk.router.placement import Placement
from mme_sdk.router.route_cache import RouteCache
from mme_sdk.router.routed_invoker import RoutedInvoker
from mme_sdk.router.routing import Link, Routing
from mme_sdk.router.table import Change, admitted, check_name_of_cell, evacuated, rebalanced, removed
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.s3uri import S3Uri

if TYPE_CHECKING:
    from mme_sdk.display.progress import ProgressOption
    from mme_sdk.runtime import RuntimeInvoker

__all__ = ["Router"]

_RECENT = 3600.0  # seconds; a model that this client called so long ago is warmed in its new cell
_CONTAINER = 60.0  # seconds that SageMaker gives a container of a multi-model endpoint to answer


@short_tracebacks
class Router(InvocationMixin):
    """Synchronous router: one name over several endpoints, its cells. It invokes with the methods of `Endpoint`.

    `MMEClient.router` makes one. Making, copying and sharing one makes no call; the first invocation reads the
    route table. Each model has one cell, or several if `rebalance` says so. If a cell fails, its models are called in
    the other cells, within the deadline of the call, provided that the failed request has surely not run or may run
    twice.

    Args:
        client: The client that made the router.
        name: Name of the router, and of its route table.
        cells: The cells, or names of endpoints. The route table has precedence over them.
        table: S3 prefix of the route table. None: there is none, and the cells are always these.
        key: Layout of the models' keys.
        staleness: Largest age of the route table, in seconds, while S3 answers.

    Attributes:
        name: Name of the router.

    Example:
        ```python
        router = client.router("scoring", cells=["scoring-a", "scoring-b"], table="s3://ml-models/prod/")
        reply = router.invoke({"amount": 12.5}, model="fraud@live", deadline=30)
        ```
    """

    __slots__ = ("_client", "_clients", "_options", "_routed", "_routes", "_routing")

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        cells: Iterable[str | Cell] = (),
        table: str | None = None,
        key: str = "{name}/{version}.tar.gz",
        staleness: float = 5.0,
    ) -> None:
        super().__init__(name)
        check_instance("key", key, str)
        aws = client._aws
        given = cells_of(cells)
        if not given and table is None:
            raise InvalidInputError(f"the router {name} has neither cells nor a route table", hint="pass cells=")
        for cell in given:
            self._check_client(cell)
        store = None if table is None else operations(aws, KeyLayout(S3Uri.parse(table).as_prefix(), key)).store
        self._client = client
        self._options = {"cells": given, "table": table, "key": key, "staleness": staleness}
        self._clients: dict[str, Any] = {}
        self._routes = RouteCache(name, given, store, staleness=staleness, monotonic=aws.clock.monotonic)
        self._routing: Routing[RuntimeInvoker] = Routing(self._routes, key, self._connect, aws.rng.random)
        self._routed: RoutedInvoker | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _router_of, (self._client, self.name, self._options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Router:
        return self  # it belongs to its client

    @property
    def _invoker(self) -> RoutedInvoker:
        found = self._routed
        if found is None:
            found = self._routed = RoutedInvoker(self._client._invoker.get(), self._routing)
        return found

    @staticmethod
    def _check_client(cell: Cell) -> None:
        if cell.client is not None and not hasattr(cell.client, "__enter__"):
            raise InvalidInputError(
                f"cell {cell.name}: its client is a {type(cell.client).__name__}",
                hint="the client of a cell is of the same class as the client of the router",
            )

    def _connect(self, cell: Cell) -> Link[RuntimeInvoker]:
        client = cell.client or self._client
        if cell.region is not None:
            client = self._clients.get(cell.region)
            if client is None:
                made = self._client.with_options(region=cell.region)
                client = self._clients.setdefault(cell.region, made)
        return Link(cell, client.endpoint(cell.endpoint), self._client._aws.clock.monotonic)

    def _facts(self) -> dict[str, object]:
        table = self._routes.table
        return {
            "name": self.name,
            "cells": [f"{one.name} ({one.state})" for one in self.cells] if table is not None else None,
            "table": self._options["table"],
        }

    @property
    def cells(self) -> tuple[CellState, ...]:
        """The cells as this client knows them, without a call; `refresh` reads the route table.

        Raises:
            InvalidInputError: No cells were given, and the route table was not read yet.
        """
        table = self._routes.known
        return tuple(
            CellState(
                name=cell.name,
                endpoint=cell.endpoint,
                region=cell.region,
                weight=cell.weight,
                models=cell.models,
                state="evacuated"
                if cell.name in table.evacuated
                else "lost"
                if self._routing.link(cell.name).health.lost
                else "serving",
            )
            for cell in table.cells.values()
        )

    def refresh(self) -> tuple[CellState, ...]:
        """Read the route table now.

        Returns:
            The cells.

        Raises:
            InvalidInputError: The router has no route table.
            MMEError: The table could not be read. The last one stays in use.
        """
        self._change(lambda _: None)
        return self.cells

    def placement(self, model: str | ModelVersion) -> tuple[str, ...]:
        """Return the cells of a model: those that hold it, then those that are called if these fail.

        Args:
            model: Target model, version, `name@alias` or name. All versions of a model have the same cells.

        Returns:
            Names of cells.

        Raises:
            InvalidInputError: No cell serves the model.
        """
        check_instance("model", model, str, ModelVersion)
        placed = self._routing.placed(self._routing.key(model))
        return (*placed.homes, *placed.others)

    def evacuate(
        self,
        cell: str | Cell,
        *,
        models: Iterable[str | ModelVersion] | None = None,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = None,
        deadline: float | None = None,
        drain: float | None = None,
        progress: ProgressOption = False,
    ) -> CellChange:
        """Prepare a cell to be deleted: load its models elsewhere, then change the route, then wait for running calls.

        Afterwards, no client that reads the route table calls the cell, and its endpoint can be deleted. Run again
        after an interruption, it continues. A model that cannot be loaded elsewhere does not stop the evacuation.

        Args:
            cell: Name of the cell, or the cell.
            models: The models that are called, of all cells. Only those that move are loaded. None: those of
                `expected`, or else those that this client called in the last hour.
            expected: Calls per second by target model or model name. Models with the most waiting time for their size
                are loaded first. None: all are equal.
            capacity: Bytes of models that a cell holds for those that move. Models that do not fit are not loaded. None
                means no limit.
            at_a_time: Models that are loaded at the same time in each cell. None means what the clients have learned.
            payload: The payload that is sent to each model; see `warm`.
            deadline: Seconds for each model. None means `Timeouts.deadline`, 360 by default.
            drain: Seconds to wait after the change: for other clients to read the table, and for calls to end. None
                means the staleness of this router plus the 60 s that a container has to answer.
            progress: Called with an `mme_sdk.Progress` after each model; True shows a progress bar. Default: False.

        Returns:
            What was done.

        Raises:
            InvalidInputError: The router has no route table, or an argument is invalid.
            NotFoundError: The router has no such cell.
            ConflictError: No other cell would serve the models, or other clients kept changing the table.

        Example:
            ```python
            router.evacuate("scoring-b", expected=rates)
            client.endpoints.delete("scoring-b")
            router.remove("scoring-b")
            ```
        """
        name = check_name_of_cell(cell)
        if drain is not None:
            check_number("drain", drain, at_least=0)
        wait = self._routes.staleness + _CONTAINER if drain is None else float(drain)
        return self._switch(
            name,
            evacuated(self.name, name, self._routes.cells),
            lambda: self._routes.known.without(name),
            models=models, expected=expected, capacity=capacity, at_a_time=at_a_time, payload=payload,
            deadline=deadline, drain=wait, progress=progress,
        )  # fmt: skip

    def admit(
        self,
        cell: str | Cell,
        *,
        models: Iterable[str | ModelVersion] | None = None,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = None,
        deadline: float | None = None,
        progress: ProgressOption = False,
    ) -> CellChange:
        """Add a cell, or take an evacuated one into service again: load the models that it gets, then change the route.

        Args:
            cell: The new cell, or the name of an evacuated one.
            models: The models that are called, of all cells. Only those that move are loaded. None: those of
                `expected`, or else those that this client called in the last hour.
            expected: Calls per second by target model or model name. None: all are equal.
            capacity: Bytes of models that the cell holds. Models that do not fit are not loaded. None means no limit.
            at_a_time: Models that are loaded at the same time. None means what the client has learned.
            payload: The payload that is sent to each model; see `warm`.
            deadline: Seconds for each model. None means `Timeouts.deadline`, 360 by default.
            progress: Called with an `mme_sdk.Progress` after each model; True shows a progress bar. Default: False.

        Returns:
            What was done.

        Raises:
            InvalidInputError: The router has no route table, or an argument is invalid.
            NotFoundError: The router has no cell of this name.
            ConflictError: The cell is the last one that has no models to itself, and would get `models`; or other
                clients kept changing the table.

        Example:
            ```python
            router.admit(Cell("scoring-c", weight=2), expected=rates)
            ```
        """
        name = check_name_of_cell(cell)

        def after() -> Placement:
            table = self._routes.known
            found = cell if isinstance(cell, Cell) else table.cells.get(name)
            return table.placement if found is None else table.with_cell(found)

        if isinstance(cell, Cell):
            self._check_client(cell)
            self._routes.given[name] = cell
        return self._switch(
            name,
            admitted(self.name, cell, self._routes.cells),
            after,
            models=models, expected=expected, capacity=capacity, at_a_time=at_a_time, payload=payload,
            deadline=deadline, drain=0.0, progress=progress, new=cell if isinstance(cell, Cell) else None,
        )  # fmt: skip

    def _switch(
        self, name: str, change: Change, after: Callable[[], Placement], *, models: Any,
        expected: Mapping[str, float] | None,
        capacity: int | None, at_a_time: int | None, payload: Any, deadline: float | None, drain: float,
        progress: ProgressOption, new: Cell | None = None,
    ) -> CellChange:  # fmt: skip
        check_expected(expected)
        clock, routing = self._client._aws.clock, self._routing
        began = clock.monotonic()
        self.refresh()
        self._routes.check(change)
        named = self._called(models, expected)
        moves = moving(routing, named, after(), name)
        fresh = {} if new is None else {new.name: self._connect(new)}
        pairs = [(fresh.get(to) or routing.link(to), model) for to, model in moves]
        warmed = self._invoker.warm_in(
            self.name, pairs, InvokeOptions(deadline=deadline), expected=expected, capacity=capacity,
            at_a_time=at_a_time, payload=payload, progress=progress,
        )  # fmt: skip
        self._change(change)
        switched = clock.monotonic() - began
        if drain > 0:
            self._client._aws.run(_pause(drain))
        moved = tuple(dict.fromkeys(routing.key(model) for _, model in moves))
        return CellChange(cell=name, moved=moved, warmed=warmed, switched=switched, took=clock.monotonic() - began)

    def _called(self, models: Any, expected: Mapping[str, float] | None) -> Sequence[Any]:
        """Return the models that are called."""
        if models is not None:
            return named_models(models)
        if expected is not None:
            return list(expected)
        since = self._client._aws.clock.monotonic() - _RECENT
        links = [self._routing.link(name) for name in self._routes.known.cells]
        return list(dict.fromkeys(one for link in links for one in called_models(link, since)))

    def remove(self, cell: str | Cell) -> None:
        """Remove an evacuated cell from the route table. Its endpoint stays. Does nothing if there is no such cell.

        Args:
            cell: Name of the cell, or the cell.

        Raises:
            InvalidInputError: The router has no route table.
            ConflictError: The cell serves, or other clients kept changing the table.
        """
        name = check_name_of_cell(cell)
        self._change(removed(self.name, name, self._routes.cells))

    def rebalance(
        self,
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int | None = None,
        bound: float = 1.25,
    ) -> dict[str, tuple[str, ...]]:
        """Move large and busy models so that no cell has too many calls or bytes, and give the busiest a second copy.

        Most models keep the cell that their names give them, and the table holds only the others. A model gets a second
        copy only if one cell does not bear its calls, and each copy is called often enough to stay in memory. So a job
        that calls every model once a day makes no copies. Models are not loaded; `warm` does that.

        Args:
            rates: Calls per second by target model or model name, such as from `mme_sdk.recording`.
            sizes: Bytes in memory by target model or model name, of all models in `rates`.
            capacity: Bytes of models that a cell of weight 1 holds. None: a copy needs a call a minute.
            bound: Largest load of a cell in relation to the even load, over 1. Default 1.25.

        Returns:
            The cells of the models that are not where their names put them.

        Raises:
            InvalidInputError: The router has no route table, or an argument is invalid.
            ConflictError: Other clients kept changing the table.

        Example:
            ```python
            router.rebalance(rates=rates, sizes=sizes, capacity=12 * 2**30)
            ```
        """
        check_instance("rates", rates, Mapping)
        check_instance("sizes", sizes, Mapping)
        for model in rates:
            check_instance("a name in rates", model, str)
            if model not in sizes:
                raise InvalidInputError(f"sizes: the model {model!r} has a rate and no size", model=model)
            check_number(f"rates[{model!r}]", rates[model], at_least=0, at_most=1e15)
            check_number(f"sizes[{model!r}]", sizes[model], over=0, at_most=1e18)
        calls: dict[str, float] = {}
        memory: dict[str, int] = {}
        for model, rate in rates.items():
            key = self._routing.key(model)
            calls[key] = calls.get(key, 0.0) + rate
            memory[key] = memory.get(key, 0) + sizes[model]

        def plan(placement: Placement) -> dict[str, tuple[str, ...]]:
            return balanced(placement, calls, memory, capacity=capacity, bound=bound)

        where = self._routes.where
        self._change(rebalanced(self._routes.cells, self._routes.given, where, plan))
        return dict(self._routes.known.placement.exceptions)

    def _client_of_models(self) -> tuple[Any, str]:
        """Return the client and the endpoint of a cell, one that serves if there is one; all have the same models."""
        self._invoker.look()
        table = self._routes.known
        link = self._routing.link(min(table.cells, key=lambda name: (name in table.evacuated, name)))
        return link.client, link.endpoint

    def _change(self, change: Change) -> None:
        self._client._aws.run(self._routes.change(change))

    def close(self) -> None:
        """Close the clients that the router made for cells of other regions. Its own client stays open. Idempotent."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _pause(seconds: float) -> Flow[None]:
    yield Sleep(seconds)


def _router_of(client: Any, name: str, options: dict[str, Any]) -> Router:
    return Router(client, name, **options)
