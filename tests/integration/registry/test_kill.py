"""Kill an upload at every request: no partial archive can be invoked, and the second run completes the upload."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.errors import ConflictError, NotSentError, OutcomeUnknownError, ServiceError
from mme_sdk.local.storage.s3 import S3Server
from mme_sdk.registry import ModelRegistry
from mme_sdk.registry.operations import upload
from tests.support.paths import SUPPORT

Model = Callable[..., Path]
PART = 5 << 20  # the smallest part that S3 allows


def run(url: str, prefix: str, source: Path, *deaths: str) -> str:
    child = SUPPORT / "registry" / "upload_child.py"
    done = subprocess.run(
        [sys.executable, child, url, prefix, source, str(PART), *deaths], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("parts", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_at_every_step(
    parts: int, s3_aws: Aws, s3_server: S3Server, s3: Any, bucket_name: str, model: Model, monkeypatch: Any
) -> None:
    monkeypatch.setattr(upload, "PART", PART)
    source = model(os.urandom((parts - 1) * PART + 1_000_000))
    deaths = [f"{at}:{when}" for at in range(1, 20) for when in ("before", "after")]
    prefix = f"s3://{bucket_name}/DEATH/"
    out = run(s3_server.endpoint_url, prefix, source, *deaths)
    steps = int(out.rsplit(maxsplit=1)[1])  # the first run that was not killed counts the requests
    assert steps == {1: 4, 2: 11, 3: 12}[parts]
    whole = None
    for death in deaths[: 2 * steps]:
        models = ModelRegistry(s3_aws, prefix.replace("DEATH", death.replace(":", "-")))
        for seen in models.list():
            models.verify(seen.name, seen.version)  # a visible version is complete
        found = models.register("fraud", source, "v1")
        assert models.verify("fraud", "v1").sha256 == found.sha256
        whole = whole or found.sha256
        assert found.sha256 == whole
    left = s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", [])
    # Killed between the creation of an upload and its record: only abort_uploads() finds it.
    assert len(left) <= 2
    for one in left:
        models = ModelRegistry(s3_aws, f"s3://{bucket_name}/{one['Key'].partition('/')[0]}/")
        assert models.abort_uploads(older_than=0).keys == (one["Key"],)


class FlakyAws(Aws):
    """Calls a function instead of chosen operations."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.seen: list[str] = []
        self.meet: Callable[[Call, int], None] = lambda call, count: None
        self.lose: Callable[[Call, int], bool] = lambda call, count: False

    def send(self, call: Call) -> Any:
        self.seen.append(call.operation)
        count = self.seen.count(call.operation)
        self.meet(call, count)
        answer = super().send(call)
        if self.lose(call, count):
            raise OutcomeUnknownError(f"{call.operation}: the answer was lost")
        return answer


@pytest.fixture
def flaky(s3_server: S3Server, s3_session: Any) -> Any:
    aws = FlakyAws(session=s3_session, endpoint_url={"s3": s3_server.endpoint_url})
    yield aws
    aws.close()


@pytest.fixture
def shaky(flaky: FlakyAws, models: ModelRegistry, monkeypatch: Any) -> ModelRegistry:
    monkeypatch.setattr(upload, "PART", PART)
    monkeypatch.setattr(upload, "_WIDTH", 1)
    return ModelRegistry(flaky, models.uri)


def test_parts_that_arrived_are_not_sent_again(
    shaky: ModelRegistry, flaky: FlakyAws, s3: Any, bucket_name: str, model: Model
) -> None:
    source = model(os.urandom(3 * PART + 1))

    def gone(call: Call, count: int) -> None:
        if flaky.seen.count("upload_part") >= 3:
            raise NotSentError("S3 went away")

    flaky.meet = gone
    with pytest.raises(NotSentError, match="went away"):
        shaky.register("fraud", source, "v1")
    flaky.meet = lambda call, count: None
    assert list(shaky.list()) == []
    flaky.seen.clear()
    shaky.register("fraud", source, "v1")
    assert flaky.seen.count("upload_part") == 2  # two of four parts existed
    assert "create_multipart_upload" not in flaky.seen
    assert shaky.verify("fraud", "v1")
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []


def test_what_fails_is_aborted(shaky: ModelRegistry, flaky: FlakyAws, s3: Any, bucket_name: str, model: Model) -> None:
    def refuse(call: Call, count: int) -> None:
        if call.operation == "upload_part" and count >= 2:
            raise ServiceError("no more room", replay_safe=False)

    flaky.meet = refuse
    with pytest.raises(ServiceError, match="no more room"):
        shaky.register("fraud", model(os.urandom(2 * PART)), "v1")
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket_name)


def test_ctrl_c_aborts_too(shaky: ModelRegistry, flaky: FlakyAws, s3: Any, bucket_name: str, model: Model) -> None:
    def interrupt(call: Call, count: int) -> None:
        if call.operation == "complete_multipart_upload":
            raise KeyboardInterrupt

    flaky.meet = interrupt
    with pytest.raises(KeyboardInterrupt):
        shaky.register("fraud", model(os.urandom(2 * PART)), "v1")
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket_name)


@pytest.mark.parametrize("size", [1000, 2 * PART])
def test_lost_answers_change_nothing(shaky: ModelRegistry, flaky: FlakyAws, model: Model, size: int) -> None:
    flaky.lose = lambda call, count: count == 1 and call.operation in ("put_object", "complete_multipart_upload")
    source = model(os.urandom(size))
    one = shaky.register("fraud", source, "v1")
    assert shaky.verify("fraud", "v1").sha256 == one.sha256
    flaky.seen.clear()
    shaky.alias("fraud", "live", "v1")  # its PUT gets no response either
    assert len(shaky.aliases()[0].history) == 1


def test_other_metadata_does_not_continue_a_left_upload(
    shaky: ModelRegistry, flaky: FlakyAws, s3: Any, bucket_name: str, model: Model
) -> None:
    source = model(os.urandom(2 * PART))

    def gone(call: Call, count: int) -> None:
        if call.operation in ("complete_multipart_upload", "abort_multipart_upload"):
            raise NotSentError("S3 went away")

    flaky.meet = gone
    with pytest.raises(NotSentError):
        shaky.register("fraud", source, "v1", metadata={"run": "1"})
    flaky.meet = lambda call, count: None
    shaky.register("fraud", source, "v1", metadata={"run": "2"})
    assert shaky.get("fraud", "v1").metadata == {"run": "2"}


def test_an_upload_that_another_writer_ends(
    shaky: ModelRegistry, flaky: FlakyAws, models: ModelRegistry, model: Model
) -> None:
    same, other = model(os.urandom(2 * PART)), model(b"other", "other")

    def overtake(source: Path) -> Callable[[Call, int], None]:
        def meet(call: Call, count: int) -> None:
            if call.operation == "upload_part" and count == 2:
                flaky.meet = lambda call, count: None
                models.register("fraud", source, "v1")

        return meet

    flaky.meet = overtake(same)  # the other client continues this upload and completes it
    assert shaky.register("fraud", same, "v1").sha256 == models.get("fraud", "v1").sha256
    models.delete("fraud", "v1")
    flaky.seen.clear()
    flaky.meet = overtake(same)
    shaky.register("fraud", same, "v1")
    flaky.seen.clear()
    models.delete("fraud")
    models.register("fraud", other, "v2")
    with pytest.raises(ConflictError):
        shaky.register("fraud", same, "v2")
    assert models.verify("fraud", "v2").size == models.get("fraud", "v2").size < 10_000  # the winner's bytes stay
