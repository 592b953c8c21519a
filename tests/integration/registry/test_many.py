"""Operations on many models: each succeeds or fails as a whole, and every error is reported."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import MMEClient, Progress
from mme_sdk.artifacts import pack
from mme_sdk.aws import Aws
from mme_sdk.errors import (
    BatchError,
    BucketNotFoundError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    LayoutError,
    MissingExtraError,
    ModelNotFoundError,
)
from mme_sdk.registry import AsyncModelRegistry, ModelRegistry, ObjectOptions, Registration, store
from mme_sdk.registry.operations import batch as many
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations import upload

Model = Callable[..., Path]


def targets(models: ModelRegistry) -> list[str]:
    return sorted(one.target_model for one in models.list())


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A directory of three models: a tree, a file and an archive."""
    folder = tmp_path / "build"
    (folder / "a").mkdir(parents=True)
    (folder / "a/model.ubj").write_bytes(b"a")
    (folder / "b.ubj").write_bytes(b"b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/model.ubj").write_bytes(b"c")
    with (folder / "c.tar.gz").open("wb") as file:
        pack(tmp_path / "c", file)
    (folder / ".DS_Store").write_bytes(b"")
    return folder


def test_the_image_of_many_models(models: ModelRegistry, build: Path) -> None:
    """Nothing is uploaded that the image would not load."""
    sklearn = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    with pytest.raises(BatchError) as refused:
        models.sync(build, image=sklearn)
    assert sorted(refused.value.errors) == ["a", "b.ubj", "c"]
    assert all("loads no model without a script" in str(one) for one in refused.value.errors.values())
    for multi_model, says in ((True, "on a multi-model endpoint"), (False, None)):
        folder = build / "tf/export/1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_bytes(b"x")
        tensorflow = Registration("tf", build / "tf", image="tensorflow-inference:2", multi_model=multi_model)
        if says is None:
            models.register_many([tensorflow])
        else:
            with pytest.raises(BatchError, match=says):
                models.register_many([tensorflow])
        assert len(targets(models)) == (0 if says else 1)
    with pytest.raises(LayoutError, match="loads no model without a script"):
        models.register("a", build / "a", image=sklearn)


def test_many_and_their_progress(models: ModelRegistry, model: Model) -> None:
    sources = {f"m{number}": model(os.urandom(1000), f"dir{number}") for number in range(20)}
    sources["big"] = model(os.urandom(upload.PART + 100_000), "big")
    reported: list[Progress] = []
    found = models.register_many(sources, progress=reported.append)
    assert [one.name for one in found] == list(sources)
    assert all(models.get(one.name, one.version).sha256 == one.sha256 for one in found[-2:])
    assert [one.done for one in reported] == sorted(one.done for one in reported)
    assert (reported[-1].done, reported[-1].total) == (21, 21)
    assert reported[-1].size == sum(one.size or 0 for one in found)
    assert models.register_many(sources) == [models.get(one.name, one.version) for one in found]
    assert models.register_many({}) == []


def test_errors_are_collected_and_the_rest_is_done(models: ModelRegistry, model: Model, tmp_path: Path) -> None:
    models.register("taken", model(b"old", "old"), "v1")
    with pytest.raises(BatchError, match=r"3 of 5 models were not registered; gone: there is no model") as caught:
        models.register_many(
            [
                Registration("good", model(), "v1", metadata={"a": "b"}),
                Registration("gone", tmp_path / "gone"),
                Registration("taken", model(), "v1"),
                Registration("../evil", model()),
                Registration("fine", model()),
            ]
        )
    errors = caught.value.errors
    assert {name: type(error) for name, error in errors.items()} == {
        "gone": InvalidInputError,
        "taken": ConflictError,
        "../evil": InvalidInputError,
    }
    assert [one.name for one in caught.value.done] == ["good", "fine"]
    assert models.get("good", "v1").metadata == {"a": "b"}
    assert len(targets(models)) == 3
    with pytest.raises(InvalidInputError, match="Registration objects, not tuple"):
        models.register_many([("good", model())])  # type: ignore[list-item]


