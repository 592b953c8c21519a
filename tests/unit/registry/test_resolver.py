"""What the cache of a registry says without a call."""

from __future__ import annotations

from typing import Any

import pytest

from mme_sdk._flows.effects import Flow
from mme_sdk.aws import Aws
from mme_sdk.errors import ClosedError
from mme_sdk.registry import ModelRegistry
from mme_sdk.registry.resolver import Resolver


class Tombstones:
    """Deletions of a registry; `record` is the flow that reads them."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()

    def record(self, known: Any) -> Flow[Any]:
        yield from ()
        return type("Record", (), {"body": dict.fromkeys(self.deleted)})()


class Aliases:
    def __init__(self) -> None:
        self.tombstones = Tombstones()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def resolver(clock: list[float]) -> Resolver:
    return Resolver(Aliases(), staleness=10.0, monotonic=lambda: clock[0], random=lambda: 0.5)  # type: ignore[arg-type]


def read(resolver: Resolver) -> None:
    """Read the deletions, as the first call of a model does."""
    own, _ = resolver.claim(("",))
    for _ in resolver.load(own):
        raise AssertionError("the deletions are read without an effect")


def test_a_model_is_stored_if_the_deletions_are_recent_and_do_not_include_it(
    resolver: Resolver, clock: list[float]
) -> None:
    assert not resolver.is_stored("fraud/v1.tar.gz"), "nothing was read"
    resolver._aliases.tombstones.deleted.add("fraud/v2.tar.gz")  # type: ignore[attr-defined]
    read(resolver)
    assert resolver.is_stored("fraud/v1.tar.gz")
    assert not resolver.is_stored("fraud/v2.tar.gz")
    clock[0] += 5.0
    assert resolver.is_stored("fraud/v1.tar.gz")
    clock[0] += 0.1
    assert not resolver.is_stored("fraud/v1.tar.gz"), "a call in this time refreshes the deletions"
    read(resolver)
    assert resolver.is_stored("fraud/v1.tar.gz")
    resolver.invalidate()
    assert not resolver.is_stored("fraud/v1.tar.gz"), "this client has deleted something"


def test_a_client_that_is_closed_before_it_reads_lets_others_read() -> None:
    aws = Aws(region="eu-west-1")
    models = ModelRegistry(aws, "s3://bucket/prod/")
    aws.close()
    with pytest.raises(ClosedError):
        models.resolve("fraud@live")
    _, others = models._resolver.claim(("", "fraud@live.json"))
    assert others == [], "the next caller would wait for a read that nobody makes"
