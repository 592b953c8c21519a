"""Fixtures with a host that has a control plane but runs no containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.local.fakes import FakeHosting


@pytest.fixture(scope="session")
def plane() -> Iterator[LocalSageMaker]:
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, wait_scale=0.001, minute=0.1)
    with LocalSageMaker(control=control, hosting=FakeHosting) as host:
        yield host


@pytest.fixture
def sm(plane: LocalSageMaker):
    client = plane.boto("sagemaker")
    yield client
    client.close()


@pytest.fixture
def name(bucket_name: str) -> str:
    return bucket_name
