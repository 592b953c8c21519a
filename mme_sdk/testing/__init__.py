"""pytest plugin with an embedded SageMaker for your own tests.

Add `pytest_plugins = ["mme_sdk.testing"]` to the `conftest.py` in the root directory of your tests. Then use the
fixtures `mme_local`, `mme_client`, `mme_bucket`, `mme_endpoint`, `mme_environment` and `mme_faults`. Override the
fixture `mme_local_options` to configure the host. `pytest --mme-data-dir=.mme` keeps its objects and resources for
the next run.

Example:
    ```python
    def test_scores(mme_endpoint):
        endpoint = mme_endpoint(models={"fraud": "build/fraud/"})
        assert endpoint.invoke({"amount": 12.5}, model="fraud").value == {"fraud": False}
    ```
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from mme_sdk.client import MMEClient
    from mme_sdk.endpoints import Endpoint
    from mme_sdk.local import Faults, LocalSageMaker

__all__ = [
    "MakeEndpoint",
    "mme_bucket",
    "mme_client",
    "mme_endpoint",
    "mme_environment",
    "mme_faults",
    "mme_local",
    "mme_local_options",
]

_ROLE = "arn:aws:iam::123456789012:role/sagemaker"


class MakeEndpoint(Protocol):
    """What the fixture `mme_endpoint` is: a function that creates a multi-model endpoint."""

    def __call__(
        self,
        *,
        models: Mapping[str, Any],
        name: str | None = None,
        image: str = "own:1",
        instance_type: str = "ml.m5.large",
        instance_count: int = 1,
    ) -> Endpoint:
        """Register models, and create an endpoint that serves them. It is deleted after the test.

        Args:
            models: Sources by name, as for `register`: directories, files, archives or fitted estimators. Call a model
                by its name: `endpoint.invoke(data, model="fraud")`.
            name: EndpointName. Default: None, a new name.
            image: Name of the image. Default: `own:1`, for scripts and for formats that the container loads.
            instance_type: Type of the instances. Default: `ml.m5.large`.
            instance_count: Number of instances. Default: 1.

        Returns:
            The endpoint, in service.

        Raises:
            BatchError: A model cannot be registered.
            InvalidInputError: An argument is not valid.
        """
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--mme-data-dir`."""
    parser.getgroup("mme_sdk").addoption(
        "--mme-data-dir",
        metavar="DIRECTORY",
        help="keep the objects and resources of the embedded SageMaker here; default: a temporary folder",
    )


@pytest.fixture(scope="session")
def mme_local_options() -> dict[str, Any]:
    """Keyword arguments of `LocalSageMaker`. Override this fixture to change them.

    By default, endpoints are created within 0.05 seconds.
    """
    from mme_sdk.local import ControlSettings

    return {"control": ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02)}


@pytest.fixture(scope="session")
def mme_local(mme_local_options: dict[str, Any], pytestconfig: pytest.Config) -> Iterator[LocalSageMaker]:
    """A running `LocalSageMaker`, one for the whole test session.

    `--mme-data-dir` sets its data directory. Each worker of pytest-xdist has a directory of its own in it.
    """
    from mme_sdk.local import LocalSageMaker

    options = dict(mme_local_options)
    if given := pytestconfig.getoption("mme_data_dir", default=None):
        options["data_dir"] = Path(given, os.environ.get("PYTEST_XDIST_WORKER", "main"))
    with LocalSageMaker(**options) as host:
        yield host


@pytest.fixture
def mme_client(mme_local: LocalSageMaker) -> Iterator[MMEClient]:
    """An `MMEClient` that is connected to `mme_local`."""
    with mme_local.client() as client:
        yield client


@pytest.fixture
def mme_bucket(mme_local: LocalSageMaker) -> Iterator[str]:
    """Name of a new, empty bucket. The bucket and its objects are deleted after the test."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    s3 = mme_local.boto("s3")
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=name, Key=found["Key"])
    s3.delete_bucket(Bucket=name)
    s3.close()


@pytest.fixture
def mme_endpoint(mme_client: MMEClient, mme_bucket: str) -> Iterator[MakeEndpoint]:
    """Create multi-model endpoints: `mme_endpoint(models={"fraud": "build/fraud/"})`. They are deleted after the test.

    See `MakeEndpoint` for the arguments.
    """
    from mme_sdk.endpoints import EndpointSpec

    made: list[Endpoint] = []

    def make(
        *,
        models: Mapping[str, Any],
        name: str | None = None,
        image: str = "own:1",
        instance_type: str = "ml.m5.large",
        instance_count: int = 1,
    ) -> Endpoint:
        registry = mme_client.models(f"s3://{mme_bucket}/endpoint-{len(made)}/")
        registry.register_many(models)
        spec = EndpointSpec.multi_model(
            name=name or f"test-{uuid.uuid4().hex[:20]}",
            models=registry,
            image=image,
            role=_ROLE,
            instance_type=instance_type,
            instance_count=instance_count,
        )
        made.append(mme_client.endpoints.create(spec))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.delete()


@pytest.fixture
def mme_environment(mme_local: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The `AWS_…` environment variables of `mme_local`. They are set during the test: every AWS client uses it."""
    variables = mme_local.environ()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def mme_faults(mme_local: LocalSageMaker) -> Iterator[Faults]:
    """Fault injection, such as `mme_faults.add(Fault(kind="throttle", times=2))`. Faults are removed after the test."""
    yield mme_local.faults
    mme_local.faults.clear()
