"""Run two operations in every order of their requests, in memory: each order must end like some serial order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.resolver import Resolver
from tests.support.registry.interleave import Checker, Client, Make, check_kills, describe
from tests.support.registry.race_operations import OPERATIONS, STARTS, after, check_operations, sources


@pytest.fixture(autouse=True, scope="module")
def _sources() -> Iterator[None]:
    with sources():
        yield


@pytest.mark.parametrize("first", sorted(set(OPERATIONS) - {"delete v1 by force", "delete all", "prune", "copy in"}))
def test_a_deletion_beside_any_verb(first: str) -> None:
    found = check_operations("two versions", first, "delete v1")
    assert found["states"] > 20


@pytest.mark.parametrize(
    ("start", "names"),
    [
        ("v1 deleted", ("register v1", "register other bytes as v1")),
        ("v1 deleted", ("register v1", "alias v1")),
        ("v1 deleted", ("register v1", "delete v1")),
        ("alias at v2, before at v1", ("rollback", "delete v1")),
        ("alias at v2, before at v1", ("rollback", "prune")),
        ("alias at v2, before at v1", ("alias v1 if v2", "unalias")),
        ("alias at v2", ("unalias", "unalias")),
        ("nothing", ("register v1", "register other bytes as v1")),
        ("copied", ("copy in", "delete v1")),
    ],
)
def test_verbs_side_by_side(start: str, names: tuple[str, ...]) -> None:
    check_operations(start, *names)


def test_a_deletion_does_not_fail_for_nothing() -> None:
    """Of two operations that exclude each other, one succeeds; each of them succeeds in some order."""
    found = check_operations("two versions", "alias v1", "delete v1")
    outcomes = {outcomes for outcomes, _ in (key for key in found if key != "states")}
    assert {tuple("Error" in one for one in pair) for pair in outcomes} == {(False, True), (True, False)}


@pytest.mark.parametrize("first", ["register v1", "alias v1", "delete v1", "copy out"])
def test_killed_at_any_request(first: str) -> None:
    """After a killed operation, registering the same content makes the version available again."""
    flows = [OPERATIONS[first], OPERATIONS["delete v1"]]
    assert check_kills(after(*STARTS["two versions"]), flows, OPERATIONS["register v1"], "m/v1.tar.gz") > 3


def resolved(client: Client) -> Any:
    """Resolve the alias with an empty cache."""
    resolver = Resolver(client.operations.aliases, staleness=5.0, monotonic=lambda: 0.0, random=lambda: 0.0)
    places = ("", "m@live.json")
    resolver.claim(places)
    yield from resolver.load(places)
    return resolver.last_known("m@live", None)


def moved_then_deleted(client: Client) -> Any:
    yield from client.operations.aliases.set("m", "live", "v1")
    yield from deleting.delete(client.operations.aliases, "m", "v2", grace=0, force=False, dry_run=False)


def revived_then_moved(client: Client) -> Any:
    yield from client.operations.register("m", "one", "v1")
    yield from client.operations.aliases.set("m", "live", "v1")


@pytest.mark.parametrize(
    ("start", "change"), [("alias at v2", moved_then_deleted), ("alias at v2 and v1 deleted", revived_then_moved)]
)
def test_a_deploy_is_never_seen_as_a_failure(start: str, change: Make) -> None:
    """An alias that always refers to an existing version can always be resolved."""
    ends = list(Checker(after(*STARTS[start]), [resolved, change]).run())
    assert {describe(outcomes[0]) for _, outcomes in ends} == {("version", "m/v1.tar.gz"), ("version", "m/v2.tar.gz")}
