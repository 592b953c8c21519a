"""Fixtures that all suites share: a real S3, and an embedded SageMaker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mme_sdk.local.s3 import S3Server


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS on a free port; credentials `local` / `local-secret`."""
    folder: Path = tmp_path_factory.mktemp("s3")
    with S3Server(folder, access_key="local", secret_key="local-secret") as server:
        yield server


@pytest.fixture
def bucket_name() -> str:
    """A bucket name that nobody has used."""
    return f"test-{uuid.uuid4().hex[:16]}"
