"""Versions are created once, completely or not at all, and never changed."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.artifacts import extract, pack
from mme_sdk.aws import Aws
from mme_sdk.errors import (
    BucketNotFoundError,
    ConflictError,
    InvalidInputError,
    LayoutError,
    ModelNotFoundError,
    StorageError,
)
from mme_sdk.registry import AsyncModelRegistry, ModelRegistry
from mme_sdk.registry.operations import upload

Model = Callable[..., Path]


def keys(s3: Any, bucket: str) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def stored(s3: Any, bucket: str, key: str) -> bytes:
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    with body:
        data: bytes = body.read()
    return data


def test_a_directory_becomes_a_version(models: ModelRegistry, model: Model, s3: Any, bucket_name: str) -> None:
    one = models.register("fraud", model(), version="v3", metadata={"Owner": "Zoë", "run": "17"})
    assert (one.target_model, one.uri) == ("fraud/v3.tar.gz", f"s3://{bucket_name}/prod/fraud/v3.tar.gz")
    data = stored(s3, bucket_name, "prod/fraud/v3.tar.gz")
    assert (one.size, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert one.metadata == {"Owner": "Zoë", "run": "17"}
    assert one.created is not None
    seen = models.get("fraud", "v3")
    assert (seen.sha256, seen.metadata, seen.size, seen.etag) == (one.sha256, one.metadata, one.size, one.etag)
    assert models.get("fraud/v3.tar.gz") == seen


def test_the_same_again_changes_nothing(models: ModelRegistry, model: Model, s3: Any, bucket_name: str) -> None:
    first = models.register("fraud", model(), version="v1")
    before = s3.head_object(Bucket=bucket_name, Key="prod/fraud/v1.tar.gz")["LastModified"]
    again = models.register("fraud", model(), version="v1")
    assert again.sha256 == first.sha256
    assert s3.head_object(Bucket=bucket_name, Key="prod/fraud/v1.tar.gz")["LastModified"] == before
    with pytest.raises(ConflictError, match="exists with other content"):
        models.register("fraud", model(b"other"), version="v1")
    assert models.get("fraud", "v1").sha256 == first.sha256


def test_without_a_version_the_content_gives_it(models: ModelRegistry, model: Model) -> None:
    one, same = models.register("fraud", model()), models.register("fraud", model())
    other = models.register("fraud", model(b"other"))
    assert one.version == same.version != other.version
    assert len(list(models.list())) == 2


def test_an_archive_goes_as_it_is(
    models: ModelRegistry, model: Model, tmp_path: Path, s3: Any, bucket_name: str
) -> None:
    with (tmp_path / "a.tar.gz").open("wb") as file:
        pack(model(), file)
    loose = gzip.compress(gzip.decompress((tmp_path / "a.tar.gz").read_bytes()), 9)
    (tmp_path / "b.tgz").write_bytes(loose)
    one = models.register("fraud", tmp_path / "b.tgz")
    assert stored(s3, bucket_name, f"prod/{one.target_model}") == loose
    # The same files give the same version, whatever compressed them.
    assert models.register("fraud", model()).sha256 == one.sha256
    assert len(list(models.list())) == 1


def test_what_the_caller_calls_an_archive_is_written_down(models: ModelRegistry, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "any.tar.gz"
    with path.open("wb") as file:
        pack(model(), file, check_layout=False)
    assert models.register("named", path, "v1", framework="ours", check_layout=False).framework == "ours"
    with pytest.raises(InvalidInputError, match="framework"):
        models.register("named", path, "v2", framework="two\r\nlines", check_layout=False)


def test_one_file_will_do(models: ModelRegistry, model: Model, s3: Any, bucket_name: str, tmp_path: Path) -> None:
    one = models.register("fraud", str(model() / "model.ubj"), "v1")
    extract(io.BytesIO(stored(s3, bucket_name, f"prod/{one.target_model}")), tmp_path / "out")
    assert (tmp_path / "out/model.ubj").read_bytes() == b"weights"


def test_large_models_go_in_parts(models: ModelRegistry, model: Model, s3: Any, bucket_name: str) -> None:
    content = os.urandom(2 * upload.PART + 12345)
    one = models.register("big", model(content), "v1")
    data = stored(s3, bucket_name, "prod/big/v1.tar.gz")
    assert hashlib.sha256(data).hexdigest() == one.sha256 == models.get("big", "v1").sha256
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []
    assert keys(s3, bucket_name) == ["prod/big/v1.tar.gz"]
    assert models.register("big", model(content), "v1").sha256 == one.sha256
    with pytest.raises(ConflictError):
        models.register("big", model(content + b"1"), "v1")
    assert s3.list_multipart_uploads(Bucket=bucket_name).get("Uploads", []) == []


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("../evil", "v1", "begins with '.'"),
        ("a/../evil", "v1", "begins with '.'"),
        ("/fraud", "v1", "begins or ends with '/'"),
        ("fraud/", "v1", "begins or ends with '/'"),
        ("a//b", "v1", "'//'"),
        (".mme/x", "v1", "begins with '.'"),
        ("", "v1", "is empty"),
        ("a\nb", "v1", "printable ASCII"),
        ("modèle", "v1", "printable ASCII"),
        ("fraud@live", "v1", "'@'"),
        (" fraud", "v1", "space"),
        ("f" * 1025, "v1", "1025 characters"),
        ("f" * 1020, "v1", "the maximum is 1024"),
        ("fraud", "v/1", "contains ./."),
        ("fraud", "..", "begins with '.'"),
        (None, "v1", "must be text"),
    ],
)
def test_names_that_cannot_be(models: ModelRegistry, model: Model, name: Any, version: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        models.register(name, model(), version)
    assert list(models.list()) == []


def test_bad_sources(models: ModelRegistry, model: Model, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no model at"):
        models.register("fraud", tmp_path / "none")
    with pytest.raises(InvalidInputError, match=r"archive .* does not exist"):
        models.register("fraud", tmp_path / "none.tar.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="empty directory"):
        models.register("fraud", tmp_path / "empty")
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    with pytest.raises(LayoutError, match="not a valid"):
        models.register("fraud", tmp_path / "broken.tar.gz")
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("model.ubj")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(LayoutError, match="symbolic link"):
        models.register("fraud", tmp_path / "link.tar.gz")
    (tmp_path / "wrapped/fraud").mkdir(parents=True)
    (tmp_path / "wrapped/fraud/model.joblib").write_bytes(b"1")
    with pytest.raises(LayoutError, match="inside fraud/"):
        models.register("fraud", tmp_path / "wrapped")
    assert models.register("fraud", tmp_path / "wrapped", check_layout=False).framework is None
    os.mkfifo(tmp_path / "pipe.tar.gz")
    with pytest.raises(InvalidInputError, match="neither a file nor a directory"):
        models.register("fraud", tmp_path / "pipe.tar.gz")
    with pytest.raises(InvalidInputError, match="path of the model is empty"):
        models.register("fraud", "")
    with pytest.raises(InvalidInputError, match="version is empty"):
        models.register("fraud", model(), "")
    with pytest.raises(StorageError, match="cannot read"):
        models.register("fraud", "a\0b.tar.gz")
    with pytest.raises(InvalidInputError, match="of the type dict cannot be registered"):
        models.register("fraud", {"weights": 1})
    with pytest.raises(InvalidInputError, match="must be text"):
        models.register("fraud", model(), metadata={"epochs": 3})  # type: ignore[dict-item]
    with pytest.raises(InvalidInputError, match="S3 allows 2048"):
        models.register("fraud", model(), metadata={"notes": "x" * 2000})


def test_an_absent_bucket(s3_aws: Aws, model: Model) -> None:
    models = ModelRegistry(s3_aws, "s3://no-such-bucket-here/prod")
    with pytest.raises(BucketNotFoundError, match="no-such-bucket-here"):
        models.register("fraud", model())
    with pytest.raises(BucketNotFoundError):
        list(models.list())


def test_keys_can_be_laid_out_otherwise(s3_aws: Aws, s3: Any, bucket_name: str, model: Model) -> None:
    models = ModelRegistry(s3_aws, f"s3://{bucket_name}", key="team/{name}-{version}")
    one = models.register("fraud", model(), "v3")
    assert one.target_model == "team/fraud-v3"
    assert models.uri == f"s3://{bucket_name}/"
    assert [(each.name, each.version) for each in models.list("fraud")] == [("fraud", "v3")]
    with pytest.raises(InvalidInputError, match="cannot be read back"):
        models.register("fraud", model(), "v-3")
    for bad in ("{name}.tar.gz", "{version}/{name}", "{name}{version}", ".x/{name}/{version}", "{name}/{version}/"):
        with pytest.raises(InvalidInputError, match="template"):
            ModelRegistry(s3_aws, f"s3://{bucket_name}", key=bad)


def test_deleting(models: ModelRegistry, model: Model) -> None:
    for version in ("v1", "v2"):
        models.register("fraud", model(), version)
    models.register("fraud-old", model(), "v1")
    assert [one.version for one in models.delete("fraud", dry_run=True).versions] == ["v1", "v2"]
    assert len(list(models.list("fraud"))) == 2
    models.delete("fraud", "v1")
    assert sorted(one.target_model for one in models.list()) == ["fraud-old/v1.tar.gz", "fraud/v2.tar.gz"]
    models.delete("fraud")
    assert [one.target_model for one in models.list()] == ["fraud-old/v1.tar.gz"]
    with pytest.raises(ModelNotFoundError):
        models.delete("fraud")
    with pytest.raises(ModelNotFoundError):
        models.delete("fraud", "v1")
    with pytest.raises(ModelNotFoundError):
        models.get("fraud", "v1")


def test_awaited_it_does_the_same(s3_aws: Aws, s3: Any, bucket_name: str, model: Model) -> None:
    async def main() -> None:
        models = AsyncModelRegistry(s3_aws, f"s3://{bucket_name}/prod/")
        one, two = await asyncio.gather(
            models.register("fraud", model(), "v1"),
            models.register("fraud", model(os.urandom(20_000_000), "big"), "v2"),
        )
        assert [each.target_model async for each in models.list()] == [one.target_model, two.target_model]
        assert (await models.get("fraud", "v2")).sha256 == two.sha256
        await models.delete("fraud")
        assert [each async for each in models.list()] == []

    asyncio.run(main())


def test_a_fitted_estimator_will_do(models: ModelRegistry, s3: Any, bucket_name: str, tmp_path: Path) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from skops import io as skops

    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(x, y)
    one = models.register("iris", model)
    assert one.framework == "sklearn"
    assert models.register("iris", LogisticRegression(max_iter=500).fit(x, y)).version == one.version
    extract(io.BytesIO(stored(s3, bucket_name, f"prod/{one.target_model}")), tmp_path / "out")
    assert (skops.load(tmp_path / "out/model.skops").predict(x) == model.predict(x)).all()
    with pytest.raises(InvalidInputError, match="not fitted"):
        models.register("iris", LogisticRegression())


def test_a_disk_that_is_full_at_the_last_byte(models: ModelRegistry, model: Model) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    source = model()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot write the archive"):
            models.register("fraud", source, "v1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(models.list()) == []
