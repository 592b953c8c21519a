"""Deletion: tombstone, grace period, aliases, archive; and versions in use are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.errors import ConflictError, InvalidInputError, ModelNotFoundError
from mme_sdk.registry import ModelRegistry
from tests.support.registry.flow_steps import steps

Model = Callable[..., Path]


@pytest.fixture
def three(models: ModelRegistry, model: Model) -> ModelRegistry:
    for number in (1, 2, 3):
        models.register("fraud", model(b"%d" % number), f"v{number}")
    return models


def versions(models: ModelRegistry) -> list[str]:
    return sorted(one.target_model for one in models.list())


def test_an_aliased_version_stays(three: ModelRegistry) -> None:
    three.alias("fraud", "live", {"v1": 1, "v2": 1})
    would = three.delete("fraud", "v1", dry_run=True)
    assert (would.broken_aliases, would.dry_run, [one.version for one in would.versions]) == (
        ("fraud@live",),
        True,
        ["v1"],
    )
    for version in ("v1", "v2", None):
        with pytest.raises(ConflictError, match="fraud@live would refer to a deleted version"):
            three.delete("fraud", version)
    assert len(versions(three)) == 3
    three.delete("fraud", "v3")
    assert three.delete("fraud", "v1", force=True).broken_aliases == ("fraud@live",)
    with pytest.raises(ModelNotFoundError, match="was deleted"):
        three.resolve("fraud/v1.tar.gz")


def test_grace_lies_between_tombstone_and_deletion(three: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    class Clock:
        def __getattr__(self, name: str) -> Any:
            import time

            return getattr(time, name)

        def sleep(self, seconds: float) -> None:
            seen.append(seconds)
            with pytest.raises(ModelNotFoundError):
                other.resolve("fraud/v1.tar.gz")  # refused already
            assert other.get("fraud", "v1").size  # but still there

    aws = three._aws
    other = ModelRegistry(aws, three.uri)
    monkeypatch.setattr(aws, "clock", Clock())
    three.delete("fraud", "v1", grace=7.5)
    assert seen == [7.5]
    with pytest.raises(ModelNotFoundError):
        other.get("fraud", "v1")


def before_its_last_write(models: ModelRegistry, alias: str) -> Any:
    """A change of an alias to v1 that has read the tombstones and has not taken effect yet."""
    moving = steps(models._operations.aliases.set("fraud", alias, "v1"), models._aws)
    writes = 0
    for effect in moving:
        writes += isinstance(effect, Call) and effect.operation == "put_object"
        if writes == 2:
            return moving
    raise AssertionError("it has ended")


def test_an_alias_that_moves_in_the_grace_period(three: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    aws = three._aws
    other = ModelRegistry(aws, three.uri)
    early = before_its_last_write(other, "live")

    class Clock:
        def __getattr__(self, name: str) -> Any:
            import time

            return getattr(time, name)

        def sleep(self, seconds: float) -> None:
            with pytest.raises(ModelNotFoundError, match="is being deleted"):
                other.alias("fraud", "next", "v1")
            if seconds == 1:
                assert list(early) == []

    monkeypatch.setattr(aws, "clock", Clock())
    with pytest.raises(ConflictError, match="fraud@live"):
        three.delete("fraud", "v1", grace=1)
    monkeypatch.undo()
    assert [alias.reference for alias in three.aliases()] == ["fraud@live"]
    assert three.resolve("fraud@live").version == "v1"
    assert len(versions(three)) == 3


def test_a_deletion_stops_a_change_that_read_the_tombstones_before(three: ModelRegistry, model: Model) -> None:
    three.alias("fraud", "next", "v2")
    for alias in ("live", "next"):
        early = before_its_last_write(three, alias)
        three.delete("fraud", "v1")
        with pytest.raises(ModelNotFoundError, match="was deleted"):
            list(early)
        three.register("fraud", model(b"1"), "v1")
    assert {alias.reference: dict(alias.weights) for alias in three.aliases()} == {"fraud@next": {"v2": 1.0}}


def test_a_version_registered_again_in_the_grace_period_stays(
    three: ModelRegistry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = three._aws
    other = ModelRegistry(aws, three.uri)

    class Clock:
        def __getattr__(self, name: str) -> Any:
            import time

            return getattr(time, name)

        def sleep(self, _seconds: float) -> None:
            other.register("fraud", model(b"1"), "v1")

    monkeypatch.setattr(aws, "clock", Clock())
    with pytest.raises(ConflictError, match="registered again"):
        three.delete("fraud", None, grace=1)
    monkeypatch.undo()
    assert len(versions(three)) == 3
    assert {three.resolve(f"fraud/{one}.tar.gz").version for one in ("v1", "v2", "v3")} == {"v1", "v2", "v3"}


def test_a_deleted_key_takes_back_only_its_own_bytes(three: ModelRegistry, model: Model) -> None:
    three.delete("fraud", "v1")
    with pytest.raises(ConflictError, match="was deleted and had other content"):
        three.register("fraud", model(b"other"), "v1")
    three.register("fraud", model(b"1"), "v1")
    assert three.resolve("fraud/v1.tar.gz").version == "v1"
    assert "fraud/v1.tar.gz" in versions(three)


def test_pruning(
    three: ModelRegistry, model: Model, s3: Any, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.register("other", model(), "v1")
    s3.put_object(Bucket=bucket_name, Key="prod/hand-made.tar.gz", Body=b"1")
    three.alias("fraud", "live", "v1")
    three.alias("fraud", "live", "v2")
    listed = type(three._keys).from_listing
    age = {"v1": 1, "v2": 2, "v3": 3}

    def dated(keys: Any, item: Any, name: Any) -> Any:  # S3 returns whole seconds
        day = next((day for version, day in age.items() if version in item["Key"]), 1)
        return listed(keys, {**item, "LastModified": datetime(2026, 1, day, tzinfo=UTC)}, name)

    monkeypatch.setattr(type(three._keys), "from_listing", dated)
    assert three.prune(1, dry_run=True).versions == ()  # a rollback would need v1
    three.unalias("fraud", "live")
    three.alias("fraud", "live", "v2")
    assert [one.target_model for one in three.prune(1, dry_run=True).versions] == ["fraud/v1.tar.gz"]
    assert len(versions(three)) == 5
    three.prune(1)
    assert versions(three) == ["fraud/v2.tar.gz", "fraud/v3.tar.gz", "hand-made.tar.gz", "other/v1.tar.gz"]
    assert three.prune(1, "other").versions == ()
    for keep in (0, -1, 1.5, True):
        with pytest.raises(InvalidInputError, match="keep"):
            three.prune(keep)  # type: ignore[arg-type]
    for grace in (-1, float("inf"), "5"):
        with pytest.raises(InvalidInputError, match="grace"):
            three.prune(1, grace=grace)  # type: ignore[arg-type]


def test_abort_uploads_aborts_old_unfinished_uploads(models: ModelRegistry, s3: Any, bucket_name: str) -> None:
    for key in ("prod/fraud/v1.tar.gz", "prod-old/fraud/v1.tar.gz"):
        s3.create_multipart_upload(Bucket=bucket_name, Key=key)
    s3.put_object(Bucket=bucket_name, Key="prod/.mme/uploads/x@1.json", Body=b'{"upload_id": "gone"}')
    assert models.abort_uploads().keys == ()
    assert models.abort_uploads(older_than=0, dry_run=True).keys == ("prod/fraud/v1.tar.gz",)
    assert models.abort_uploads(older_than=0).keys == ("prod/fraud/v1.tar.gz",)
    left = s3.list_multipart_uploads(Bucket=bucket_name)["Uploads"]
    assert [one["Key"] for one in left] == ["prod-old/fraud/v1.tar.gz"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket_name, Prefix="prod/.mme/")


def test_more_than_one_request_takes(
    models: ModelRegistry, s3_aws: Aws, monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    monkeypatch.setattr("mme_sdk.registry.store.DELETE_LIMIT", 2)
    for number in range(5):
        models.register("fraud", model(), f"v{number}")
    assert len(models.delete("fraud").versions) == 5
    assert versions(models) == []
