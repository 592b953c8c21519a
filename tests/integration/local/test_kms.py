"""Test the data keys of KMS with a boto3 client."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from mme_sdk.local import LocalSageMaker
from tests.support.local.fakes import FakeHosting


@pytest.fixture
def kms(plane):
    client = plane.boto("kms")
    yield client
    client.close()


def test_a_data_key_comes_back_under_the_same_key_and_context_only(kms):
    context = {"aws:s3:arn": "arn:aws:s3:::bucket/key"}
    made = kms.generate_data_key(KeyId="alias/models", KeySpec="AES_256", EncryptionContext=context)
    assert made["KeyId"] == "arn:aws:kms:us-east-1:123456789012:key/alias/models"
    assert len(made["Plaintext"]) == 32
    assert made["Plaintext"] not in made["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context, KeyId=made["KeyId"])
    assert (opened["Plaintext"], opened["KeyId"]) == (made["Plaintext"], made["KeyId"])
    blob = made["CiphertextBlob"]
    for wrong in (
        {"CiphertextBlob": blob},
        {"CiphertextBlob": blob[:-1] + b"x", "EncryptionContext": context},
        {"CiphertextBlob": b"\xff", "EncryptionContext": context},
        {"CiphertextBlob": blob[:20], "EncryptionContext": context},
    ):
        with pytest.raises(ClientError, match="InvalidCiphertextException"):
            kms.decrypt(**wrong)
    with pytest.raises(ClientError, match="CiphertextBlob is required"):
        kms.decrypt(KeyId=made["KeyId"])
    with pytest.raises(ClientError, match="IncorrectKeyException"):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext=context, KeyId="another")


def test_a_key_is_the_same_by_id_and_by_arn(kms):
    made = kms.generate_data_key(KeyId="1234abcd", NumberOfBytes=24)
    assert len(made["Plaintext"]) == 24
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], KeyId="arn:aws:kms:us-east-1:123456789012:key/1234abcd")
    assert opened["Plaintext"] == made["Plaintext"]
    with pytest.raises(ClientError, match="either number of bytes or key spec"):
        kms.generate_data_key(KeyId="1234abcd")


def test_s3_encrypts_with_keys_of_the_host_and_names_them(plane, name):
    s3 = plane.boto("s3")
    s3.create_bucket(Bucket=name)
    arn = "arn:aws:kms:us-east-1:123456789012:key"
    for key, shown in ((None, f"{arn}/alias/aws/s3"), ("1234-abcd", f"{arn}/1234-abcd"), (f"{arn}/ef", f"{arn}/ef")):
        asked = {} if key is None else {"SSEKMSKeyId": key}
        put = s3.put_object(Bucket=name, Key="one", Body=b"weights", ServerSideEncryption="aws:kms", **asked)
        assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", shown)
        got = s3.get_object(Bucket=name, Key="one")
        assert (got["Body"].read(), got["SSEKMSKeyId"]) == (b"weights", shown)
    upload = s3.create_multipart_upload(Bucket=name, Key="large", ServerSideEncryption="aws:kms")["UploadId"]
    part = s3.upload_part(Bucket=name, Key="large", UploadId=upload, PartNumber=1, Body=b"x" * 100)
    s3.complete_multipart_upload(
        Bucket=name,
        Key="large",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    assert s3.get_object(Bucket=name, Key="large")["Body"].read() == b"x" * 100
    s3.close()


def test_encrypted_objects_are_read_after_a_restart(tmp_path):
    with LocalSageMaker(data_dir=tmp_path / "data", hosting=FakeHosting) as host:
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="one", Body=b"weights", ServerSideEncryption="aws:kms")
        s3.close()
    with LocalSageMaker(data_dir=tmp_path / "data", hosting=FakeHosting) as host:
        s3 = host.boto("s3")
        assert s3.get_object(Bucket="kept", Key="one")["Body"].read() == b"weights"
        with pytest.raises(ClientError, match="NoSuchBucket"):
            s3.put_object(Bucket="absent", Key="one", Body=b"x")
        s3.close()
