"""Sync an MLflow registry, and deploy its models with `mlflow deployments`, against an embedded SageMaker.

No argument. The registry is a SQLite file in the current folder, or the server that MLFLOW_TRACKING_URI names; the
artifacts of one experiment are in S3.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow import MlflowClient
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from mme_sdk import EndpointSpec
from mme_sdk.errors import BatchError, LayoutError
from mme_sdk.integrations.mlflow import sync_registry
from mme_sdk.local import ControlSettings, LocalSageMaker

PREFIX = "s3://ml-models/prod/"
TARGET = f"mme:/scoring?models={PREFIX}&region=us-east-1"
MANY = 1000
rng = np.random.default_rng(0)
rows = rng.random((60, 3)).astype("f4")
numbers, classes = rows @ [1.0, 2.0, 3.0], (rows[:, 0] > 0.5).astype(int)
frame = pd.DataFrame(rows, columns=["a", "b", "c"])


def log_models() -> dict[str, tuple[Any, Any]]:
    """Log a model of each flavor. Return what is sent to each, and what it must answer."""
    regression = LinearRegression().fit(frame, numbers)
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(rows, numbers), 5)
    classifier = xgboost.XGBClassifier(n_estimators=3).fit(rows, classes)
    labels = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, min_child_samples=2).fit(rows, classes)
    cat = catboost.CatBoostRegressor(iterations=3, verbose=False, allow_writing_files=False).fit(rows, numbers)
    graph = to_onnx(LinearRegression().fit(rows, numbers), rows[:1])
    large = to_onnx(LinearRegression().fit(rng.random((8, 600)).astype("f4"), np.arange(8.0)), np.zeros((1, 600), "f4"))
    sent = rows[:4].tolist()
    with mlflow.start_run():
        log = {"pip_requirements": ["numpy"]}
        mlflow.sklearn.log_model(regression, name="skops", registered_model_name="fraud model", **log)
        mlflow.sklearn.log_model(
            regression, name="pickle", registered_model_name="main.risk.fraud", serialization_format="pickle", **log
        )
        mlflow.xgboost.log_model(classifier, name="xgb", registered_model_name="xgb", **log)
        mlflow.lightgbm.log_model(booster, name="lgb", registered_model_name="lgb", **log)
        mlflow.lightgbm.log_model(labels, name="labels", registered_model_name="labels", **log)
        mlflow.catboost.log_model(cat, name="cat", registered_model_name="cat", **log)
        mlflow.onnx.log_model(graph, name="onnx", registered_model_name="onnx", **log)
        mlflow.onnx.log_model(large, name="large", registered_model_name="large", **log)
    wide = np.ones((1, 600), "f4")
    return {
        "fraud model": (frame[:4], regression.predict(frame[:4])),
        "main.risk.fraud": (frame[:4], regression.predict(frame[:4])),
        "xgb": (sent, classifier.predict_proba(rows[:4])[:, 1]),
        "lgb": (sent, booster.predict(rows[:4])),
        "labels": (sent, labels.predict(rows[:4])),
        "cat": (sent, cat.predict(rows[:4])),
        "onnx": (sent, regression.predict(frame[:4])[:, None]),
        "large": (wide.tolist(), None),
    }


def deployments(verb: str, *arguments: str) -> str:
    """Run `mlflow deployments`."""
    command = [sys.executable, "-m", "mlflow", "deployments", verb, "-t", TARGET, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


def refused(kind: type[Exception], call: Callable[[], object]) -> Any:
    """Return the error that a call must raise."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def objects(s3: Any) -> list[tuple[str, str, str]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="ml-models", Prefix="prod/")
    return [(one["Key"], one["ETag"], str(one["LastModified"])) for page in pages for one in page["Contents"]]


def main() -> None:
    """Do it all, in the order in which a team would."""
    tracking = MlflowClient()
    wanted = log_models()
    control = ControlSettings(provisioning=0.02, deletion=0.02, wait_scale=0.001)
    with LocalSageMaker(region="us-east-1", control=control) as host, host.client() as client:
        os.environ |= host.environ() | {"MLFLOW_S3_ENDPOINT_URL": host.s3_endpoint_url}
        s3 = boto3.client("s3", endpoint_url=host.s3_endpoint_url)
        s3.create_bucket(Bucket="ml-models")
        mlflow.create_experiment("remote", artifact_location="s3://ml-models/artifacts")
        mlflow.set_experiment("remote")
        wanted |= {f"{name} of s3": value for name, value in log_remote(wanted).items()}
        tracking.set_registered_model_alias("xgb", "live", "1")

        models = client.models(PREFIX)
        report = sync_registry(models)
        assert sorted(report.registered) == sorted(f"{name}/1" for name in wanted), report
        assert report.aliased == ("xgb@live",)
        role = "arn:aws:iam::123456789012:role/sagemaker"
        endpoint = client.endpoints.create(
            EndpointSpec.multi_model(
                name="scoring", models=PREFIX, image="own:1", instance_type="ml.m5.large", role=role
            )
        )
        for name, (sent, expected) in wanted.items():
            data = sent.to_dict("records") if isinstance(sent, pd.DataFrame) else sent
            answer = endpoint.invoke(data, model=models.get(name, "1")).value
            if expected is not None:
                np.testing.assert_allclose(np.asarray(answer, float), expected, rtol=1e-4, err_msg=name)
        print("each flavor answers as its library")
        again = sync_registry(models)
        assert (again.registered, again.aliased) == ((), ()), again
        refuse_other_flavors(models)
        use_the_command_line(s3, expected=wanted["xgb"][1])
        sync_many(tracking, models, s3)
        s3.close()
    print("done")


