"""What remains after S3 refuses a request, loses a response, or a client is killed; and the cost of each operation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.errors import (
    AccessDeniedError,
    ConflictError,
    MMEError,
    ModelNotFoundError,
    NotSentError,
    OutcomeUnknownError,
    ServiceError,
)
from mme_sdk.local.storage.s3 import S3Server
from mme_sdk.registry import ModelRegistry, tombstones
from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.operations import upload
from tests.support.registry.flow_steps import steps

Model = Callable[..., Path]


class MeddledAws(Aws):
    """Counts requests, and calls a function instead of chosen ones."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.sent: list[str] = []
        self.instead: Callable[[Call, Callable[[], Any]], Any] = lambda call, send: send()

    def send(self, call: Call) -> Any:
        self.sent.append(call.operation)
        return self.instead(call, lambda: Aws.send(self, call))


@pytest.fixture
def meddled(s3_server: S3Server, s3_session: boto3.Session) -> Iterator[MeddledAws]:
    aws = MeddledAws(session=s3_session, endpoint_url={"s3": s3_server.endpoint_url})
    yield aws
    aws.close()


@pytest.fixture
def two(models: ModelRegistry, model: Model) -> ModelRegistry:
    for number in (1, 2):
        models.register("fraud", model(b"%d" % number), f"v{number}")
    return models


@pytest.fixture
def other(two: ModelRegistry, meddled: MeddledAws) -> ModelRegistry:
    """A registry over the same prefix whose requests the test intercepts."""
    return ModelRegistry(meddled, two.uri)


def state(models: ModelRegistry) -> Any:
    """Return what a new client reads."""
    fresh = ModelRegistry(models._aws, models.uri)
    dead = fresh._aws.run(fresh._operations.aliases.tombstones.read())
    return sorted(one.target_model for one in fresh.list()), fresh.aliases(), dead


def killed(flow: Any, models: ModelRegistry, operation: str, count: int) -> None:
    """Run a flow up to its n-th request of a kind, then stop."""
    seen = 0
    for effect in steps(flow, models._aws):
        seen += isinstance(effect, Call) and effect.operation == operation
        if seen == count:
            return
    raise AssertionError("it has ended")


def test_what_verbs_cost(models: ModelRegistry, meddled: MeddledAws, model: Model) -> None:
    other = ModelRegistry(meddled, models.uri)
    costs = {}

    def counted(what: str, work: Callable[[], Any]) -> None:
        meddled.sent.clear()
        work()
        costs[what] = len(meddled.sent)

    other.register("fraud", model(b"0"), "v0")
    counted("register", lambda: other.register("fraud", model(b"1"), "v1"))
    counted("register by content", lambda: other.register("fraud", model(b"2")))
    counted("register_many", lambda: other.register_many({f"m{one}": model(b"1", f"m{one}") for one in range(10)}))
    counted("alias", lambda: other.alias("fraud", "live", "v0"))
    counted("alias again", lambda: other.alias("fraud", "live", "v1"))
    counted("rollback", lambda: other.rollback("fraud", "live"))
    counted("list", lambda: list(other.list()))
    counted("delete", lambda: other.delete("fraud", "v1"))
    assert costs == {
        "register": 3,
        "register by content": 2,
        "register_many": 12,
        "alias": 5,
        "alias again": 5,
        "rollback": 6,
        "list": 2,
        "delete": 12,
    }


@pytest.mark.parametrize("whole", [True, False])
def test_what_s3_does_not_delete_stays_in_service(
    two: ModelRegistry, other: ModelRegistry, meddled: MeddledAws, whole: bool
) -> None:
    before = state(two)

    def refuse(call: Call, send: Callable[[], Any]) -> Any:
        if call.operation != "delete_objects":
            return send()
        if whole:
            raise AccessDeniedError("no")
        keys = [one["Key"] for one in call.params["Delete"]["Objects"]]
        return {"Errors": [{"Key": key, "Code": "AccessDenied", "Message": "no"} for key in keys]}

    meddled.instead = refuse
    with pytest.raises(ServiceError, match="1 of 1 objects were not deleted") as caught:
        other.delete("fraud", "v1")
    assert caught.value.hint == "grant s3:DeleteObject"
    assert state(two) == before
    two.alias("fraud", "live", "v1")


