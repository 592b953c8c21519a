"""KMS: GenerateDataKey and Decrypt. SeaweedFS calls them for objects that it encrypted for an earlier host."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Kms", "key_arn"]

_NONCE = 12  # bytes of an AES-GCM nonce
_SIZES = {"AES_128": 16, "AES_256": 32}


class Kms:
    """The `kms` service.

    Every key id and alias is valid, so that a configuration for AWS needs no change. The keys are derived from a secret
    in the store, so that objects stay readable after a restart.

    Args:
        store: Holds the secret.
        account: The account of the keys.
    """

    service = "kms"

    def __init__(self, store: Store, account: Account) -> None:
        self._store = store
        self._account = account
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "Decrypt": self._decrypt,
            "GenerateDataKey": self._generate_data_key,
        }

    def _generate_data_key(self, params: dict[str, Any]) -> dict[str, Any]:
        if ("KeySpec" in params) == ("NumberOfBytes" in params):
            raise ApiError("ValidationException", "Please specify either number of bytes or key spec.")
        size = _SIZES[params["KeySpec"]] if "KeySpec" in params else params["NumberOfBytes"]
        arn, nonce, plain = self._arn(params["KeyId"]), secrets.token_bytes(_NONCE), secrets.token_bytes(size)
        sealed = self._cipher(arn).encrypt(nonce, plain, _context(params))
        name = arn.encode()
        return {"KeyId": arn, "Plaintext": plain, "CiphertextBlob": bytes([len(name)]) + name + nonce + sealed}

    def _decrypt(self, params: dict[str, Any]) -> dict[str, Any]:
        from cryptography.exceptions import InvalidTag

        blob = params.get("CiphertextBlob")
        if not blob:  # the service model requires it only without DryRunModifiers, which this host refuses
            raise ApiError("ValidationException", "CiphertextBlob is required.")
        start = 1 + blob[0]
        arn, nonce, sealed = (
            blob[1:start].decode(errors="replace"),
            blob[start : start + _NONCE],
            blob[start + _NONCE :],
        )
        if "KeyId" in params and self._arn(params["KeyId"]) != arn:
            raise ApiError("IncorrectKeyException", f"The ciphertext was not encrypted under {params['KeyId']}.")
        try:
            plain = self._cipher(arn).decrypt(nonce, sealed, _context(params))
        except (InvalidTag, ValueError) as error:
            raise ApiError(
                "InvalidCiphertextException", "The ciphertext or its encryption context is wrong."
            ) from error
        return {"KeyId": arn, "Plaintext": plain, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _arn(self, key_id: str) -> str:
        return key_arn(self._account, key_id)

    def _cipher(self, arn: str) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        kept = self._store.get("kms", "secret")
        if kept is None:
            kept = {"secret": base64.b64encode(secrets.token_bytes(32)).decode()}
            self._store.put("kms", "secret", kept)
        return AESGCM(hmac.digest(base64.b64decode(kept["secret"]), arn.encode(), hashlib.sha256))


def key_arn(account: Account, key_id: str) -> str:
    """Return the ARN of a key by its id, its ARN or an alias. Every key exists.

    Raises:
        ApiError: NotFoundException. The id is too long.
    """
    name = key_id if key_id.startswith("alias/") else key_id.rpartition(":")[2].removeprefix("key/")
    if len(name) > 128:
        raise ApiError("NotFoundException", f"Invalid keyId {key_id!r}.")
    return account.arn_of("kms", f"key/{name}")


def _context(params: Mapping[str, Any]) -> bytes:
    return json.dumps(params.get("EncryptionContext", {}), sort_keys=True).encode()
