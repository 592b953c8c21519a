"""What a change of the cells of a router did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from mme_sdk._validation import check_instance, check_number
from mme_sdk.display.shown import Shown
from mme_sdk.errors import InvalidInputError
from mme_sdk.router.placement import Placement
from mme_sdk.router.routing import Link, Routing
from mme_sdk.runtime.batch.warm import WarmReport
from mme_sdk.types.model import ModelVersion

__all__ = ["CellChange", "CellState", "called_models", "check_expected", "moving", "named_models"]


@attrs.frozen(kw_only=True)
class CellState(Shown):
    """A cell of a router, as this client sees it.

    Attributes:
        name: Name of the cell.
        endpoint: Name of its endpoint.
        region: AWS region of the endpoint. None means the region of the client.
        weight: Share of the models and calls, in relation to the other cells.
        models: Names of models that have this cell to themselves. Empty: it shares all others.
        state: `serving`; `evacuated`: the route table says that it gets no calls, or this client has no client for it;
            `lost`: calls of this client failed, and go to other cells.
    """

    name: str
    endpoint: str
    region: str | None
    weight: float
    models: tuple[str, ...]
    state: str


@attrs.frozen(kw_only=True)
class CellChange(Shown):
    """What an evacuation or an admission of a cell did.

    Attributes:
        cell: Name of the cell.
        moved: Names of the models that have other cells since, of those that were named or that this client calls.
        warmed: What became of the models that were loaded in their new cells before the change.
        switched: Seconds from the start until the route table was changed.
        took: Seconds until the end. After an evacuation, the endpoint has no running calls.
    """

    cell: str
    moved: tuple[str, ...]
    warmed: WarmReport
    switched: float
    took: float


def called_models(link: Link[Any], since: float) -> list[str]:
    """Return the target models that a cell has answered this client for, the last ones first.

    Args:
        link: The cell.
        since: Time by the clock; earlier answers do not count.
    """
    known = link.memory.find(link.endpoint)
    if known is None:
        return []
    found = {target: known.find(target) for target in known.targets() if target}
    answers = {target: one.last_answer for target, one in found.items() if one is not None}
    return sorted((one for one, at in answers.items() if at >= since), key=lambda one: -answers[one])


def named_models(models: Any) -> list[str | ModelVersion]:
    """Return models that a caller named, each once.

    Raises:
        InvalidInputError: It is not a list of models.
    """
    if isinstance(models, str) or not isinstance(models, Iterable):
        raise InvalidInputError(f"models must be a list of models, not {models!r:.80}")
    found = list(models)
    for one in found:
        if not one or not isinstance(one, (str, ModelVersion)):
            raise InvalidInputError(f"models must be target models or versions, not {one!r:.80}")
    return list(dict.fromkeys(found))


def check_expected(expected: Mapping[str, float] | None) -> None:
    """Raise InvalidInputError unless `expected` is None, or has calls per second by the name of a model."""
    if expected is None:
        return
    check_instance("expected", expected, Mapping)
    for model, rate in expected.items():
        check_instance("a name in expected", model, str)
        check_number(f"expected[{model!r}]", rate, at_least=0)


def moving(routing: Routing[Any], models: Iterable[Any], after: Placement, changed: str) -> list[tuple[str, Any]]:
    """Return the cells that get the calls of a model and did not before, with the model.

    Calls of a lost cell go to other cells, now and after the change.

    Args:
        routing: The cells now.
        models: The models.
        after: The placement after the change.
        changed: The cell that goes or comes.
    """
    found = []
    for model in models:
        key = routing.key(model)
        placed = routing.placed(key)
        # If this cell is lost, other cells get calls of its models already, but may not have loaded all of them.
        has = placed.homes if changed in placed.homes else routing.serving(placed)
        found += [(name, model) for name in routing.serving(after.of(key), trusted=changed) if name not in has]
    return found