def test_a_deletion_without_an_answer_says_what_is_left(
    two: ModelRegistry, other: ModelRegistry, meddled: MeddledAws, model: Model
) -> None:
    def cut(call: Call, send: Callable[[], Any]) -> Any:
        if call.operation == "delete_objects":
            raise OutcomeUnknownError("no answer")
        return send()

    meddled.instead = cut
    with pytest.raises(OutcomeUnknownError) as caught:
        other.delete("fraud", "v1")
    assert "clients refuse fraud/v1.tar.gz" in str(caught.value.hint)
    assert "delete again" in str(caught.value.hint)
    assert state(two)[0] == ["fraud/v2.tar.gz"]
    meddled.instead = lambda call, send: send()
    assert len(other.delete("fraud", "v1").versions) == 1
    with pytest.raises(ModelNotFoundError):
        two.get("fraud", "v1")


def test_a_failed_deletion_that_cannot_clean_up_says_so(
    two: ModelRegistry, other: ModelRegistry, meddled: MeddledAws
) -> None:
    def cut(call: Call, send: Callable[[], Any]) -> Any:
        if meddled.sent.count("put_object") and call.operation != "put_object":
            raise NotSentError("S3 went away")
        return send()

    meddled.instead = cut
    with pytest.raises(NotSentError) as caught:
        other.delete("fraud", "v1")
    assert "clients refuse fraud/v1.tar.gz until it is registered or deleted again" in str(caught.value.hint)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("overtaken", [False, True])
def test_an_alias_whose_answer_is_lost_has_moved(
    two: ModelRegistry, other: ModelRegistry, meddled: MeddledAws, at: int, overtaken: bool
) -> None:
    two.alias("fraud", "live", "v1")

    def lose(call: Call, send: Callable[[], Any]) -> Any:
        answer = send()
        if call.operation == "put_object" and meddled.sent.count("put_object") == at:
            if overtaken:
                two.alias("fraud", "live", {"v1": 1, "v2": 1})
            raise OutcomeUnknownError("the answer was lost")
        return answer

    meddled.instead = lose
    try:
        found = other.alias("fraud", "live", "v2", expected="v1")
    except ConflictError:
        assert overtaken  # before it took effect
        assert at == 1
        assert [dict(one.weights) for one in two.aliases()[0].history] == [{"v1": 1}, {"v1": 1, "v2": 1}]
    else:
        assert [dict(one.weights) for one in found.history[:2]] == [{"v1": 1}, {"v2": 1}]
        assert len(two.aliases()[0].history) == 2 + overtaken


@pytest.mark.parametrize("kind", [NotSentError, KeyboardInterrupt])
def test_an_alias_that_fails_is_as_it_was(
    two: ModelRegistry, other: ModelRegistry, meddled: MeddledAws, kind: type[BaseException], s3: Any, bucket_name: str
) -> None:
    before = state(two)

    def cut(call: Call, send: Callable[[], Any]) -> Any:
        if call.operation == "put_object" and meddled.sent.count("put_object") > 1:
            raise kind("gone")
        return send()

    meddled.instead = cut
    with pytest.raises(kind):
        other.alias("fraud", "live", "v1")
    assert state(two) == before
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket_name, Prefix="prod/.mme/aliases/")


def test_a_killed_move_holds_nobody_up(two: ModelRegistry) -> None:
    two.alias("fraud", "live", "v1")
    killed(two._operations.aliases.set("fraud", "live", "v2"), two, "put_object", 2)
    killed(two._operations.aliases.set("fraud", "next", "v2"), two, "put_object", 2)
    assert [(one.reference, dict(one.weights)) for one in two.aliases()] == [("fraud@live", {"v1": 1.0})]
    with pytest.raises(ModelNotFoundError, match=r"alias .* does not exist"):
        two.unalias("fraud", "next")
    two.delete("fraud", "v2")
    assert two.alias("fraud", "next", "v1").weights == {"v1": 1.0}
    assert two.alias("fraud", "live", {"v1": 2.0}).weights == {"v1": 2.0}


