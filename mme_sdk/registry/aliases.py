"""Aliases: records in S3 that name a version of a model, with the history of their changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeAlias

import attrs

from mme_sdk._flows.effects import Flow, cleaned
from mme_sdk._validation import check_number
from mme_sdk.errors import ConflictError, InvalidInputError, MMEError, ModelNotFoundError, ServiceError
from mme_sdk.registry.alias import Alias, AliasChange, describe_weights, rollback_target
from mme_sdk.registry.names import RESERVED, check_alias, check_name
from mme_sdk.registry.store import Record, Store, all_or_raise
from mme_sdk.registry.tombstones import Tombstones, is_pending, new_id
from mme_sdk.types.model import ModelVersion, check_compressed

__all__ = ["ANY", "Aliases", "record_name"]

_KIND = "aliases"
_HISTORY = 1000  # changes that an alias keeps
_ATTEMPTS = 16
History: TypeAlias = "list[dict[str, Any]]"


class _Any:
    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()
"""Default of `expected`: change the alias whatever it refers to."""


def record_name(name: str, alias: str) -> str:
    """Return the name of an alias's record. `@` is in neither part, so that the name is unambiguous."""
    return f"{check_name(name)}@{check_alias(alias)}.json"


def weights_of(wanted: str | ModelVersion | Mapping[str, float]) -> dict[str, float]:
    """Return the weights that a caller gave.

    Raises:
        InvalidInputError: No version was given, or a weight is not a positive number.
    """
    if isinstance(wanted, ModelVersion):
        check_compressed(wanted, "an alias")
        wanted = wanted.version
    if isinstance(wanted, str):
        return {wanted: 1.0}
    if not isinstance(wanted, Mapping):
        raise InvalidInputError(
            f"an alias refers to a version or to versions with weights, not to a {type(wanted).__name__}"
        )
    if not wanted:
        raise InvalidInputError("an alias needs at least one version")
    for version, weight in wanted.items():
        check_number(f"the weight of {version!r}", weight, over=0)
    return {version: float(weight) for version, weight in wanted.items()}


