"""What a user holds: a client of the embedded SageMaker, a real model, a deployed endpoint."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mme_sdk import Endpoint, EndpointSpec, MMEClient, ModelRegistry
from mme_sdk.local import LocalSageMaker

ROLE = "arn:aws:iam::123456789012:role/sagemaker"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fitted classifier of irises."""
    # Imports that take seconds; each process of the test run would pay them when it collects the tests.
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier
    from skops.io import dump

    folder = tmp_path_factory.mktemp("iris")
    rows, species = load_iris(return_X_y=True)
    dump(DecisionTreeClassifier(random_state=0).fit(rows, species), folder / "model.skops")
    return folder


@pytest.fixture(scope="module")
def client(local: LocalSageMaker) -> Iterator[MMEClient]:
    with local.client() as made:
        yield made


@pytest.fixture(scope="module")
def models(local: LocalSageMaker, client: MMEClient) -> ModelRegistry:
    """The registry behind `endpoint`; a test that looks at all of it takes `fresh`."""
    bucket = f"journey-{uuid.uuid4().hex[:12]}"
    s3 = local.boto("s3")
    s3.create_bucket(Bucket=bucket)
    s3.close()
    return client.models(f"s3://{bucket}/prod/")


@pytest.fixture
def fresh(client: MMEClient, bucket: str) -> ModelRegistry:
    return client.models(f"s3://{bucket}/prod/")


def spec_for(models: ModelRegistry) -> EndpointSpec:
    return EndpointSpec.multi_model(
        name=f"scoring-{uuid.uuid4().hex[:8]}",
        models=models.uri,
        image="sklearn:1",
        role=ROLE,
        instance_type="ml.m5.large",
    )


@pytest.fixture
def spec(fresh: ModelRegistry) -> EndpointSpec:
    return spec_for(fresh)


@pytest.fixture(scope="module")
def endpoint(client: MMEClient, models: ModelRegistry) -> Iterator[Endpoint]:
    made = client.endpoints.create(spec_for(models), timeout=60)
    yield made
    made.delete()
