"""pytest plugin with an embedded SageMaker for your own tests.

Add `pytest_plugins = ["mme_sdk.testing"]` to the `conftest.py` in the root directory of your tests. Then use the
fixtures `mme_local`, `mme_client`, `mme_bucket`, `mme_environment` and `mme_faults`. Override the fixture
`mme_local_options` to configure the host.

Example:
    ```python
    def test_scores(mme_client, mme_bucket):
        fraud = mme_client.models(f"s3://{mme_bucket}/prod/").register("fraud", "build/fraud/")
        assert fraud.name == "fraud"
    ```
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mme_sdk.client import MMEClient
    from mme_sdk.local import Faults, LocalSageMaker

__all__ = ["mme_bucket", "mme_client", "mme_environment", "mme_faults", "mme_local", "mme_local_options"]


@pytest.fixture(scope="session")
def mme_local_options() -> dict[str, Any]:
    """Keyword arguments of `LocalSageMaker`. Override this fixture to change them.

    By default, endpoints are created within 0.05 seconds.
    """
    from mme_sdk.local import ControlSettings

    return {"control": ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02)}


@pytest.fixture(scope="session")
def mme_local(mme_local_options: dict[str, Any]) -> Iterator[LocalSageMaker]:
    """A running `LocalSageMaker`, one for the whole test session."""
    from mme_sdk.local import LocalSageMaker

    with LocalSageMaker(**mme_local_options) as host:
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
