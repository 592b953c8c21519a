"""Findings about models and versions: those that fail, that are deleted, that are old, and aliases that are stale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from mme_sdk.diagnosis import commands
from mme_sdk.diagnosis.catalogue import Catalogue
from mme_sdk.diagnosis.findings import Command, Cost, Evidence, Finding
from mme_sdk.diagnosis.observation import ObservedEndpoint
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["deleted_model_called", "failing_model", "old_version_called", "stale_alias"]

_FAILURES = frozenset({"ModelError", "ModelServerError", "ModelMemoryError", "ModelNotReadyError", "ServiceError"})
_ABSENT = "ModelNotFoundError"
_LOADING, _LOAD_LIMIT = "ModelNotReadyError", timedelta(seconds=360)  # SageMaker gives a load that long
_FEW_CALLS = 3
_OLD_CALLS, _OLD_SHARE = 5, 0.01
_GRACE = timedelta(minutes=15)  # in which callers still use the version that an alias had before
_LONG = timedelta(days=30)


def failing_model(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find models none of whose last calls was answered, because the container failed."""
    catalogue = None if endpoint.registry is None else Catalogue(endpoint.registry)
    for target, minutes in endpoint.by_model.items():
        last = _since_last_answer(minutes)
        calls, by_error = sum(one.calls for one in last), _errors(last)
        there = catalogue is not None and catalogue.exists(target)
        # A model that is in S3, and is not found, cannot be downloaded.
        counted = _FAILURES | {_ABSENT} if there else _FAILURES
        failures = sum(count for name, count in by_error.items() if name in counted)
        if failures < _FEW_CALLS or failures < 0.9 * calls:
            continue
        if by_error.keys() == {_LOADING} and last[-1].at - last[0].at < _LOAD_LIMIT:
            continue  # it may still be loading
        alias = None if catalogue is None else catalogue.alias_of(target)
        command, remedy = commands.logs(endpoint, target), "the log of the model says why it fails"
        before = [] if catalogue is None or alias is None else catalogue.existing(alias.name, alias.before)
        if catalogue is not None and alias is not None and before:
            command = commands.rollback_alias(catalogue.registry, alias.name, alias.alias)
            remedy = f"point {alias.reference} back at {', '.join(before)}, which it referred to before"
        always = len(last) == len(minutes)
        named = max(by_error, key=lambda one: by_error[one])
        yield Finding(
            kind="failing_model",
            severity="critical",
            confidence=0.95 if always else 0.85,
            subject=target,
            summary=f"model {target} fails: {failures} calls in a row were not answered ({named})",
            evidence=(
                *(_recorded(f"calls that ended with {name}", count, endpoint) for name, count in by_error.items()),
                _recorded("calls that were answered before", sum(map(_answered, minutes)), endpoint),
            ),
            cost=_waited(last),
            remedy=remedy,
            command=command,
        )


