"""`sync_registry`: what is registered, left alone, refused and moved."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Call
from mme_sdk.display.progress import Progress, reporting
from mme_sdk.errors import (
    AccessDeniedError,
    BatchError,
    ConflictError,
    InvalidInputError,
    LayoutError,
    MissingExtraError,
    ModelNotFoundError,
    ServiceError,
    StorageError,
)
from mme_sdk.integrations.mlflow import MlflowSyncReport, sync_registry
from mme_sdk.integrations.mlflow import sync as sync_module
from mme_sdk.integrations.mlflow.sync import Sync
from mme_sdk.registry import ModelRegistry
from tests.support.integrations.mlflow import FakeMlflow, MemoryAws, MlflowError, registry


@pytest.fixture
def aws() -> MemoryAws:
    return MemoryAws()


@pytest.fixture
def models(aws: MemoryAws) -> ModelRegistry:
    return registry(aws)


@pytest.fixture
def mlflow(tmp_path: Path) -> FakeMlflow:
    return FakeMlflow(tmp_path / "store")


def run(
    mlflow: FakeMlflow, models: ModelRegistry, names: list[str] | None = None, *, aliases: bool = True, **options: Any
) -> MlflowSyncReport:
    return Sync(models, mlflow.tracking(), **options).run(names, aliases=aliases)


def failed(call: Callable[[], Any]) -> BatchError:
    with pytest.raises(BatchError) as caught:
        call()
    assert caught.value.partial.failed == caught.value.errors  # type: ignore[attr-defined]
    return caught.value


def stored(models: ModelRegistry) -> list[str]:
    return [one.target_model for one in models.list()]


def test_versions_become_versions_and_aliases_become_aliases(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    mlflow.add("fraud", 1)
    mlflow.add("fraud", 2)
    mlflow.add("spam", 7)
    mlflow.alias("fraud", "live", 2)
    report = run(mlflow, models)
    assert report.registered == ("fraud/1", "fraud/2", "spam/7")
    assert report.aliased == ("fraud@live",)
    assert (report.unchanged, report.skipped, report.failed) == ((), {}, {})
    assert stored(models) == ["fraud/1.tar.gz", "fraud/2.tar.gz", "spam/7.tar.gz"]
    assert [(one.reference, dict(one.weights)) for one in models.aliases()] == [("fraud@live", {"2": 1.0})]
    assert models.get("fraud", "2").metadata == {
        "mlflow-model": "models:/fraud/2",
        "mlflow-created": "1000",
        "mlflow-flavor": "xgboost",
    }
    assert models.get("fraud", "2").framework == "xgboost"


def test_a_second_sync_of_1000_models_downloads_and_uploads_nothing(
    mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry
) -> None:
    mlflow.page = 300
    for number in range(1000):
        mlflow.add(f"model-{number}", files=False)
    for number in range(10):
        mlflow.alias(f"model-{number}", "live", 1)
    # What the first sync leaves, without the time that it takes to pack 1,000 archives. The slow tests have both syncs.
    for one in mlflow.tracking().versions():
        key = f"ml-models/prod/{one.name}/{one.version}.tar.gz"
        aws.s3.objects[key] = (b"x", (("mme-metadata", json.dumps(one.metadata)),))
    assert len(run(mlflow, models).aliased) == 10
    aws.calls.clear()
    second = run(mlflow, models)
    assert (len(second.unchanged), second.aliased, second.registered) == (1000, (), ())
    assert mlflow.downloaded == []
    assert aws.calls == {"head_object": 1000, "list_objects_v2": 1, "get_object": 10}, "each alias is read"


def test_a_second_sync_reads_and_writes_nothing_of_what_the_first_one_registered(
    mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry
) -> None:
    for number in range(20):
        mlflow.add(f"model-{number}")
    assert len(run(mlflow, models).registered) == 20
    assert len(mlflow.downloaded) == 40, "the MLmodel file and the native file of each"
    mlflow.downloaded.clear()
    aws.calls.clear()
    assert len(run(mlflow, models).unchanged) == 20
    assert mlflow.downloaded == []
    assert set(aws.calls) <= {"head_object", "list_objects_v2"}


def test_an_alias_moves_with_that_of_mlflow_and_replaces_weights(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    for version in (1, 2):
        mlflow.add("fraud", version)
    mlflow.alias("fraud", "live", 1)
    run(mlflow, models)
    mlflow.alias("fraud", "live", 2)
    assert run(mlflow, models).aliased == ("fraud@live",)
    assert models.aliases("fraud")[0].weights == {"2": 1.0}
    models.alias("fraud", "live", {"1": 0.5, "2": 0.5})
    assert run(mlflow, models).aliased == ("fraud@live",)
    models.alias("fraud", "own", "1")
    assert run(mlflow, models).aliased == (), "an alias that only this registry has stays"
    assert {one.alias for one in models.aliases("fraud")} == {"live", "own"}
    mlflow.alias("fraud", "live", 1)
    assert run(mlflow, models, aliases=False).aliased == ()
    assert models.resolve("fraud@live").version == "2"


def test_only_the_versions_that_an_alias_names(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    for version in (1, 2, 3):
        mlflow.add("fraud", version)
    mlflow.alias("fraud", "live", 2)
    report = run(mlflow, models, only_aliased=True)
    assert (report.registered, report.aliased) == (("fraud/2",), ("fraud@live",))


def test_the_given_names_only(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    for name in ("fraud", "it's", "spam"):
        mlflow.add(name)
    assert run(mlflow, models, ["it's", "spam"]).registered == ("it's/1", "spam/1")
    with pytest.raises(ModelNotFoundError, match="'nope'"):
        run(mlflow, models, ["nope"])
    mlflow.add("both ' and \"")
    with pytest.raises(InvalidInputError, match="quotes"):
        run(mlflow, models, ["both ' and \""])


def test_names_of_mlflow_that_a_target_model_cannot_have_fail_by_name(
    mlflow: FakeMlflow, models: ModelRegistry
) -> None:
    for name in ("fraud model", "main.risk.fraud", "x@y", "für", " lead", ".dot"):
        mlflow.add(name)
    error = failed(lambda: run(mlflow, models))
    assert sorted(error.errors) == [" lead/1", ".dot/1", "für/1", "x@y/1"]
    assert all(isinstance(one, InvalidInputError) for one in error.errors.values())
    assert stored(models) == ["fraud model/1.tar.gz", "main.risk.fraud/1.tar.gz"]
    assert [one.name for one in error.done] == ["fraud model", "main.risk.fraud"]
    renamed = {" lead": "lead", ".dot": "dot", "für": "fuer", "x@y": "x/y"}
    report = run(mlflow, models, rename=renamed)
    assert sorted(report.registered) == [" lead/1", ".dot/1", "für/1", "x@y/1"]
    assert "x/y/1.tar.gz" in stored(models)
    assert models.get("fuer", "1").metadata["mlflow-model"] == "models:/für/1"


def test_two_models_never_share_one_name(mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry) -> None:
    mlflow.add("fraud")
    mlflow.add("spam")
    with pytest.raises(InvalidInputError, match="'fraud' and 'spam' would both be 'fraud'"):
        run(mlflow, models, rename={"spam": "fraud"})
    with pytest.raises(InvalidInputError, match="'frud', which is not among"):
        run(mlflow, models, rename={"frud": "fraud"})
    assert not aws.calls


def test_versions_of_other_entities_are_left_out(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    mlflow.add("fraud")
    mlflow.add("a prompt")
    del mlflow._models["a prompt"]  # MLflow lists the versions of prompts, but not their names
    assert run(mlflow, models).registered == ("fraud/1",)


def test_a_download_that_fails_half_way_fails_alone(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    for name in ("fraud", "spam", "vip"):
        mlflow.add(name)
        mlflow.alias(name, "live", 1)
    mlflow.broken["spam/1"] = ConnectionError("https://user:secret@store/x?X-Amz-Signature=abc was reset")
    error = failed(lambda: run(mlflow, models))
    assert sorted(error.errors) == ["spam/1", "spam@live"]
    assert isinstance(error.errors["spam/1"], ServiceError)
    assert "spam/1" in str(error)
    assert "secret" not in str(error)
    assert "X-Amz" not in str(error)
    assert "the alias spam@live was not moved to version 1" in error.errors["spam@live"].message
    assert stored(models) == ["fraud/1.tar.gz", "vip/1.tar.gz"]
    assert sorted(error.partial.aliased) == ["fraud@live", "vip@live"]  # type: ignore[attr-defined]
    mlflow.broken.clear()
    report = run(mlflow, models)
    assert (report.registered, report.aliased) == (("spam/1",), ("spam@live",))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (MlflowError("gone", "RESOURCE_DOES_NOT_EXIST"), ModelNotFoundError),
        (MlflowError("no", "PERMISSION_DENIED"), AccessDeniedError),
        (MlflowError("bad", "INVALID_PARAMETER_VALUE"), InvalidInputError),
        (MlflowError("?"), ServiceError),
        (OSError(28, "No space left on device", "/tmp/x"), StorageError),
        (ModuleNotFoundError("No module named 'google'", name="google.cloud"), MissingExtraError),
        (KeyError("x"), ServiceError),
    ],
)
def test_exceptions_of_mlflow_have_names_of_this_sdk(
    mlflow: FakeMlflow, models: ModelRegistry, raised: Exception, kind: type[Exception]
) -> None:
    mlflow.add("fraud")
    mlflow.broken["fraud/1"] = raised
    error = failed(lambda: run(mlflow, models)).errors["fraud/1"]
    assert type(error) is kind
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert stored(models) == []


def test_a_version_that_is_deleted_in_mlflow_during_the_sync_fails_alone(
    mlflow: FakeMlflow, models: ModelRegistry
) -> None:
    mlflow.add("fraud", 1)
    mlflow.add("fraud", 2)
    mlflow.alias("fraud", "live", 2)
    tracking = mlflow.tracking()
    listed = tracking.versions()
    tracking.versions = lambda names=None: (mlflow.remove("fraud/2"), listed)[1]  # type: ignore[method-assign]
    error = failed(lambda: Sync(models, tracking).run(None, aliases=True))
    assert sorted(error.errors) == ["fraud/2", "fraud@live"]
    assert isinstance(error.errors["fraud/2"], ModelNotFoundError)
    assert stored(models) == ["fraud/1.tar.gz"]
    assert models.aliases() == ()


def test_an_alias_at_a_version_that_mlflow_does_not_list_fails(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    mlflow.add("fraud", 1)
    mlflow.alias("fraud", "live", 9)
    error = failed(lambda: run(mlflow, models))
    assert sorted(error.errors) == ["fraud@live"]
    assert "not among the versions of MLflow" in str(error)
    assert models.aliases() == ()


def test_a_version_that_is_not_ready_is_skipped_with_its_alias(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    mlflow.add("fraud", 1, status="PENDING_REGISTRATION")
    mlflow.alias("fraud", "live", 1)
    report = run(mlflow, models)
    assert sorted(report.skipped) == ["fraud/1", "fraud@live"]
    assert "not ready" in report.skipped["fraud/1"]
    assert stored(models) == []


def test_a_model_that_was_made_again_in_mlflow_is_not_taken_for_the_old_one(
    mlflow: FakeMlflow, models: ModelRegistry
) -> None:
    mlflow.add("fraud", 1, created=1000)
    mlflow.alias("fraud", "live", 1)
    run(mlflow, models)
    mlflow.remove("fraud/1")
    mlflow.add("fraud", 1, created=2000)
    error = failed(lambda: run(mlflow, models))
    assert isinstance(error.errors["fraud/1"], ConflictError)
    assert "made again" in str(error)


def test_a_version_that_another_program_registered_is_not_taken_for_that_of_mlflow(
    mlflow: FakeMlflow, models: ModelRegistry, tmp_path: Path
) -> None:
    own = tmp_path / "model.ubj"
    own.write_bytes(b"own")
    models.register("fraud", own, "1")
    mlflow.add("fraud", 1)
    mlflow.alias("fraud", "live", 1)
    error = failed(lambda: run(mlflow, models))
    assert isinstance(error.errors["fraud/1"], ConflictError)
    assert models.aliases() == (), "the alias would refer to another model"


def test_unsupported_flavors_fail_or_are_skipped(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    mlflow.add("deep", flavors={"pytorch": {"model_data": "data"}, "python_function": {}})
    mlflow.alias("deep", "live", 1)
    mlflow.add("fraud")
    error = failed(lambda: run(mlflow, models))
    assert isinstance(error.errors["deep/1"], LayoutError)
    assert "pytorch" in str(error)
    report = run(mlflow, models, skip_unsupported=True)
    assert sorted(report.skipped) == ["deep/1", "deep@live"]
    assert report.unchanged == ("fraud/1",)


def test_an_image_that_would_not_load_the_model_refuses_it(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    image = "662702820516.dkr.ecr.eu-north-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    mlflow.add("fraud", flavors={"sklearn": {"pickled_model": "model.pkl"}}, files={"model.pkl": b"pickle"})
    assert isinstance(failed(lambda: run(mlflow, models, image=image)).errors["fraud/1"], LayoutError)
    assert run(mlflow, models).registered == ("fraud/1",)


def test_a_dry_run_changes_and_downloads_nothing(mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry) -> None:
    mlflow.add("fraud", 1)
    mlflow.alias("fraud", "live", 1)
    report = run(mlflow, models, dry_run=True)
    assert (report.registered, report.aliased, report.dry_run) == (("fraud/1",), ("fraud@live",), True)
    assert mlflow.downloaded == []
    assert aws.s3.objects == {}


def test_two_syncs_at_once_register_each_version_once(
    mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry
) -> None:
    for number in range(10):
        mlflow.add(f"model-{number}")
        mlflow.alias(f"model-{number}", "live", 1)
    both, others = threading.Barrier(2), registry(aws)
    reports: list[MlflowSyncReport] = []

    def sync(models: ModelRegistry) -> None:
        both.wait()
        reports.append(run(mlflow, models))

    threads = [threading.Thread(target=sync, args=(one,)) for one in (models, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 2
    for report in reports:
        assert len(report.registered) + len(report.unchanged) == 10
        assert not report.failed
    assert len(stored(models)) == 10
    assert {one.weights["1"] for one in models.aliases()} == {1.0}
    assert run(mlflow, models).aliased == ()


def test_a_sync_that_another_one_overtook_does_not_move_an_alias_back(
    mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry
) -> None:
    for version in (1, 2, 3):
        mlflow.add("fraud", version)
    mlflow.alias("fraud", "live", 1)
    run(mlflow, models)
    mlflow.alias("fraud", "live", 2)
    other = registry(aws)

    class Overtaken(ModelRegistry):
        def alias(self, *arguments: Any, **options: Any) -> Any:
            other.alias("fraud", "live", "3")  # the other sync reads MLflow later, and moves the alias first
            return super().alias(*arguments, **options)

    error = failed(lambda: run(mlflow, Overtaken(aws, models.uri)))
    assert isinstance(error.errors["fraud@live"], ConflictError)
    assert other.resolve("fraud@live").version == "3"


def test_progress_counts_versions(mlflow: FakeMlflow, models: ModelRegistry) -> None:
    for name in ("fraud", "spam"):
        mlflow.add(name)
    mlflow.broken["spam/1"] = MlflowError("?")
    seen: list[Progress] = []
    with reporting(seen.append, "sync_registry", models.uri, unit="version", now=lambda: 0.0) as report:
        failed(lambda: run(mlflow, models, report=report))
    assert (seen[-1].done, seen[-1].failed, seen[-1].total) == (2, 1, 2)


def test_ctrl_c_carries_what_is_done(mlflow: FakeMlflow, aws: MemoryAws, models: ModelRegistry) -> None:
    for name in ("fraud", "spam"):
        mlflow.add(name)

    def before(call: Call) -> None:
        if call.operation == "head_object" and "spam" in call.params["Key"]:
            raise KeyboardInterrupt

    aws.before = before
    with pytest.raises(KeyboardInterrupt) as caught:
        run(mlflow, models, concurrency=1)
    assert caught.value.partial.registered == ("fraud/1",)  # type: ignore[attr-defined]


def test_arguments_are_checked_before_mlflow_is_asked(
    models: ModelRegistry, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match=r"write names=\['fraud'\]"):
        sync_registry(models, names="fraud")
    with pytest.raises(InvalidInputError, match="'aliased'"):
        sync_registry(models, versions="live")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="concurrency"):
        sync_registry(models, concurrency=0)
    with pytest.raises(InvalidInputError, match="models"):
        sync_registry("s3://ml-models/prod/")  # type: ignore[arg-type]
    mlflow.add("fraud")
    monkeypatch.setattr(sync_module, "connect", lambda *uris: mlflow.tracking())
    assert sync_registry(models, tracking_uri="http://mlflow", names=["fraud", "fraud"]).registered == ("fraud/1",)


def test_without_mlflow_the_error_names_the_extra(models: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"mme-sdk\[mlflow\]"):
        sync_registry(models)
