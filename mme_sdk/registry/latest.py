"""References to aliases that have no record: `name@latest` means the newest version, any other one does not exist."""

from __future__ import annotations

import attrs

from mme_sdk._flows.effects import Flow
from mme_sdk.errors import MMEError
from mme_sdk.registry.alias import Alias, AliasChange
from mme_sdk.registry.aliases import Aliases
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.near import near_names

__all__ = ["LATEST", "Absent", "without_record"]

LATEST = "latest"
"""Alias of the newest version of a model, unless an alias of this name was created."""

_SHOWN = 5


@attrs.frozen
class Absent:
    """Why a reference to an alias stands for no version.

    Attributes:
        reason: What is missing.
        hint: What to do.
    """

    reason: str
    hint: str


def without_record(aliases: Aliases, name: str, alias: str) -> Flow[Alias | Absent]:
    """Return what a reference to an alias without a record stands for.

    Args:
        aliases: The aliases of the prefix.
        name: Name of the model.
        alias: The alias.

    Returns:
        An alias of the newest version, or why there is none.

    Raises:
        MMEError: The newest version is wanted, and S3 did not answer.
    """
    prefix = aliases.store.keys.prefix
    if alias == LATEST:
        versions = yield from _newest_first(aliases, name)
        newest = [one for one in versions if one.created == versions[0].created]
        if len(newest) == 1 and newest[0].created is not None:
            change = AliasChange(weights={newest[0].version: 1.0}, at=newest[0].created)
            return Alias(name=name, alias=LATEST, history=(change,))
        if versions:
            return Absent(
                f"{name}: {len(newest)} versions under {prefix} were stored in the same second, so none is the newest",
                f"name the version: {_listed(newest)}",
            )
    reason = f"the alias {name}@{alias} does not exist under {prefix}"
    if alias == LATEST:
        reason = f"there is no version of a model {name!r} under {prefix}"
    try:
        return Absent(reason, (yield from _advice(aliases, name, alias)))
    except MMEError:
        return Absent(reason, "create it with alias()")


def _newest_first(aliases: Aliases, name: str) -> Flow[list[ModelVersion]]:
    tombstones = yield from aliases.tombstones.read()
    stored = yield from aliases.store.all(name)
    versions = [one for one in stored if one.target_model not in tombstones]
    return sorted(versions, key=lambda one: 0.0 if one.created is None else one.created.timestamp(), reverse=True)


def _advice(aliases: Aliases, name: str, alias: str) -> Flow[str]:
    versions = yield from _newest_first(aliases, name)
    records = yield from aliases.store.record_names("aliases")
    existing = [record.removesuffix(".json") for record in records]
    named = [one.target_model for one in versions if one.version == alias]
    if named:
        return f"did you mean {named[0]}? A version is given as a target model; @ is for aliases"
    own = [one for one in existing if one.rpartition("@")[0] == name]
    if versions and alias.lower() == LATEST:
        return f"did you mean {name}@{LATEST}?"
    if own:
        near = near_names(alias, [one.rpartition("@")[2] for one in own], limit=_SHOWN)
        if near:
            return f"did you mean {' or '.join(f'{name}@{one}' for one in near)}?"
        return f"the aliases of {name} are {', '.join(sorted(own)[:_SHOWN])}"
    if versions:
        return f"{name} has no alias; its versions are {_listed(versions)}; alias() creates an alias"
    others = near_names(name, existing, limit=_SHOWN)
    same = [one for one in others if one.rpartition("@")[2] == alias]
    if not others:
        first, _ = yield from aliases.store.page(None, None)
        others = near_names(name, [one.target_model for one in first], limit=_SHOWN)
    near = same or others
    return f"did you mean {' or '.join(near)}?" if near else "register() stores a version, alias() names it"


def _listed(versions: list[ModelVersion]) -> str:
    more = len(versions) - _SHOWN
    text = ", ".join(one.target_model for one in versions[:_SHOWN])
    return f"{text} and {more} more" if more > 0 else text