def test_a_bar_is_drawn_where_tqdm_is(
    models: ModelRegistry, model: Model, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.register_many({"a": model(), "b": model()}, progress=True)
    assert "2/2" in capsys.readouterr().err
    models.register_many({"a": model()}, progress=False)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(MissingExtraError, match="tqdm"):
        models.register_many({"a": model()}, progress=True)


def test_a_callback_that_fails_stops_it(models: ModelRegistry, model: Model) -> None:
    def fail(_: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        models.register_many({"a": model()}, progress=fail)


def test_syncing(models: ModelRegistry, build: Path) -> None:
    plan = models.sync(build, dry_run=True)
    assert (sorted(plan.registered), plan.unchanged, plan.dry_run) == (["a", "b.ubj", "c"], {}, True)
    assert targets(models) == []
    done = models.sync(build, alias="live")
    assert done.registered == plan.registered
    assert models.resolve("c@live").version == plan.registered["c"]
    again = models.sync(build, alias="live")
    assert (again.registered, again.unchanged) == ({}, plan.registered)
    (build / "a/model.ubj").write_bytes(b"changed")
    (build / "b.ubj").unlink()
    changed = models.sync(build, alias="live")
    assert sorted(changed.registered) == ["a"]
    assert models.resolve("a@live").version == changed.registered["a"] != plan.registered["a"]
    assert len(targets(models)) == 4
    with pytest.raises(ConflictError, match=r"b\.ubj@live"):
        models.sync(build, delete=True)
    models.unalias("b.ubj", "live")
    assert [one.name for one in models.sync(build, delete=True, dry_run=True).deleted] == ["b.ubj"]
    models.sync(build, delete=True)
    assert len(targets(models)) == 3
    (build / "b.ubj").write_bytes(b"b")  # the old content again: the same bytes, so the same key is safe
    assert sorted(models.sync(build).registered) == ["b.ubj"]


def test_errors_of_versions_of_one_name_do_not_hide_each_other(models: ModelRegistry, tmp_path: Path) -> None:
    wanted = [Registration("fraud", tmp_path / f"none{turn}", f"v{turn}") for turn in range(3)]
    with pytest.raises(BatchError, match="3 of 3") as caught:
        models.register_many(wanted)
    assert sorted(caught.value.errors) == ["fraud", "fraud (2)", "fraud (3)"]


def test_a_directory_that_changes_after_it_was_looked_at(models: ModelRegistry, build: Path, monkeypatch: Any) -> None:
    planned = many._digest

    def then_changed(source: Path) -> Any:
        digest = planned(source)
        if source.name == "a":
            (source / "model.ubj").write_bytes(b"changed meanwhile")
        return digest

    monkeypatch.setattr(many, "_digest", then_changed)
    done = models.sync(build, alias="live")
    monkeypatch.undo()
    assert models.resolve("a@live").version == done.registered["a"]
    assert models.register("a", build / "a").version == done.registered["a"]  # the version is derived from the content


def test_what_cannot_be_synced(models: ModelRegistry, build: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not a directory"):
        models.sync(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="contains no models"):
        models.sync(tmp_path / "empty")
    (build / "d").mkdir()
    with pytest.raises(BatchError, match=r"1 of 4 .* d: .* empty directory"):
        models.sync(build)
    (build / "d").rmdir()
    (build / "c").mkdir()
    with pytest.raises(InvalidInputError, match="have the same name 'c'"):
        models.sync(build)
    assert targets(models) == []
    (build / "c").rmdir()
    (build / "bad").mkdir()
    (build / "bad/README.md").write_text("no model")
    models.register("old", build / "a")
    with pytest.raises(BatchError) as caught:
        models.sync(build, delete=True)
    assert isinstance(caught.value.errors["bad"], LayoutError)
    assert len(targets(models)) == 4  # the valid models are registered, and nothing was deleted


def test_copying(models: ModelRegistry, s3_aws: Aws, s3: Any, bucket_name: str, model: Model) -> None:
    one = models.register("fraud", model(), "v1", metadata={"run": "17"})
    models.register("fraud", model(b"2"), "v2")
    models.register("other", model(), "v1")
    s3.put_object(Bucket=bucket_name, Key="prod/by-hand.tar.gz", Body=b"1")
    s3.create_bucket(Bucket=f"{bucket_name}-b")
    there = ModelRegistry(s3_aws, f"s3://{bucket_name}-b/stage", key="{name}-{version}")
    assert len(models.copy(there, "fraud", dry_run=True).copied) == 2
    assert targets(there) == []
    assert [each.target_model for each in models.copy(there, "fraud", "v1").copied] == ["fraud-v1"]
    copied = there.verify("fraud", "v1")
    assert (copied.sha256, copied.metadata) == (one.sha256, {"run": "17"})
    rest = models.copy(there)
    assert (len(rest.copied), len(rest.unchanged)) == (3, 1)
    assert targets(there) == ["by-hand.tar.gz", "fraud-v1", "fraud-v2", "other-v1"]
    assert len(models.copy(there).unchanged) == 4
    with pytest.raises(ModelNotFoundError):
        models.copy(there, "nobody")
    with pytest.raises(InvalidInputError, match="without name"):
        models.copy(there, version="v1")
    with pytest.raises(InvalidInputError, match="is the prefix of this registry"):
        models.copy(models.uri)
    with pytest.raises(BucketNotFoundError):
        models.copy("s3://no-such-bucket-anywhere/x/")
    clash = ModelRegistry(s3_aws, f"s3://{bucket_name}/clash/")
    clash.register("fraud", model(b"other"), "v1")
    with pytest.raises(BatchError) as caught:
        models.copy(clash.uri)
    assert {name: type(error) for name, error in caught.value.errors.items()} == {"fraud/v1.tar.gz": ConflictError}
    assert len(targets(clash)) == 4
    clash.delete("other", "v1")
    assert "other/v1.tar.gz" in {one.target_model for one in models.copy(clash, "other").copied}  # same bytes
    assert clash.resolve("other/v1.tar.gz")


def test_copying_with_the_client_of_another_region(
    models: ModelRegistry, s3_server: Any, s3_session: Any, model: Model
) -> None:
    models.register("fraud", model(), "v1")
    other = Aws(session=s3_session, endpoint_url=s3_server.endpoint_url, region="eu-west-1")
    try:
        there = ModelRegistry(other, models.uri.replace("prod", "eu"))
        models.copy(there)
        assert targets(there) == ["fraud/v1.tar.gz"]
    finally:
        other.close()


def test_copying_in_parts(models: ModelRegistry, s3: Any, bucket_name: str, model: Model, monkeypatch: Any) -> None:
    one = models.register("big", model(os.urandom(12_000_000)), "v1", metadata={"a": "b"})
    monkeypatch.setattr(copying, "SINGLE_REQUEST_LIMIT", 1)
    monkeypatch.setattr(copying, "_PART", 5 << 20)
    there = ModelRegistry(models._aws, f"s3://{bucket_name}/other/")
    models.copy(there)
    assert there.verify("big", "v1").sha256 == one.sha256
    assert there.get("big", "v1").metadata == {"a": "b"}
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []


def test_verifying(models: ModelRegistry, s3: Any, bucket_name: str, model: Model) -> None:
    one = models.register("fraud", model(os.urandom(1000)), "v1")
    assert models.verify("fraud", "v1") == one
    head = s3.head_object(Bucket=bucket_name, Key="prod/fraud/v1.tar.gz")
    data = s3.get_object(Bucket=bucket_name, Key="prod/fraud/v1.tar.gz")["Body"].read()
    for bad in (data + b"\0", data[:-20], b"x" * len(data)):
        s3.put_object(Bucket=bucket_name, Key="prod/fraud/v1.tar.gz", Body=bad, Metadata=head["Metadata"])
        with pytest.raises(IntegrityError):
            models.verify("fraud", "v1")
    with pytest.raises(ModelNotFoundError):
        models.verify("fraud", "v2")


def test_options_reach_s3(s3_aws: Aws, s3: Any, bucket_name: str, model: Model) -> None:
    options = ObjectOptions(tags={"team": "risk & fraud"}, storage_class="STANDARD_IA", requester_pays=True)
    models = ModelRegistry(s3_aws, f"s3://{bucket_name}/prod/", options=options)
    models.register("fraud", model(), "v1")
    models.register("big", model(os.urandom(17 << 20), "big"), "v1")
    for key in ("prod/fraud/v1.tar.gz", "prod/big/v1.tar.gz"):
        assert s3.get_object_tagging(Bucket=bucket_name, Key=key)["TagSet"] == [
            {"Key": "team", "Value": "risk & fraud"}
        ]
        assert s3.head_object(Bucket=bucket_name, Key=key)["StorageClass"] == "STANDARD_IA"
    models.alias("fraud", "live", "v1")
    options = ObjectOptions(kms_key="alias/models", expected_owner="123456789012", requester_pays=True)
    store = ModelRegistry(s3_aws, f"s3://{bucket_name}/prod/", options=options)._operations.store
    assert store.write_parameters() == {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/models",
        "ExpectedBucketOwner": "123456789012",
        "RequestPayer": "requester",
    }
    for bad in (
        {"storage_class": "GLACIER"},
        {"tags": {str(number): "x" for number in range(11)}},
        {"kms_key": "two\r\nlines"},
        {"expected_owner": "1\n2"},
        {"storage_class": ""},
    ):
        with pytest.raises(InvalidInputError):
            ObjectOptions(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "width"), [(1, 8), (2, 4), (5, 2)])
def test_parts_in_flight_are_bounded_over_all_models(
    models: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, width: int
) -> None:
    widths: list[int] = []

    def noted(flows: list[Any], wide: int) -> Any:
        widths.append(wide)
        return (yield from store.all_or_raise(flows, wide))

    monkeypatch.setattr(upload, "all_or_raise", noted)
    for module in (upload, many):
        monkeypatch.setattr(module, "PART", 5 << 20)  # the smallest part that S3 allows
    for number in range(count):
        (tmp_path / f"large-{number}").mkdir()
        (tmp_path / f"large-{number}" / "model.ubj").write_bytes(os.urandom(6_000_000))
    done = models.register_many({path.name: path for path in sorted(tmp_path.iterdir())})
    assert len(done) == count
    assert widths == [width] * count


def test_awaited(s3_aws: Aws, s3: Any, bucket_name: str, build: Path) -> None:
    async def main() -> None:
        models = AsyncModelRegistry(s3_aws, f"s3://{bucket_name}/prod/")
        reported: list[Progress] = []
        done = await models.sync(build, alias="live", progress=reported.append)
        assert (sorted(done.registered), reported[-1].done) == (["a", "b.ubj", "c"], 3)
        assert len(await models.register_many({"a": build / "a", "d": build / "a"})) == 2
        assert (await models.verify("a", done.registered["a"])).name == "a"
        there = AsyncModelRegistry(s3_aws, f"s3://{bucket_name}/there/")
        assert len((await models.copy(there)).copied) == 4
        assert (await there.prune(1)).versions == ()
        assert (await there.abort_uploads(older_than=0)).keys == ()
        with pytest.raises(BatchError):
            await there.register_many({"x": build / "none", "y": build / "a"})

    asyncio.run(main())


@pytest.mark.slow
def test_processes_share_the_registration_of_many_models(
    models: ModelRegistry, s3_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local-secret")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/model.ubj").write_bytes(b"weights")
    wanted = [Registration(f"m{number}", tmp_path / "one", "v1") for number in range(40)]
    wanted[7] = Registration("m7", tmp_path / "none", "v1")
    parts = [wanted[start : start + 10] for start in range(0, 40, 10)]
    with MMEClient(region="us-east-1", endpoint_url={"*": s3_server.endpoint_url}) as client:
        shared = client.models(models.uri)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
            failed, *done = [workers.submit(shared.register_many, part) for part in (*parts, parts[1])]
            with pytest.raises(BatchError) as caught:
                failed.result()
            assert list(caught.value.errors) == ["m7"]
            assert len(caught.value.done) == 9
            assert [len(one.result()) for one in done] == [10] * 4
            again = list(workers.map(partial(shared.copy, models.uri.replace("prod/", "copied/")), ["m0", "m1"]))
    assert [[one.name for one in report.copied] for report in again] == [["m0"], ["m1"]]
    kept = [f"m{number}/v1.tar.gz" for number in range(40) if number != 7]
    assert targets(models) == sorted(kept)
