"""Test the S3 listener with unmodified boto3 clients and raw requests: encryption, bucket settings, and bad heads."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from mme_sdk.local import LocalSageMaker
from tests.support.local.fakes import FakeHosting

LARGE = bytes(range(256)) * 4 * 1024 * 6  # 6 MiB; SeaweedFS splits an object at 4 MiB
KEY = "arn:aws:kms:us-east-1:123456789012:key"
KMS = {"ServerSideEncryption": "aws:kms"}


def unmodified(host: LocalSageMaker, **changes: str) -> Any:
    keys = {"access": host.credentials.access_key, "secret": host.credentials.secret_key} | changes
    return boto3.client(
        "s3",
        endpoint_url=host.s3_endpoint_url,
        region_name=host.region,
        aws_access_key_id=keys["access"],
        aws_secret_access_key=keys["secret"],
    )


@pytest.fixture
def s3(plane) -> Iterator[Any]:
    client = unmodified(plane)
    yield client
    client.close()


@pytest.fixture
def bucket(s3, name) -> str:
    s3.create_bucket(Bucket=name)
    return name


def encryption(answer: dict[str, Any]) -> tuple[str | None, str | None]:
    return answer.get("ServerSideEncryption"), answer.get("SSEKMSKeyId")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (KMS, ("aws:kms", f"{KEY}/alias/aws/s3")),
        (KMS | {"SSEKMSKeyId": "1234-abcd"}, ("aws:kms", f"{KEY}/1234-abcd")),
        (KMS | {"SSEKMSKeyId": f"{KEY}/ef"}, ("aws:kms", f"{KEY}/ef")),
        ({"ServerSideEncryption": "AES256"}, ("AES256", None)),
        ({}, (None, None)),
    ],
)
def test_each_response_names_the_encryption_and_the_object_is_readable(s3, bucket, asked, named):
    assert encryption(s3.put_object(Bucket=bucket, Key="a b/é+", Body=LARGE, Metadata={"own": "1"}, **asked)) == named
    got = s3.get_object(Bucket=bucket, Key="a b/é+")
    assert (got["Body"].read() == LARGE, got["Metadata"], encryption(got)) == (True, {"own": "1"}, named)
    assert encryption(s3.head_object(Bucket=bucket, Key="a b/é+")) == named
    source = {"Bucket": bucket, "Key": "a b/é+"}
    assert encryption(s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, **asked)) == named
    upload = {"Bucket": bucket, "Key": "parts"}
    created = s3.create_multipart_upload(**upload, **asked)
    assert encryption(created) == named
    upload["UploadId"] = created["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=LARGE)
    assert encryption(part) == named
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    assert encryption(s3.complete_multipart_upload(**upload, MultipartUpload=parts)) == named
    got = s3.get_object(Bucket=bucket, Key="parts")
    assert (got["Body"].read() == LARGE, encryption(got)) == (True, named)


def test_the_transfers_of_boto3_and_presigned_urls_pass(s3, bucket):
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(LARGE * 2), bucket, "large", ExtraArgs=dict(KMS), Config=config)
    read = io.BytesIO()
    s3.download_fileobj(bucket, "large", read, Config=config)
    assert read.getvalue() == LARGE * 2
    with urlopen(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "large"})) as answer:
        assert answer.read() == LARGE * 2
        assert answer.headers["x-amz-server-side-encryption"] == "aws:kms"


def test_only_a_valid_signature_is_signed_again(plane, s3, bucket):
    for wrong, code in (({"secret": "x"}, "SignatureDoesNotMatch"), ({"access": "x"}, "InvalidAccessKeyId")):
        stranger = unmodified(plane, **wrong)
        for call in (
            lambda client=stranger: client.put_object(Bucket=bucket, Key="k", Body=b"x", **KMS),
            lambda client=stranger: client.get_public_access_block(Bucket=bucket),
            lambda client=stranger: client.put_bucket_encryption(
                Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": []}
            ),
        ):
            with pytest.raises(ClientError, match=code):
                call()
        stranger.close()
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ServerSideEncryption": "AES256", "SSEKMSKeyId": "1"}, "InvalidArgument"),
        ({"SSEKMSKeyId": "1"}, "InvalidArgument"),
        ({"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}, "NotImplemented"),
    ],
)
def test_encryption_that_cannot_be_kept_is_refused(s3, bucket, asked, code):
    with pytest.raises(ClientError, match=code):
        s3.put_object(Bucket=bucket, Key="k", Body=LARGE, **asked)


def test_a_bucket_names_the_encryption_of_its_new_objects(s3, bucket):
    def rule() -> dict[str, Any]:
        return s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]

    assert rule()["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    wanted = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/models"}
    rules = [{"ApplyServerSideEncryptionByDefault": wanted, "BucketKeyEnabled": True}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    assert rule()["ApplyServerSideEncryptionByDefault"] == wanted
    assert rule()["BucketKeyEnabled"] is True
    put = s3.put_object(Bucket=bucket, Key="k", Body=LARGE)
    assert encryption(put) == ("aws:kms", f"{KEY}/alias/models")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == LARGE
    s3.delete_bucket_encryption(Bucket=bucket)
    assert rule()["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_public_access_blocks_are_kept_until_the_bucket_is_deleted(s3, bucket):
    def settings() -> list[bool]:
        kept = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        return [kept[f"{name}"] for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy")]

    assert settings() == [True, True, True]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicPolicy": True})
    assert settings() == [False, False, True]
    s3.delete_public_access_block(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchPublicAccessBlockConfiguration"):
        settings()
    s3.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        settings()
    s3.create_bucket(Bucket=bucket)
    assert settings() == [True, True, True]


def test_a_body_of_unknown_length_is_passed_on(s3, bucket):
    url = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "chunked"}))
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    for _ in range(2):  # the connection is used again
        connection.request("PUT", f"{url.path}?{url.query}", iter([b"one", LARGE, b"two"]), encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()
    assert s3.get_object(Bucket=bucket, Key="chunked")["Body"].read() == b"one" + LARGE + b"two"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 100_000,
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_a_head_that_is_not_clear_ends_the_connection(plane, head):
    host, _, port = plane.s3_endpoint_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head)
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionResetError:
            pass  # the rest of the head was not read
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]
    assert b"<Code>InvalidRequest</Code>" in answer


def test_settings_and_names_of_encryption_survive_a_restart(tmp_path):
    for start in range(2):
        with LocalSageMaker(data_dir=tmp_path / "data", hosting=FakeHosting) as host:
            client = unmodified(host)
            if start == 0:
                client.create_bucket(Bucket="kept")
                client.put_object(Bucket="kept", Key="one", Body=LARGE, **KMS)
                client.put_public_access_block(Bucket="kept", PublicAccessBlockConfiguration={})
            got = client.get_object(Bucket="kept", Key="one")
            assert (got["Body"].read() == LARGE, encryption(got)[0]) == (True, "aws:kms")
            block = client.get_public_access_block(Bucket="kept")["PublicAccessBlockConfiguration"]
            assert block["BlockPublicAcls"] is False
            client.close()
