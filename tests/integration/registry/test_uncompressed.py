"""Uncompressed versions over a real S3 server, through both clients' methods, and up to an endpoint."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.display.progress import Progress
from mme_sdk.endpoints import EndpointSpec
from mme_sdk.errors import InvalidInputError, ModelNotFoundError
from mme_sdk.local import LocalSageMaker
from mme_sdk.registry import AsyncModelRegistry, ModelRegistry
from mme_sdk.registry.operations import upload
from tests.support.hosting.harness import BARE, ECHO


def test_registered_listed_verified_and_deleted(
    models: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: Any, bucket_name: str
) -> None:
    monkeypatch.setattr(upload, "PART", 5 << 20)
    (tmp_path / "big").write_bytes(bytes(6 << 20))  # in two parts
    (tmp_path / "größe +%20").write_bytes(b"x")
    reported: list[Progress] = []
    found = models.register(
        "fraud", tmp_path, "v1", metadata={"run": "1"}, check_layout=False, compressed=False, progress=reported.append
    )
    assert (reported[0].doing, reported[-1].doing, reported[-1].size) == ("packing", "uploading 6.3 MB", (6 << 20) + 1)
    assert models.register("fraud", tmp_path, "v1", check_layout=False, compressed=False).uri == found.uri
    (listed,) = models.list("fraud", compressed=False)
    assert listed == models.get("fraud", "v1", compressed=False)
    assert (listed.uri, listed.size, dict(listed.metadata)) == (found.uri, (6 << 20) + 1, {"run": "1"})
    assert models.verify("fraud", "v1", compressed=False, progress=reported.append) == listed
    assert (reported[-1].operation, reported[-1].doing, reported[-1].size) == (
        "verify",
        "reading of 6.3 MB",
        (6 << 20) + 1,
    )
    assert list(models.list()) == []
    for call in (models.get, models.verify):
        with pytest.raises(InvalidInputError, match="give the version of an uncompressed model"):
            call("fraud", compressed=False)
    assert models.abort_uploads(older_than=0).files == ()
    assert [one.uri for one in models.delete("fraud", "v1", compressed=False).versions] == [found.uri]
    with pytest.raises(ModelNotFoundError):
        models.get("fraud", "v1", compressed=False)
    left = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket_name)["Contents"]]
    assert left == ["prod/.mme/tombstones/all.json"]


def test_the_asynchronous_twin_does_the_same(s3_aws: Aws, s3: Any, bucket_name: str, tmp_path: Path) -> None:
    models = AsyncModelRegistry(s3_aws, f"s3://{bucket_name}/prod/")
    (tmp_path / "weights").write_bytes(b"x")

    async def main() -> None:
        await models.register("fraud", tmp_path, check_layout=False, compressed=False)
        (listed,) = [one async for one in models.list(compressed=False)]
        assert await models.verify("fraud", listed.version, compressed=False) == listed
        await models.delete("fraud", compressed=False)
        assert [one async for one in models.list(compressed=False)] == []

    asyncio.run(main())


@pytest.mark.slow
def test_an_endpoint_serves_an_uncompressed_version(tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "code").mkdir(parents=True)
    (source / "code" / "inference.py").write_text(ECHO)
    (source / "name").write_text("plain")
    with LocalSageMaker(data_dir=tmp_path / "data", images={"python": BARE}) as host, host.client() as client:
        host.boto("s3").create_bucket(Bucket="ml-models")
        version = client.models("s3://ml-models/prod/").register("fraud", source, "v1", compressed=False)
        spec = EndpointSpec.single_model(
            name="plain", artifact=version, image="python", role="arn:aws:iam::123456789012:role/r",
            instance_type="ml.m5.large",
        )  # fmt: skip
        endpoint = client.endpoints.create(spec)
        assert client.endpoints.from_endpoint("plain").variants[0].containers == spec.variants[0].containers
        assert endpoint.invoke(b"row", content_type="text/plain", accept="text/plain").body == b"plain:row"
        endpoint.delete()
