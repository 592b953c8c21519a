"""Deployments of MLflow: what each verb registers, moves, deletes and refuses; and the plugin around it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mme_sdk.errors import ConflictError, InvalidInputError, LayoutError, ModelNotFoundError, ServiceError
from mme_sdk.integrations.mlflow.deployments import Deployments, Target
from mme_sdk.registry import ModelRegistry
from tests.support.integrations.mlflow import FakeMlflow, MemoryAws, registry

PREFIX = "s3://ml-models/prod/"


class FakeEndpoint:
    """The multi-model endpoint `scoring`: what it serves, and what it was called with."""

    def __init__(self) -> None:
        self.mode, self.prefix, self.images = "MultiModel", PREFIX, ("own:1",)
        self.calls: list[tuple[Any, str, str | None]] = []
        self.answer: Any = [0.5]

    def describe(self) -> Any:
        variant = SimpleNamespace(images=self.images)
        return SimpleNamespace(name="scoring", mode=self.mode, model_data=self.prefix, variants=(variant,))

    def invoke(self, data: Any, *, model: str, content_type: str | None) -> Any:
        self.calls.append((data, model, content_type))
        return SimpleNamespace(value=self.answer)


class FakeClient:
    def __init__(self, aws: MemoryAws) -> None:
        self.aws, self.scoring = aws, FakeEndpoint()
        self._registries: dict[str, ModelRegistry] = {}

    def endpoint(self, name: str) -> FakeEndpoint:
        assert name == "scoring"
        return self.scoring

    def models(self, uri: str) -> ModelRegistry:
        return self._registries.setdefault(uri, registry(self.aws, uri))

    def close(self) -> None:
        pass


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(MemoryAws())


@pytest.fixture
def mlflow(tmp_path: Path) -> FakeMlflow:
    made = FakeMlflow(tmp_path / "store")
    for version in (1, 2, 3):
        made.add("fraud", version)
    made.alias("fraud", "champion", 2)
    return made


def deployments(client: FakeClient, mlflow: FakeMlflow, query: str = f"?models={PREFIX}") -> Deployments:
    return Deployments(Target.parse(f"mme:/scoring{query}"), client, mlflow.tracking)  # type: ignore[arg-type]


def test_a_deployment_from_its_creation_to_its_deletion(client: FakeClient, mlflow: FakeMlflow) -> None:
    target, models = deployments(client, mlflow), client.models(PREFIX)
    made = target.create("fraud", "models:/fraud/3", None, {})
    assert made == {
        "name": "fraud",
        "flavor": "xgboost",
        "version": "3",
        "target_model": "fraud/3.tar.gz",
        "uri": f"{PREFIX}fraud/3.tar.gz",
    }
    assert target.list() == [{"name": "fraud", "endpoint": "scoring", "alias": "deployed", "version": "3"}]
    assert target.predict("fraud", [[1.0]]) == [0.5]
    assert client.scoring.calls[-1] == ([[1.0]], f"{PREFIX}fraud/3.tar.gz", None)

    assert target.update("fraud", "models:/fraud@champion", "xgboost", {})["version"] == "2"
    assert target.get("fraud") == {
        "name": "fraud",
        "endpoint": "scoring",
        "alias": "deployed",
        "version": "2",
        "flavor": "xgboost",
        "model_uri": "models:/fraud/2",
        "target_model": "fraud/2.tar.gz",
        "uri": f"{PREFIX}fraud/2.tar.gz",
    }
    target.predict("fraud", [[1.0]])
    assert client.scoring.calls[-1][1] == f"{PREFIX}fraud/2.tar.gz"
    models.rollback("fraud", "deployed")
    assert target.get("fraud")["version"] == "3"

    target.delete("fraud", {"grace": "0"})
    assert list(models.list()) == []
    assert target.list() == []
    target.delete("fraud", {})  # once more
    for call in (lambda: target.get("fraud"), lambda: target.predict("fraud", [1])):
        with pytest.raises(ModelNotFoundError):
            call()
    assert target.create("fraud", "models:/fraud/3", None, {})["version"] == "3", "the same content again"


def test_a_deployment_that_exists_is_updated_and_not_created(client: FakeClient, mlflow: FakeMlflow) -> None:
    target = deployments(client, mlflow)
    target.create("fraud", "models:/fraud/1", None, {})
    with pytest.raises(ConflictError, match="the deployment 'fraud' exists"):
        target.create("fraud", "models:/fraud/2", None, {})
    with pytest.raises(ModelNotFoundError, match="there is no deployment 'spam'"):
        target.update("spam", "models:/fraud/2", None, {})
    with pytest.raises(InvalidInputError, match="needs the URI"):
        target.update("fraud", None, None, {})
    with pytest.raises(ModelNotFoundError, match="Model Version 9"):
        target.update("fraud", "models:/fraud/9", None, {})
    assert [one.version for one in client.models(PREFIX).list()] == ["1"]
    assert target.get("fraud")["version"] == "1"


def test_an_update_that_another_client_overtook_fails(
    client: FakeClient, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, models = deployments(client, mlflow), client.models(PREFIX)
    target.create("fraud", "models:/fraud/1", None, {})
    register = ModelRegistry.register

    def overtaken(self: ModelRegistry, *arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        made = register(self, *arguments, **options)
        target.update("fraud", "models:/fraud/3", None, {})
        return made

    monkeypatch.setattr(ModelRegistry, "register", overtaken)
    with pytest.raises(ConflictError, match="refers to 3, not to 1"):
        target.update("fraud", "models:/fraud/2", None, {})
    assert models.resolve("fraud@deployed").version == "3"


def test_a_version_of_another_model_never_replaces_one(client: FakeClient, mlflow: FakeMlflow) -> None:
    mlflow.add("challenger", 1)
    target = deployments(client, mlflow)
    target.create("fraud", "models:/fraud/1", None, {})
    with pytest.raises(ConflictError):
        target.update("fraud", "models:/challenger/1", None, {})
    assert target.get("fraud")["model_uri"] == "models:/fraud/1"
    assert (
        target.update("fraud", "models:/challenger/1", None, {"version": "challenger-1"})["version"] == "challenger-1"
    )


def test_a_folder_is_deployed_under_a_version_of_its_content(client: FakeClient, mlflow: FakeMlflow) -> None:
    folder = mlflow.add("other", 1)
    target = deployments(client, mlflow)
    version = target.create("fraud", str(folder), None, {})["version"]
    assert len(version) == 16
    assert target.get("fraud")["model_uri"] == str(folder)
    assert target.update("fraud", folder.as_uri(), None, {})["version"] == version


def test_a_model_that_other_aliases_name_is_deleted_by_force_only(client: FakeClient, mlflow: FakeMlflow) -> None:
    target, models = deployments(client, mlflow), client.models(PREFIX)
    target.create("fraud", "models:/fraud/1", None, {})
    target.create("fraud2", "models:/fraud/1", None, {})
    models.alias("fraud", "live", "1")
    with pytest.raises(ConflictError, match="fraud@live refer"):
        target.delete("fraud", {})
    assert target.get("fraud")["version"] == "1"
    target.delete("fraud", {"force": "true"})
    assert [one["name"] for one in target.list()] == ["fraud2"], "its neighbour stays"
    assert [one.name for one in models.list()] == ["fraud2"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"force": "yes"}, "true or false"),
        ({"grace": "soon"}, "grace"),
        ({"x": "1"}, "unknown settings: x"),
        ({"grace": "-1"}, "grace"),
        ({"grace": "nan"}, "grace"),
    ],
)
def test_settings_of_delete_are_checked(client: FakeClient, mlflow: FakeMlflow, config: Any, said: str) -> None:
    target = deployments(client, mlflow)
    target.create("fraud", "models:/fraud/1", None, {})
    with pytest.raises(InvalidInputError, match=said):
        target.delete("fraud", config)
    assert target.get("fraud")["version"] == "1"


def test_unknown_settings_are_refused_before_anything_is_registered(client: FakeClient, mlflow: FakeMlflow) -> None:
    target = deployments(client, mlflow)
    with pytest.raises(InvalidInputError, match="unknown settings: instance_type"):
        target.create("fraud", "models:/fraud/1", None, {"instance_type": "ml.m5.large"})
    with pytest.raises(InvalidInputError, match="does not have the flavor 'onnx'"):
        target.create("fraud", "models:/fraud/1", "onnx", {})
    with pytest.raises(InvalidInputError, match="contains '@'"):
        target.create("fraud@x", "models:/fraud/1", None, {})
    assert client.aws.s3.objects == {}


def test_only_create_and_update_need_mlflow(client: FakeClient, mlflow: FakeMlflow) -> None:
    deployments(client, mlflow).create("fraud", "models:/fraud/1", None, {})

    def unreachable() -> Any:
        raise ServiceError("the tracking server does not answer")

    target = Deployments(Target.parse("mme:/scoring"), client, unreachable)  # type: ignore[arg-type]
    assert target.predict("fraud", [1]) == [0.5]
    assert target.get("fraud")["version"] == "1"
    with pytest.raises(ServiceError):
        target.update("fraud", "models:/fraud/2", None, {})
    target.delete("fraud", {})
    assert target.list() == []


def test_the_prefix_is_that_of_the_endpoint(client: FakeClient, mlflow: FakeMlflow) -> None:
    assert deployments(client, mlflow, "").create("fraud", "models:/fraud/1", None, {})["uri"].startswith(PREFIX)
    other = deployments(client, mlflow, "?models=s3://ml-models/other")
    with pytest.raises(InvalidInputError, match=r"scoring serves the models below s3://ml-models/prod/, not those"):
        other.create("fraud", "models:/fraud/1", None, {})
    client.scoring.mode = "SingleModel"
    with pytest.raises(InvalidInputError, match="not a multi-model endpoint"):
        deployments(client, mlflow, "").list()
    with pytest.raises(InvalidInputError, match="not a multi-model endpoint"):
        deployments(client, mlflow).create("spam", "models:/fraud/1", None, {})


def test_a_model_that_the_image_of_the_endpoint_would_not_load_is_refused(
    client: FakeClient, mlflow: FakeMlflow
) -> None:
    client.scoring.images = ("662702820516.dkr.ecr.eu-north-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",)
    with pytest.raises(LayoutError):
        deployments(client, mlflow).create("fraud", "models:/fraud/1", None, {})
    assert client.aws.s3.objects == {}


def test_predict_keeps_the_names_of_columns(client: FakeClient, mlflow: FakeMlflow) -> None:
    target = deployments(client, mlflow)
    target.create("fraud", "models:/fraud/1", None, {})
    client.scoring.answer = np.array([1.0, 2.0])
    frame = pd.DataFrame({"b": [1, 2], 0: [0.5, 1.5]})
    assert target.predict("fraud", frame) == [1.0, 2.0]
    assert client.scoring.calls[-1][0] == [{"b": 1, "0": 0.5}, {"b": 2, "0": 1.5}]
    assert client.scoring.calls[-1][2] == "application/json"
    with pytest.raises(InvalidInputError, match="same name"):
        target.predict("fraud", pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InvalidInputError, match="needs the name"):
        target.predict(None, frame)
    csv = deployments(client, mlflow, f"?models={PREFIX}&content_type=text/csv")
    csv.predict("fraud", frame)
    assert client.scoring.calls[-1][0] is frame
    assert client.scoring.calls[-1][2] == "text/csv"


def test_another_alias_is_another_set_of_deployments(client: FakeClient, mlflow: FakeMlflow) -> None:
    live, staged = deployments(client, mlflow), deployments(client, mlflow, f"?models={PREFIX}&alias=staged")
    live.create("fraud", "models:/fraud/1", None, {})
    staged.create("fraud", "models:/fraud/2", None, {})
    assert (live.get("fraud")["version"], staged.get("fraud")["version"]) == ("1", "2")


def test_a_weighted_alias_is_shown_with_its_weights(client: FakeClient, mlflow: FakeMlflow) -> None:
    target, models = deployments(client, mlflow), client.models(PREFIX)
    target.create("fraud", "models:/fraud/1", None, {})
    target.update("fraud", "models:/fraud/2", None, {})
    models.alias("fraud", "deployed", {"1": 0.9, "2": 0.1})
    assert target.get("fraud")["version"] == {"1": 0.9, "2": 0.1}


def test_targets() -> None:
    assert Target.parse("mme:/scoring") == Target.parse("mme:/scoring?") == Target("scoring")
    parsed = Target.parse(
        "mme:/scoring?models=s3://ml-models/a+b%26c&alias=live&region=eu-west-1&content_type=text/csv"
    )
    assert parsed == Target("scoring", "s3://ml-models/a+b&c/", "live", "eu-west-1", "text/csv")


@pytest.mark.parametrize(
    "uri",
    [
        "mme",
        "mme:/",
        "mme:scoring",
        "mme://scoring",
        "mme:/scoring/models",
        "mme:/scoring#x",
        "sagemaker:/scoring",
        "mme:/scoring?models",
        "mme:/scoring?models=",
        "mme:/scoring?models=ml-models/prod",
        "mme:/scoring?models=s3://",
        "mme:/scoring?model=s3://ml-models/prod/",
        "mme:/scoring?models=s3://ml-models/a&models=s3://ml-models/b",
        "mme:/scoring?alias=a@b",
        "mme:/?models=s3://ml-models/prod/",
    ],
)
def test_invalid_targets(uri: str) -> None:
    with pytest.raises(InvalidInputError):
        Target.parse(uri)


class FakeMlflowError(Exception):
    """As mlflow.exceptions.MlflowException, which takes the number of an error code."""

    def __init__(self, message: str, error_code: int) -> None:
        super().__init__(message)
        self.code = error_code


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, client: FakeClient, mlflow: FakeMlflow) -> Iterator[Any]:
    """The module that MLflow loads, over what it imports of MLflow."""

    def module(name: str, **members: Any) -> None:
        made = ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)

    class Base:
        def __init__(self, target_uri: str) -> None:
            self.target_uri = target_uri

    module("mlflow")
    module("mlflow.deployments", BaseDeploymentClient=Base, PredictionsResponse=dict)
    module("mlflow.exceptions", MlflowException=FakeMlflowError)
    module("mlflow.protos")
    module("mlflow.protos.databricks_pb2", ErrorCode=SimpleNamespace(Value=lambda name: name))
    name = "mme_sdk.integrations.mlflow.plugin"
    monkeypatch.delitem(sys.modules, name, raising=False)
    loaded = importlib.import_module(name)
    monkeypatch.setattr(loaded, "MMEClient", lambda region: client)
    monkeypatch.setattr(loaded, "connect", mlflow.tracking)
    yield loaded
    monkeypatch.delitem(sys.modules, name)


def test_the_plugin_has_what_mlflow_looks_for(plugin: Any) -> None:
    base = sys.modules["mlflow.deployments"].BaseDeploymentClient
    found = [
        one for one in vars(plugin).values() if isinstance(one, type) and issubclass(one, base) and one is not base
    ]
    assert found == [plugin.MMEDeploymentClient], "MLflow takes exactly one"
    assert "models" in plugin.target_help()
    with pytest.raises(FakeMlflowError, match=r"python -m mme_sdk\.local"):
        plugin.run_local("mme", "fraud", "models:/fraud/1")


def test_the_plugin_raises_what_mlflow_expects(plugin: Any) -> None:
    with pytest.raises(FakeMlflowError) as caught:
        plugin.MMEDeploymentClient("mme:/scoring?model=x")
    assert caught.value.code == "INVALID_PARAMETER_VALUE"
    target = plugin.MMEDeploymentClient(f"mme:/scoring?models={PREFIX}")
    assert target.create_deployment("fraud", "models:/fraud/1", config={})["name"] == "fraud"
    with pytest.raises(FakeMlflowError) as caught:
        target.create_deployment("fraud", "models:/fraud/1")
    assert caught.value.code == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(FakeMlflowError) as caught:
        target.get_deployment("spam")
    assert caught.value.code == "RESOURCE_DOES_NOT_EXIST"
    assert isinstance(caught.value.__cause__, ModelNotFoundError)
    for call in (target.list_deployments, lambda endpoint: target.predict("fraud", [1], endpoint=endpoint)):
        with pytest.raises(FakeMlflowError, match="the target is the endpoint 'scoring', not 'other'"):
            call(endpoint="other")
    assert target.list_deployments(endpoint="scoring")[0]["name"] == "fraud"
    assert target.predict("fraud", [1]) == {"predictions": [0.5]}
    assert target.update_deployment("fraud", "models:/fraud/2")["flavor"] == "xgboost"
    target.delete_deployment("fraud")
    assert target.list_deployments() == []
    target.close()