def deleted_model_called(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find models that are called after they were deleted from S3."""
    if endpoint.registry is None:
        return
    registry, catalogue = endpoint.registry, Catalogue(endpoint.registry)
    for target, minutes in endpoint.by_model.items():
        if catalogue.exists(target):
            continue
        at = registry.deleted.get(target)
        late = [one for one in minutes if at is None or one.at.timestamp() + 60.0 > at.timestamp()]
        calls, absent = sum(one.calls for one in late), _errors(late).get(_ABSENT, 0)
        if calls < _FEW_CALLS or catalogue.alias_of(target) is not None:
            continue  # an alias that refers to it is stale, which is another finding
        name, _ = catalogue.parsed(target)
        aliases = catalogue.aliases(name)
        served = calls - sum(sum(one.errors.values()) for one in late)
        evidence = [
            _recorded("calls", calls, endpoint),
            _recorded("calls that ended with ModelNotFoundError", absent, endpoint),
            _recorded("calls that a loaded copy answered", served, endpoint),
        ]
        if at is not None:
            evidence.append(Evidence(name="deleted at", value=_time(at), source="registry"))
        remedy, command = f"let callers use a version that exists; there are those of {name}", None
        if aliases:
            remedy = f"let callers use {aliases[0].reference}, which refers to a version that exists"
            command = commands.call_alias(endpoint, aliases[0].reference)
        yield Finding(
            kind="deleted_model_called",
            severity="critical" if absent or not served else "warning",
            confidence=0.95 if at is not None else 0.85,
            subject=target,
            summary=f"model {target} is not in S3 any more, and was called {calls} times"
            + (f" by {_tenants(late)}" if _tenants(late) else ""),
            evidence=tuple(evidence),
            cost=_waited(late),
            remedy=remedy,
            command=command or commands.versions(registry, name),
        )


def old_version_called(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find versions that are called although the alias of their model has moved to another one."""
    if endpoint.registry is None or not endpoint.minutes:
        return
    registry, catalogue = endpoint.registry, Catalogue(endpoint.registry)
    for alias in registry.aliases:
        if any(one.since > alias.since for one in catalogue.aliases(alias.name)):
            continue  # another alias of the model is newer, and callers may use both
        for version in alias.before:
            target = catalogue.target(alias.name, version)
            if target is None or target in registry.deleted or catalogue.alias_of(target) is not None:
                continue  # a version that was deleted is another finding
            late = [one for one in endpoint.by_model.get(target, ()) if one.at >= alias.since + _GRACE]
            calls = sum(one.calls for one in late)
            current = [catalogue.target(alias.name, one) for one in alias.versions]
            beside = sum(each.calls for one in current if one is not None for each in endpoint.by_model.get(one, ()))
            if calls < max(_OLD_CALLS, _OLD_SHARE * beside):
                continue
            yield Finding(
                kind="old_version_called",
                severity="info",
                confidence=0.85,
                subject=target,
                summary=f"{target} was called {calls} times since {alias.reference} moved to "
                f"{', '.join(alias.versions)}" + (f", by {_tenants(late)}" if _tenants(late) else ""),
                evidence=(
                    _recorded(f"calls of {version}", calls, endpoint),
                    _recorded(f"calls of {', '.join(alias.versions)}", beside, endpoint),
                    Evidence(name="the alias changed at", value=_time(alias.since), source="registry"),
                ),
                remedy=f"let callers use {alias.reference} in place of a version",
                command=commands.call_alias(endpoint, alias.reference),
            )


def stale_alias(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find aliases that refer to a version that does not exist, or to one that was replaced long ago."""
    if endpoint.registry is None:
        return
    registry, catalogue = endpoint.registry, Catalogue(endpoint.registry)
    for alias in registry.aliases:
        if catalogue.unnamed and not catalogue.versions(alias.name):
            continue  # the keys of this model may follow another template
        existing = catalogue.existing(alias.name, alias.versions)
        gone = [one for one in alias.versions if one not in existing]
        newest = catalogue.newest(alias.name)
        if gone:
            before = catalogue.existing(alias.name, alias.before)
            if before and len(before) == len(alias.before):
                command: Command = commands.rollback_alias(registry, alias.name, alias.alias)
                remedy = f"point it back at {', '.join(before)}, which it referred to before"
            elif newest is not None:
                command = commands.alias(registry, alias.name, alias.alias, newest[0])
                remedy = f"point it at {newest[0]}, the newest version that exists"
            else:
                command = commands.unalias(registry, alias.name, alias.alias)
                remedy = "the model has no version any more: remove the alias, or register a version"
            yield Finding(
                kind="stale_alias",
                severity="critical",
                confidence=0.95,
                subject=alias.reference,
                summary=f"alias {alias.reference} refers to {', '.join(gone)}, which does not exist",
                evidence=(
                    Evidence(name="refers to", value=", ".join(alias.versions), source="registry"),
                    Evidence(name="versions that exist", value=len(catalogue.versions(alias.name)), source="registry"),
                    Evidence(name="changed at", value=_time(alias.since), source="registry"),
                ),
                remedy=remedy,
                command=command,
            )
        elif newest is not None and newest[1] is not None and newest[0] not in alias.versions:
            named = any(newest[0] in one.versions for one in catalogue.aliases(alias.name))
            if named or alias.since > newest[1] or endpoint.end - newest[1] < _LONG:
                continue
            yield Finding(
                kind="stale_alias",
                severity="info",
                confidence=0.5,
                subject=alias.reference,
                summary=f"alias {alias.reference} refers to {', '.join(alias.versions)}, and no alias to the newer "
                f"{newest[0]}",
                evidence=(
                    Evidence(name="changed at", value=_time(alias.since), source="registry"),
                    Evidence(name=f"{newest[0]} uploaded at", value=_time(newest[1]), source="S3"),
                ),
                remedy=f"point it at {newest[0]}, or delete that version if it is not meant to be used",
                command=commands.alias(registry, alias.name, alias.alias, newest[0]),
            )


def _since_last_answer(minutes: Sequence[RecordedMinute]) -> list[RecordedMinute]:
    """Return the minutes after the last one with an answered call."""
    found: list[RecordedMinute] = []
    for one in reversed(minutes):
        if _answered(one):
            break
        found.insert(0, one)
    return found


def _answered(one: RecordedMinute) -> int:
    return max(0, one.calls - sum(one.errors.values()))


def _errors(minutes: Sequence[RecordedMinute]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in minutes:
        for name, count in one.errors.items():
            found[name] = found.get(name, 0) + count
    return found


def _waited(minutes: Sequence[RecordedMinute]) -> Cost | None:
    waited = sum(one.cold_seconds for one in minutes)
    return Cost(value=waited, unit="cold seconds", source="recordings") if waited else None


def _tenants(minutes: Sequence[RecordedMinute]) -> str:
    calls: dict[str, int] = {}
    for one in minutes:
        if one.tenant is not None:
            calls[one.tenant] = calls.get(one.tenant, 0) + one.calls
    first = sorted(calls, key=lambda one: (-calls[one], one))
    return ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _recorded(name: str, value: float, endpoint: ObservedEndpoint) -> Evidence:
    return Evidence(name=name, value=value, source="recordings", period=endpoint.seconds)
