"""Fixtures: a registry over a real S3 server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mme_sdk.aws import Aws
from mme_sdk.local.storage.s3 import S3Server
from mme_sdk.registry import ModelRegistry


@pytest.fixture(scope="session")
def s3_session() -> boto3.Session:
    return boto3.Session(aws_access_key_id="local", aws_secret_access_key="local-secret", region_name="us-east-1")


@pytest.fixture(scope="session")
def s3_aws(s3_server: S3Server, s3_session: boto3.Session) -> Iterator[Aws]:
    aws = Aws(session=s3_session, endpoint_url={"s3": s3_server.endpoint_url})
    yield aws
    aws.close()


@pytest.fixture
def s3(s3_aws: Aws, bucket_name: str) -> Any:
    """A boto3 client with a new bucket."""
    client = s3_aws.client("s3")
    client.create_bucket(Bucket=bucket_name)
    return client


@pytest.fixture
def models(s3_aws: Aws, s3: Any, bucket_name: str) -> ModelRegistry:
    return ModelRegistry(s3_aws, f"s3://{bucket_name}/prod/")


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that creates a model directory."""

    def make(content: bytes = b"weights", name: str = "model") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "model.ubj").write_bytes(content)
        return folder

    return make
