"""Test the data keys of KMS with a boto3 client."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError


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
