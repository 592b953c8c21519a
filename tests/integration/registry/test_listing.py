"""Listings contain what an endpoint can serve, for any page size; denied requests name the missing permission."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mme_sdk.aws import Aws, Call
from mme_sdk.aws.error_translation import translate
from mme_sdk.errors import AccessDeniedError, InvalidInputError
from mme_sdk.local.storage.s3 import S3Server
from mme_sdk.registry import AsyncModelRegistry, ModelRegistry


class SmallPages(Aws):
    """Lists three keys per page."""

    pages = 0

    def send(self, call: Call) -> Any:
        if call.operation == "list_objects_v2":
            call.params["MaxKeys"] = 3
            self.pages += 1
        return super().send(call)


@pytest.fixture
def paged(s3_server: S3Server, s3_session: Any) -> Iterator[SmallPages]:
    aws = SmallPages(session=s3_session, endpoint_url={"s3": s3_server.endpoint_url})
    yield aws
    aws.close()


KEYS = [
    "prod/",
    "prod/a/",
    "prod/a/v1.tar.gz",
    "prod/a/v2.tar.gz",
    "prod/a/b/v1.tar.gz",
    "prod/ab/v1.tar.gz",
    "prod/by hand",
    "prod/.mme/aliases/a@live.json",
    "prod/x/.hidden/v1.tar.gz",
    "prod/.DS_Store",
    "prod/modèle/v1.tar.gz",
    "prod-old/a/v1.tar.gz",
    "prod2",
]


def test_exactly_what_can_be_invoked(paged: SmallPages, s3: Any, bucket_name: str) -> None:
    for key in KEYS:
        s3.put_object(Bucket=bucket_name, Key=key, Body=b"1")
    models = ModelRegistry(paged, f"s3://{bucket_name}/prod")
    wanted = ["a/b/v1.tar.gz", "a/v1.tar.gz", "a/v2.tar.gz", "ab/v1.tar.gz", "by hand"]
    assert sorted(one.target_model for one in models.list()) == wanted
    assert paged.pages > 2
    assert sorted((one.name, one.version) for one in models.list("a")) == [("a", "v1"), ("a", "v2")]
    assert [(one.name, one.version) for one in models.list("a/b")] == [("a/b", "v1")]
    assert [(one.name, one.size) for one in models.list() if not one.version] == [("by hand", 1)]
    for name in ("../x", "a/", ""):
        with pytest.raises(InvalidInputError):
            models.list(name)

    async def main() -> list[str]:
        awaited = AsyncModelRegistry(paged, models.uri)
        return sorted([one.target_model async for one in awaited.list()])

    assert asyncio.run(main()) == wanted
    paged.pages = 0
    assert models.list()[0].target_model in wanted
    assert paged.pages <= 2  # pages are read as needed: the first page has only folder markers
    models.delete("by hand", "")
    assert "by hand" not in {one.target_model for one in models.list()}


@pytest.mark.parametrize(
    ("operation", "said", "hint"),
    [
        ("put_object", "Access Denied", "s3:PutObject"),
        ("head_object", "Forbidden", "s3:ListBucket"),
        ("list_objects_v2", "Access Denied", "s3:ListBucket"),
        ("put_object", "User: x is not authorized to perform: kms:GenerateDataKey on resource", "kms:GenerateDataKey"),
    ],
)
def test_what_is_denied_says_which_permission(operation: str, said: str, hint: str) -> None:
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": said}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error = translate(ClientError(answer, operation), "s3", operation, {"Bucket": "b", "Key": "k"})
    assert isinstance(error, AccessDeniedError)
    assert hint in (error.hint or "")