def log_remote(local: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Log models whose artifacts are in S3."""
    regression = LinearRegression().fit(frame, numbers)
    graph = to_onnx(LinearRegression().fit(rng.random((8, 600)).astype("f4"), np.arange(8.0)), np.zeros((1, 600), "f4"))
    with mlflow.start_run():
        log = {"pip_requirements": ["numpy"]}
        mlflow.sklearn.log_model(regression, name="skops", registered_model_name="fraud model of s3", **log)
        mlflow.onnx.log_model(graph, name="large", registered_model_name="large of s3", **log)
    return {"fraud model": local["fraud model"], "large": local["large"]}


def refuse_other_flavors(models: Any) -> None:
    """Log a model of Python code, which has no native file."""

    class Own(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: list[str]) -> list[str]:
            return model_input

    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="own", python_model=Own(), registered_model_name="own", pip_requirements=["numpy"])
    error = refused(BatchError, lambda: sync_registry(models, names=["own", "xgb"]))
    assert isinstance(error.errors["own/1"], LayoutError), error
    assert error.partial.unchanged == ("xgb/1",)
    assert list(sync_registry(models, skip_unsupported=True).skipped) == ["own/1"]


def use_the_command_line(s3: Any, *, expected: Any) -> None:
    """Create, list, show, invoke, update and delete a deployment."""
    assert "S3 prefix of the endpoint" in deployments("help")
    assert "xgboost deployment scores is created" in deployments("create", "-m", "models:/xgb/1", "--name", "scores")
    assert "'name': 'scores'" in deployments("list")
    assert "model_uri: models:/xgb/1" in deployments("get", "--name", "scores")
    Path("rows.json").write_text(frame[:4].to_json(orient="records"))
    said = json.loads(deployments("predict", "--name", "scores", "-I", "rows.json"))
    np.testing.assert_allclose(said["predictions"], expected, rtol=1e-4)
    folder = mlflow.artifacts.download_artifacts("models:/lgb/1")
    assert "is updated (with flavor lightgbm)" in deployments("update", "-m", folder, "--name", "scores")
    target = get_deploy_client(TARGET)
    assert target.predict("scores", frame[:4]).get_predictions().shape == (4, 1)
    error = refused(MlflowException, lambda: target.create_deployment("scores", "models:/xgb/1"))
    assert error.error_code == "RESOURCE_ALREADY_EXISTS"
    error = refused(MlflowException, lambda: target.get_deployment("nope"))
    assert error.error_code == "RESOURCE_DOES_NOT_EXIST"
    wrong = ("-m", "models:/xgb/1", "--name", "x", "-C", "instance_type=ml.m5.large")
    assert "unknown settings: instance_type" in str(refused(RuntimeError, lambda: deployments("create", *wrong)))
    deployments("delete", "--name", "scores")
    assert target.list_deployments() == []
    assert not [key for key, *_ in objects(s3) if key.startswith("prod/scores/")]
    target.close()
    print("the command line works")


def sync_many(tracking: MlflowClient, models: Any, s3: Any) -> None:
    """Sync 1,000 models twice. The second time, no object changes and no file is read."""
    xgb = tracking.get_model_version("xgb", "1")
    named = {"run_id": xgb.run_id, "model_id": xgb.source.removeprefix("models:/")}
    names = [f"many-{number}" for number in range(MANY)]
    for name in names:
        tracking.create_registered_model(name)
        tracking.create_model_version(name, xgb.source, **named, await_creation_for=0)
    first = sync_registry(models, skip_unsupported=True)
    assert len(first.registered) == MANY, first
    before = objects(s3)
    with patch("mlflow.artifacts.download_artifacts", side_effect=AssertionError("a second download")):
        second = sync_registry(models, names=names)
    assert (len(second.unchanged), second.registered, second.aliased) == (MANY, (), ()), second
    assert objects(s3) == before
    print(f"{MANY} models were synced twice")


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/mlflow.db")
    main()
