"""The route table: which cells there are, which of them serve, and the exceptions of the placement.

It is one JSON object in S3. A change is a function from the old object to the new one. It touches only what it is
about, and keeps members that it does not know, so that a change can be repeated on whatever another client has written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from mme_sdk.errors import ConflictError, InvalidInputError, MMEError, NotFoundError, ServiceError
from mme_sdk.router.cell import Cell, check_models
from mme_sdk.router.placement import Placement

__all__ = ["Body", "Change", "RouteTable", "admitted", "evacuated", "rebalanced", "removed", "table_of"]

Body: TypeAlias = "dict[str, Any]"
Change: TypeAlias = Callable[["Body | None"], "Body | None"]


@attrs.frozen
class RouteTable:
    """What a router knows of its cells.

    Attributes:
        cells: The cells by name.
        evacuated: Names of the cells that get no calls.
        placement: Which models the other cells have.
    """

    cells: Mapping[str, Cell]
    evacuated: frozenset[str]
    placement: Placement

    def without(self, name: str) -> Placement:
        """Return the placement after a cell was evacuated."""
        return _placement(self.cells, self.evacuated | {name}, self.placement.exceptions)

    def with_cell(self, cell: Cell) -> Placement:
        """Return the placement after a cell was admitted."""
        return _placement({**self.cells, cell.name: cell}, self.evacuated - {cell.name}, self.placement.exceptions)


def _placement(
    cells: Mapping[str, Cell], evacuated: frozenset[str], exceptions: Mapping[str, tuple[str, ...]]
) -> Placement:
    serving = [cell for name, cell in cells.items() if name not in evacuated]
    return Placement(
        {cell.name: cell.weight for cell in serving if not cell.models},
        {model: cell.name for cell in serving for model in cell.models},
        exceptions,
    )


def body_of(cells: Sequence[Cell]) -> Body:
    """Return the object of a router whose cells all serve."""
    return {"cells": {cell.name: _entry(cell) for cell in cells}, "homes": {}}


def _entry(cell: Cell) -> Body:
    return {
        "endpoint": cell.endpoint,
        "weight": cell.weight,
        "region": cell.region,
        "models": list(cell.models),
        "own_client": cell.client is not None,
        "evacuated": False,
    }


def table_of(body: Body, given: Mapping[str, Cell], where: str) -> RouteTable:
    """Return the table of an object.

    Args:
        body: The object.
        given: The cells that the caller of the router gave, which have the clients.
        where: Address of the object, for the error.

    Raises:
        ServiceError: The object is damaged.
    """
    try:
        cells: dict[str, Cell] = {}
        unreachable = set()
        for name, entry in body["cells"].items():
            client = given[name].client if name in given else None
            cells[name] = Cell(
                entry["endpoint"],
                name=name,
                weight=entry["weight"],
                region=None if client is not None else entry.get("region"),
                client=client,
                models=entry.get("models", ()),
            )
            if entry.get("own_client") and client is None:
                unreachable.add(name)
        check_models(cells.values())
        evacuated = {name for name, entry in body["cells"].items() if entry.get("evacuated", False)}
        homes = {str(model): _homes(names) for model, names in body.get("homes", {}).items()}
    except (KeyError, TypeError, AttributeError, ValueError, MMEError) as error:
        raise ServiceError(
            f"the route table {where} is damaged: {error!r:.200}",
            hint="restore an older version of the object, or delete it: the cells that the program names then serve",
        ) from error
    gone = frozenset(evacuated | unreachable)
    return RouteTable(cells, gone, _placement(cells, gone, homes))


def _homes(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise TypeError(f"{names!r:.80} is not a list of names of cells")
    return tuple(names)


def evacuated(router: str, name: str, cells: Sequence[Cell]) -> Change:
    """Return the change after which a cell gets no calls.

    Args:
        router: Name of the router, for the error.
        name: Name of the cell.
        cells: The cells of a router without a table.
    """

    def change(old: Body | None) -> Body | None:
        body = _begin(old, cells)
        entry = _find(body, router, name)
        if entry.get("evacuated", False):
            return None if old is not None else body
        entry["evacuated"] = True
        if not _has_peer(body):
            raise ConflictError(
                f"{router}: {name} was not evacuated, because no other cell would serve its models",
                hint="admit another cell first",
            )
        return body

    return change


def admitted(router: str, cell: Cell | str, cells: Sequence[Cell]) -> Change:
    """Return the change after which a cell gets calls. A name stands for a cell of the table."""

    def change(old: Body | None) -> Body | None:
        body = _begin(old, cells)
        if isinstance(cell, str):
            entry = _find(body, router, cell)
            if not entry.get("evacuated", False):
                return None if old is not None else body
            entry["evacuated"] = False
            return body
        for name, entry in body["cells"].items():
            both = {*entry.get("models", ())} & {*cell.models}
            if both and name != cell.name:
                raise InvalidInputError(f"the model {min(both)!r} is in `models` of the cells {name}, {cell.name}")
        before = body["cells"].get(cell.name)
        wanted = {**(before or {}), **_entry(cell)}
        if before == wanted:
            return None if old is not None else body
        served = _has_peer(body)
        body["cells"][cell.name] = wanted
        if served and not _has_peer(body):
            raise ConflictError(
                f"{router}: {cell.name} does not get `models`, because no other cell would serve the other models",
                hint="admit another cell without `models` first",
            )
        return body

    return change


def removed(router: str, name: str, cells: Sequence[Cell]) -> Change:
    """Return the change after which the table does not have a cell."""

    def change(old: Body | None) -> Body | None:
        body = _begin(old, cells)
        if name not in body["cells"]:
            return None
        if not body["cells"][name].get("evacuated", False):
            raise ConflictError(
                f"{router}: {name} was not removed, because it serves", hint=f"evacuate({name!r}) first"
            )
        del body["cells"][name]
        homes = {model: [one for one in names if one != name] for model, names in body.get("homes", {}).items()}
        body["homes"] = {model: names for model, names in homes.items() if names}
        return body

    return change


def rebalanced(
    cells: Sequence[Cell],
    given: Mapping[str, Cell],
    where: str,
    plan: Callable[[Placement], dict[str, tuple[str, ...]]],
) -> Change:
    """Return the change that replaces the exceptions.

    Args:
        cells: The cells of a router without a table.
        given: The cells that the caller of the router gave.
        where: Address of the table.
        plan: Returns the exceptions of a placement without exceptions.
    """

    def change(old: Body | None) -> Body | None:
        body = _begin(old, cells)
        placement = attrs.evolve(table_of(body, given, where).placement, exceptions={})
        homes = {model: list(names) for model, names in plan(placement).items()}
        if old is not None and homes == body.get("homes", {}):
            return None
        body["homes"] = homes
        return body

    return change


def _begin(old: Body | None, cells: Sequence[Cell]) -> Body:
    return body_of(cells) if old is None else copy.deepcopy(old)


def _has_peer(body: Body) -> bool:
    """Return whether a cell serves that has no models to itself."""
    return any(not one.get("evacuated", False) and not one.get("models") for one in body["cells"].values())


def _find(body: Body, router: str, name: str) -> Body:
    found = body["cells"].get(name)
    if not isinstance(found, dict):
        known = ", ".join(sorted(body["cells"])[:20])
        raise NotFoundError(f"{router} has no cell {name!r}", hint=f"its cells are {known}")
    return found


def check_name_of_cell(name: Any) -> str:
    """Return the name of a cell, which a caller may also give as the cell.

    Raises:
        InvalidInputError: It is neither.
    """
    if isinstance(name, Cell):
        return name.name
    if not isinstance(name, str) or not name:
        raise InvalidInputError(f"cell must be a cell or the name of one, not {name!r:.80}")
    return name
