"""Configurations and models that nothing uses: what earlier tools and interrupted work have left in an account."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints import check
from mme_sdk.endpoints.calls import absent_ok, look_if_there, pages, sagemaker, together
from mme_sdk.endpoints.making import Made, remove
from mme_sdk.endpoints.requests import endpoint_stem, stem
from mme_sdk.errors import InvalidInputError

__all__ = ["Orphan", "find", "remove_all"]


@attrs.frozen(kw_only=True)
class Orphan:
    """A configuration or model that no endpoint uses.

    Attributes:
        kind: `config` or `model`.
        name: Its name.
        created: When it was made.
        made_for: Beginning of the endpoint's name that this SDK made it for; None where its name does not tell. Models
            of others may serve batch transform jobs.
    """

    kind: Literal["config", "model"]
    name: str
    created: datetime | None = None
    made_for: str | None = None


def find() -> Flow[list[Orphan]]:
    """Every configuration that no endpoint uses, and every model that only such configurations use; oldest first.

    The configuration that an endpoint's last update replaced is not among them: `rollback` needs it.
    """
    endpoints, configs, models = yield from together(
        [
            pages(sagemaker("list_endpoints"), "Endpoints"),
            pages(sagemaker("list_endpoint_configs"), "EndpointConfigs"),
            pages(sagemaker("list_models"), "Models"),
        ]
    )
    live = yield from together([look_if_there(one["EndpointName"]) for one in endpoints])
    used = {name for one in live if one is not None for name in (one.config_name, one.pending_config) if name}
    used |= _kept_for_rollback([one["EndpointName"] for one in endpoints], configs, used)
    described = yield from together(
        [absent_ok(sagemaker("describe_endpoint_config", EndpointConfigName=name)) for name in sorted(used)]
    )
    serving = {
        variant.get("ModelName") for one in described if one for variant in one.get("ProductionVariants", [])
    } | {variant.get("ModelName") for one in described if one for variant in one.get("ShadowProductionVariants", [])}
    found = [
        *(
            _orphan("config", one["EndpointConfigName"], one)
            for one in configs
            if one["EndpointConfigName"] not in used
        ),
        *(_orphan("model", one["ModelName"], one) for one in models if one["ModelName"] not in serving),
    ]
    return sorted(found, key=lambda one: (one.kind, str(one.created)))


def _kept_for_rollback(names: list[str], configs: list[dict[str, Any]], used: set[str]) -> set[str]:
    stems = {stem(name) for name in names}
    newest: dict[str, dict[str, Any]] = {}
    for one in configs:
        part = endpoint_stem(one["EndpointConfigName"])
        if part not in stems or one["EndpointConfigName"] in used:
            continue
        if part not in newest or one["CreationTime"] > newest[part]["CreationTime"]:
            newest[part] = one
    return {one["EndpointConfigName"] for one in newest.values()}


def _orphan(kind: Literal["config", "model"], name: str, listed: dict[str, Any]) -> Orphan:
    return Orphan(kind=kind, name=name, created=listed.get("CreationTime"), made_for=endpoint_stem(name))


def remove_all(orphans: Iterable[Orphan]) -> Flow[tuple[Orphan, ...]]:
    """Delete orphans, the configurations first; those that something uses by now are left.

    Returns:
        What was deleted.

    Raises:
        InvalidInputError: Something else than orphans was given.
    """
    given = check.sequence(orphans)
    for one in given:
        if not isinstance(one, Orphan):
            raise InvalidInputError(f"orphans: wants what endpoints.orphans() found, not {one!r}")
    still = {(one.kind, one.name) for one in (yield from find())}
    gone = [one for one in given if (one.kind, one.name) in still]
    for one in sorted(gone, key=lambda one: one.kind):
        yield from absent_ok(remove(Made(one.kind, one.name)))
    return tuple(gone)