@attrs.frozen
class Aliases:
    """The aliases under one prefix.

    Attributes:
        store: S3 requests for the prefix.
        tombstones: The tombstones of the prefix.
    """

    store: Store
    tombstones: Tombstones

    def read(self, record: str, known: Record | None = None) -> Flow[tuple[Record | None, Alias | None]]:
        """Read the record with a name, and the alias in it."""
        found = yield from self.store.get_record(_KIND, record, known)
        return found, None if found is None else _parse(record, found.body)

    def get(self, name: str, alias: str) -> Flow[Alias]:
        """Return an alias.

        Raises:
            ModelNotFoundError: The alias does not exist.
        """
        _, found = yield from self.read(record_name(name, alias))
        if found is None:
            raise self._not_found(name, alias)
        return found

    def _not_found(self, name: str, alias: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            f"the alias {name}@{alias} does not exist under {self.store.keys.prefix}",
            model=f"{name}@{alias}",
            hint=f"create it with alias({name!r}, {alias!r}, version)",
        )

    def all(self, name: str | None = None) -> Flow[list[Alias]]:
        """Return all aliases, or those of one name."""
        records = yield from self._records(name)
        found = [_parse(record, content.body) for record, content in records.items()]
        return [alias for alias in found if alias is not None]

    def _records(self, name: str | None) -> Flow[dict[str, Record]]:
        names = yield from self.store.record_names(_KIND, "" if name is None else f"{check_name(name)}@")
        records = yield from all_or_raise([self.store.get_record(_KIND, one) for one in names], 16)
        return {one: record for one, record in zip(names, records, strict=True) if record is not None}

    def all_without_pending(self, name: str | None, deleted: Collection[tuple[str, str]]) -> Flow[list[Alias]]:
        """Return all aliases, after cancelling the pending changes to versions that are being deleted.

        A change writes a pending entry into the alias, then reads the tombstones, then takes effect. A deletion writes
        a tombstone, then reads the aliases. A pending change may have read the tombstones before this one was written,
        so its entry is removed here. The client that makes the change finds another entity tag, starts again, and sees
        the tombstone.

        Args:
            name: Name of the model; None for all models.
            deleted: Names and versions that are being deleted.
        """
        found: list[Alias] = []
        for record, first in (yield from self._records(name)).items():
            content: Record | None = first
            for attempt in range(_ATTEMPTS):
                if content is None or not _has_pending(record, content.body, deleted):
                    break
                try:
                    yield from self._cancel_pending(record, content)
                except ConflictError:
                    yield self.store.backoff(attempt)
                content = yield from self.store.get_record(_KIND, record)
            else:
                raise ConflictError(
                    f"other clients kept changing the alias {record.removesuffix('.json')}; nothing was deleted",
                    hint="try again later",
                )
            alias = None if content is None else _parse(record, content.body)
            if alias is not None:
                found.append(alias)
        return found

    def _cancel_pending(self, record: str, content: Record) -> Flow[None]:
        """Remove the pending change from an alias.

        Raises:
            ConflictError: The alias was changed since `content` was read.
        """
        if content.body["history"]:
            body = {key: value for key, value in content.body.items() if key != "pending"}
            yield from self.store.swap_record(_KIND, record, body, content)
        else:
            yield from self.store.delete_if(self.store.keys.reserved(_KIND, record), content.etag)

    def set(
        self, name: str, alias: str, wanted: str | ModelVersion | Mapping[str, float], expected: Any = ANY
    ) -> Flow[Alias]:
        """Point an alias at versions.

        Raises:
            ModelNotFoundError: A version does not exist, or was deleted.
            ConflictError: The alias does not refer to `expected`.
        """
        if isinstance(wanted, ModelVersion) and wanted.name != name:
            raise InvalidInputError(f"{wanted.target_model} is not a version of the model {name!r}")
        weights = weights_of(wanted)
        required = None if expected is None or expected is ANY else weights_of(expected)

        def change(history: History) -> dict[str, Any] | None:
            current = history[-1]["weights"] if history else None
            if current == weights:
                return None
            if expected is not ANY and current != required:
                raise ConflictError(
                    f"the alias {name}@{alias} refers to {describe_weights(current)}, "
                    f"not to {describe_weights(required)}",
                    model=f"{name}@{alias}",
                    hint="another client changed it; read the alias again, then decide",
                )
            return {"weights": weights, "at": self.store.now()}

        yield from self._check_exist(name, weights)
        return (yield from self._change(name, alias, change))

    def rollback(self, name: str, alias: str) -> Flow[Alias]:
        """Point an alias at the version before the current one.

        Raises:
            ConflictError: The alias has no earlier version.
        """
        current = yield from self.get(name, alias)
        back, weights = rollback_target(current)
        yield from self._check_exist(name, weights)
        seen = len(current.history)

        def change(history: History) -> dict[str, Any]:
            if len(history) != seen or history[-1]["weights"] != current.weights:
                raise ConflictError(
                    f"the alias {name}@{alias} was changed during the rollback; it was not rolled back",
                    model=f"{name}@{alias}",
                    hint="read the alias again, then decide",
                )
            return {"weights": dict(weights), "at": self.store.now(), "back": back}

        return (yield from self._change(name, alias, change))

    def _change(self, name: str, alias: str, decide: Callable[[History], dict[str, Any] | None]) -> Flow[Alias]:
        """Change an alias: write the change as pending, read the tombstones, put it into effect.

        Args:
            name: Name of the model.
            alias: The alias.
            decide: Returns the change for a history; None if nothing has to change. It is called for each attempt.

        Raises:
            ModelNotFoundError: A version was deleted. The alias is unchanged.
            ConflictError: Other clients changed the alias in every attempt.
        """
        record, change_id = record_name(name, alias), new_id()
        waited_for: Any = None
        for attempt in range(_ATTEMPTS):
            content, old = yield from self.read(record)
            history: History = [] if content is None else content.body["history"]
            if any(one.get("id") == change_id for one in history):
                assert old is not None
                return old  # the change is in effect; the response to its request was lost
            change = decide(history)
            if change is None:
                assert old is not None
                yield from self._check_not_deleted(name, old.weights)
                return old
            other = None if content is None else content.body.get("pending", {}).get("id")
            if other not in (None, change_id, waited_for):
                waited_for = other  # wait once for another client's pending change; that client may have been killed
                yield self.store.backoff(attempt)
                continue
            change["id"] = change_id
            try:
                pending = yield from self.store.swap_record(
                    _KIND, record, {"history": history, "pending": change}, content
                )
                done = yield from self._apply(record, history, change, pending)
            except ConflictError:
                yield self.store.backoff(attempt)
                continue
            except (Exception, GeneratorExit):
                raise
            except BaseException as stop:
                left = f"a pending change of the alias {name}@{alias}; the next change of the alias removes it"
                yield from cleaned(self._withdraw(record, change_id), stop, left)
                raise
            found = _parse(record, done.body)
            assert found is not None
            return found
        raise ConflictError(
            f"other clients kept changing the alias {name}@{alias}; this change was not made",
            model=f"{name}@{alias}",
            hint="try again later",
        )

    def _apply(self, record: str, history: History, change: dict[str, Any], pending: Record) -> Flow[Record]:
        """Put a pending change into effect, or cancel it if that fails."""
        name = record.rpartition("@")[0]
        try:
            yield from self._check_not_deleted(name, change["weights"])
            return (
                yield from self.store.swap_record(_KIND, record, {"history": [*history, change][-_HISTORY:]}, pending)
            )
        except ConflictError:
            raise
        except Exception:
            # Cancelling raises ConflictError if the change took effect although the response was lost. `_change` then
            # finds it in the history.
            try:
                yield from self._cancel_pending(record, pending)
            except ConflictError:
                raise
            except MMEError:
                pass
            raise

    def _withdraw(self, record: str, change_id: str) -> Flow[None]:
        """Cancel a change, unless it took effect."""
        found = yield from self.store.get_record(_KIND, record)
        if found is not None and found.body.get("pending", {}).get("id") == change_id:
            with suppress(ConflictError):  # another client has cancelled it
                yield from self._cancel_pending(record, found)

    def _check_exist(self, name: str, weights: Mapping[str, float]) -> Flow[None]:
        targets = [self.store.keys.target(name, version) for version in weights]
        found = yield from all_or_raise([self.store.head(target) for target in targets], 8)
        for target, stored in zip(targets, found, strict=True):
            if stored is None:
                raise ModelNotFoundError(
                    f"the version {self.store.keys.prefix.join(target)} does not exist",
                    model=target,
                    hint="register it first; list() shows the versions",
                )

    def _check_not_deleted(self, name: str, weights: Mapping[str, float]) -> Flow[None]:
        tombstones = yield from self.tombstones.read()
        for version in weights:
            target = self.store.keys.target(name, version)
            if target in tombstones:
                state = "is being deleted" if is_pending(tombstones[target]) else "was deleted"
                raise ModelNotFoundError(
                    f"the version {target} {state}", model=target, hint="point the alias at another version"
                )

    def remove(self, name: str, alias: str) -> Flow[None]:
        """Delete an alias and its history."""
        record = record_name(name, alias)
        for attempt in range(_ATTEMPTS):
            content, found = yield from self.read(record)
            if content is None or found is None:
                raise self._not_found(name, alias)
            try:
                return (yield from self.store.delete_if(self.store.keys.reserved(_KIND, record), content.etag))
            except ConflictError:
                yield self.store.backoff(attempt)
        raise ConflictError(
            f"other clients kept changing the alias {name}@{alias}; it was not deleted",
            model=f"{name}@{alias}",
            hint="try again later",
        )


def _parse(record: str, body: Mapping[str, Any]) -> Alias | None:
    """Return the alias of a record; None if its first change is still pending."""
    name, _, alias = record.removesuffix(".json").rpartition("@")
    try:
        history = tuple(
            AliasChange(
                weights=weights_of(one["weights"]), at=datetime.fromtimestamp(one["at"], UTC), back=one.get("back", 0)
            )
            for one in body["history"]
        )
        if not history:
            if "pending" in body:
                return None
            raise ValueError("empty")
        return Alias(name=name, alias=alias, history=history)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ServiceError(
            f"the record of the alias {name}@{alias} is damaged",
            hint=f"delete the key {RESERVED}{_KIND}/{record} below the prefix, then create the alias again",
        ) from error


def _has_pending(record: str, body: Mapping[str, Any], versions: Collection[tuple[str, str]]) -> bool:
    """Return whether an alias has a pending change to one of some versions."""
    name = record.rpartition("@")[0]
    return any((name, version) in versions for version in body.get("pending", {}).get("weights", ()))
