"""A pytest plugin: an embedded SageMaker for your own tests.

Put `pytest_plugins = ["mme_sdk.testing"]` into the `conftest.py` at the root of your tests, and ask for the fixtures
`mme_local`, `mme_client`, `mme_bucket`, `mme_environment` and `mme_faults`. Override `mme_local_options` to set up the
host differently.
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
    """Keywords of `LocalSageMaker`; override it to change them. The default provisions at once."""
    from mme_sdk.local import ControlSettings

    return {"control": ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02)}


@pytest.fixture(scope="session")
def mme_local(mme_local_options: dict[str, Any]) -> Iterator[LocalSageMaker]:
    """A running `LocalSageMaker`, one for the whole session."""
    from mme_sdk.local import LocalSageMaker

    with LocalSageMaker(**mme_local_options) as host:
        yield host


@pytest.fixture
def mme_client(mme_local: LocalSageMaker) -> Iterator[MMEClient]:
    """An `MMEClient` of `mme_local`."""
    with mme_local.client() as client:
        yield client


@pytest.fixture
def mme_bucket(mme_local: LocalSageMaker) -> Iterator[str]:
    """The name of a fresh bucket; it is removed after the test, with what is in it."""
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
    """The `AWS_…` variables of `mme_local`, set for the test: any AWS client in the code under test reaches it."""
    variables = mme_local.environ()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def mme_faults(mme_local: LocalSageMaker) -> Iterator[Faults]:
    """Trouble on demand, such as `mme_faults.add(Fault(kind="throttle", times=2))`; lifted after the test."""
    yield mme_local.faults
    mme_local.faults.clear()
