"""Fixtures that all suites share: a real S3, and an embedded SageMaker."""

from __future__ import annotations

import functools
import gc
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.loaders
import botocore.session
import pytest
from hypothesis import HealthCheck, settings

from mme_sdk.local import ControlSettings, LocalSageMaker, S3Server

if TYPE_CHECKING:
    from mme_sdk.aws import Aws

# The same few examples on every machine, and no verdict on how fast it is; `make search` looks for many new ones.
settings.register_profile(
    "repeatable", max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

_create_loader = botocore.loaders.create_loader


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while the tests are found, and later none among what was found: all of it is kept."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_real_aws() -> Iterator[None]:
    """No test can reach AWS or read the developer's own profile."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(autouse=True, scope="session")
def _service_models_are_read_once() -> Iterator[None]:
    """All boto3 sessions of a process share one loader of botocore: reading the models takes a session 0.2 s."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (botocore.loaders, botocore.session):
            patch.setattr(module, "create_loader", _shared_loader)
        yield


@functools.cache
def _shared_loader(search_path: str | None = None) -> botocore.loaders.Loader:
    return _create_loader(search_path)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS on a free port; credentials `local` / `local-secret`."""
    folder: Path = tmp_path_factory.mktemp("s3")
    with S3Server(folder, access_key="local", secret_key="local-secret", keep=False) as server:
        yield server


@pytest.fixture
def bucket_name() -> str:
    """A bucket name that nobody has used."""
    return f"test-{uuid.uuid4().hex[:16]}"


@pytest.fixture(scope="session")
def local() -> Iterator[LocalSageMaker]:
    """An embedded SageMaker on a temporary data directory, quick at provisioning."""
    control = ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
    with LocalSageMaker(control=control) as host:
        yield host


@pytest.fixture
def bucket(local: LocalSageMaker, bucket_name: str) -> str:
    """A fresh, empty bucket of `local`."""
    s3 = local.boto("s3")
    s3.create_bucket(Bucket=bucket_name)
    s3.close()
    return bucket_name


@pytest.fixture
def aws(local: LocalSageMaker) -> Iterator[Aws]:
    """The way to AWS, bound to `local`."""
    from mme_sdk.aws import Aws  # not public: the tests of public names run on later versions (`make yesterday`)

    bound = Aws(session=local.session(), region=local.region, endpoint_url=local.endpoint_urls)
    yield bound
    bound.close()
