"""`Cell`: one of the endpoints that a router calls under one name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_float, check_resource_name, number
from mme_sdk.errors import InvalidInputError

__all__ = ["Cell", "cells_of"]

_REGION = re.compile("[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")


def _models(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else value


def _check_models(_: object, __: object, value: Any) -> None:
    valid = isinstance(value, tuple) and all(isinstance(one, str) and one and "@" not in one for one in value)
    if not valid or any(one.endswith((".tar.gz", "/")) for one in value):
        raise InvalidInputError(
            f"models must be names of models, such as ['fraud'], not {value!r:.80}",
            hint="all versions of a model have one cell, so give names without versions and aliases",
        )


def _check_client(_: object, __: object, value: Any) -> None:
    if value is not None and not callable(getattr(value, "endpoint", None)):
        raise InvalidInputError(f"client must be an MMEClient or an AsyncMMEClient, or None, not {value!r:.80}")


@short_tracebacks
@attrs.frozen
class Cell:
    """One of the endpoints that a router calls under one name.

    The cells of a router serve the same models: from the same S3 prefix, or from copies of it.

    Attributes:
        endpoint: Name of the multi-model endpoint, or of a single-model endpoint if all cells are single-model ones.
        name: Name of the cell in the router. Models are placed by it, so it does not change. Default: the name of the
            endpoint, after the region and a slash if there is a region.
        weight: Share of the models and calls, in relation to the weights of the other cells, from 0.000001 to
            1,000,000. Default 1.
        region: AWS region of the endpoint. None means the region of the client. Default None.
        client: Client that calls the endpoint, such as one of another account. None means the client of the router.
            Default None.
        models: Names of models that have this cell to themselves. It gets no other models, and other cells get these
            only if this one fails. Default: none, and the cell shares all other models with its peers.

    Raises:
        InvalidInputError: A value is invalid. The message names it.

    Example:
        >>> Cell("scoring-b", region="eu-west-1").name
        'eu-west-1/scoring-b'
    """

    endpoint: str
    weight: float = attrs.field(
        kw_only=True, default=1.0, validator=number(at_least=1e-6, at_most=1e6), converter=as_float
    )
    region: str | None = attrs.field(kw_only=True, default=None)
    client: Any = attrs.field(kw_only=True, default=None, repr=False, eq=False, validator=_check_client)
    models: tuple[str, ...] = attrs.field(kw_only=True, default=(), converter=_models, validator=_check_models)
    name: str = attrs.field(
        kw_only=True,
        default=attrs.Factory(
            lambda self: f"{self.region}/{self.endpoint}" if self.region else self.endpoint, takes_self=True
        ),
    )

    def __attrs_post_init__(self) -> None:
        check_resource_name("endpoint", self.endpoint)
        if self.region is not None and not (isinstance(self.region, str) and _REGION.fullmatch(self.region)):
            raise InvalidInputError(f"region must be the name of an AWS region, or None, not {self.region!r:.80}")
        if not isinstance(self.name, str) or _NAME.fullmatch(self.name) is None:
            raise InvalidInputError(
                f"name must be 1 to 128 letters, digits and inner '.', '_', '/' and '-', not {self.name!r:.80}"
            )
        if self.region is not None and self.client is not None:
            raise InvalidInputError(
                f"cell {self.name}: region and client exclude each other", hint="make the client with this region"
            )


def cells_of(given: Any) -> tuple[Cell, ...]:
    """Return the cells that a caller gave, as cells or names of endpoints.

    Raises:
        InvalidInputError: A cell is neither, or two cells have the same name.
    """
    if isinstance(given, (str, Cell)) or not isinstance(given, Iterable):
        raise InvalidInputError(f"cells must be a list of cells or names of endpoints, not {given!r:.80}")
    found: dict[str, Cell] = {}
    for one in given:
        if not isinstance(one, (str, Cell)):
            raise InvalidInputError(f"cells must be cells or names of endpoints, not {one!r:.80}")
        cell = Cell(one) if isinstance(one, str) else one
        if cell.name in found:
            raise InvalidInputError(
                f"two cells have the name {cell.name!r}", hint="pass Cell(…, name=…) with another name"
            )
        found[cell.name] = cell
    check_models(found.values())
    return tuple(found.values())


def check_models(cells: Iterable[Cell]) -> None:
    """Raise InvalidInputError if two cells have the same model to themselves."""
    owners: dict[str, str] = {}
    for cell in cells:
        for model in cell.models:
            if model in owners:
                raise InvalidInputError(f"the model {model!r} is in `models` of the cells {owners[model]}, {cell.name}")
            owners[model] = cell.name