def test_a_killed_deletion_is_finished_or_undone(two: ModelRegistry, model: Model) -> None:
    def delete() -> Any:
        return deleting.delete(two._operations.aliases, "fraud", "v1", grace=0, force=False, dry_run=False)

    killed(delete(), two, "put_object", 2)  # announced
    assert [one.version for one in two.list()] == ["v2"]
    with pytest.raises(ModelNotFoundError, match="is being deleted"):
        two.alias("fraud", "live", "v1")
    with pytest.raises(ModelNotFoundError, match="is being deleted"):
        two.copy(two.uri.replace("prod", "stage"), "fraud", "v1")
    two.register("fraud", model(b"1"), "v1")
    assert two.resolve("fraud/v1.tar.gz").version == "v1"
    killed(delete(), two, "put_object", 2)
    assert len(two.delete("fraud", "v1").versions) == 1
    two.register("fraud", model(b"1"), "v1")
    assert len(list(two.list())) == 2


def test_a_deletion_that_may_be_under_way_holds_the_key(
    two: ModelRegistry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request to delete could remove what is written now."""
    flow = deleting.delete(two._operations.aliases, "fraud", "v1", grace=0, force=False, dry_run=False)
    killed(flow, two, "delete_objects", 1)
    before = state(two)
    for register in (lambda: two.register("fraud", model(b"1"), "v1"), lambda: two.copy(two.uri, "fraud")):
        with pytest.raises(MMEError):
            register()
    with pytest.raises(ConflictError, match="another client is deleting") as caught:
        two.register("fraud", model(b"1"), "v1")
    assert "if that client was killed, try again after " in str(caught.value.hint)
    assert state(two)[:2] == before[:2]
    monkeypatch.setattr(tombstones, "LEASE", 0.0)
    two.register("fraud", model(b"1"), "v1")
    assert len(list(two.list())) == 2


def test_sync_registers_what_is_being_deleted(two: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "churn").write_bytes(b"churn")
    version = two.sync(tmp_path / "build").registered["churn"]
    flow = deleting.delete(two._operations.aliases, "churn", version, grace=0, force=False, dry_run=False)
    killed(flow, two, "put_object", 2)
    assert two.sync(tmp_path / "build", dry_run=True).registered == {"churn": version}
    assert two.sync(tmp_path / "build", alias="live").registered == {"churn": version}
    assert two.resolve("churn@live").version == version


def test_pruning_spares_what_a_rollback_needs_by_then(two: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    aws = two._aws
    other = ModelRegistry(aws, two.uri)
    monkeypatch.setattr(deleting, "_announce", _meanwhile(deleting._announce, lambda: _moved(other)))
    assert len(two.prune(1, "fraud", dry_run=True).versions) == 1
    with pytest.raises(ConflictError, match="after a rollback"):
        two.prune(1, "fraud")
    assert len(list(two.list())) == 2


def _moved(models: ModelRegistry) -> None:
    models.alias("fraud", "live", "v1")
    models.alias("fraud", "live", "v2")


def _meanwhile(function: Callable[..., Any], work: Callable[[], None]) -> Callable[..., Any]:
    def first(*args: Any) -> Any:
        work()
        return (yield from function(*args))

    return first


def test_an_upload_that_cannot_be_noted_is_aborted(
    models: ModelRegistry, meddled: MeddledAws, model: Model, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket_name: str
) -> None:
    monkeypatch.setattr(upload, "PART", 5 << 20)

    def refuse(call: Call, send: Callable[[], Any]) -> Any:
        if call.operation == "put_object" and "/uploads/" in call.params["Key"]:
            raise AccessDeniedError("no")
        return send()

    meddled.instead = refuse
    with pytest.raises(AccessDeniedError):
        ModelRegistry(meddled, models.uri).register("fraud", model(os.urandom(6 << 20)), "v1")
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []
