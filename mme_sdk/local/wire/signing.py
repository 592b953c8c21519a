"""Verify requests that are signed with Signature Version 4. botocore computes the canonical form of their targets."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from urllib.parse import urlsplit

import attrs
from botocore.auth import SigV4Auth

from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.wire.errors import ApiError

__all__ = ["PendingVerification", "SignatureVerifier", "VerifiedSignature", "sign_again"]

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/\s,]+)/(?P<day>[0-9]{8})/(?P<region>[^/\s,]+)/(?P<service>[^/\s,]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})\s*"
)
_STAMP = "%Y%m%dT%H%M%SZ"
_SKEW = timedelta(minutes=5)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNSIGNED = "UNSIGNED-PAYLOAD"
_STREAMED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_S3 = "s3"
_NOT_DECLARED = ""


@attrs.frozen
class VerifiedSignature:
    """The contents of a valid signature.

    Attributes:
        access_key: Access key id of the signer.
        service: The service of the credential scope, such as `sagemaker`.
        region: The region of the credential scope.
        headers: Names of the signed headers.
    """

    access_key: str
    service: str
    region: str
    headers: tuple[str, ...] = ()


@attrs.frozen
class _Key:
    """A secret key and the scope of a signature."""

    secret: str = attrs.field(repr=False)
    region: str
    service: str


class _Signer(SigV4Auth):  # type: ignore[misc]
    """botocore's signer, for the canonical form of a path and a query."""

    def _normalize_url_path(self, path: str) -> str:
        # S3 signs the path as it is sent. Other services encode it a second time.
        return path if self._service_name == _S3 else str(super()._normalize_url_path(path))


@lru_cache(maxsize=256)
def _canonical_target(service: str, raw_path: str) -> str:
    """Return the canonical path and the canonical query, one a line."""
    signer = _Signer(None, service, "")
    url = f"http://host{raw_path}"
    request = SimpleNamespace(url=url, params={})
    return f"{signer._normalize_url_path(urlsplit(url).path)}\n{signer.canonical_query_string(request)}"


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


@attrs.frozen(kw_only=True)
class PendingVerification:
    """A request with valid headers whose body is not verified yet."""

    _scope: VerifiedSignature = attrs.field(alias="scope")
    _declared_digest: str = attrs.field(alias="declared_digest")
    _signature: str = attrs.field(alias="signature")
    _expected_signature: Callable[[str], str] = attrs.field(alias="expected_signature", repr=False)

    def verify_body(self, digest: str) -> VerifiedSignature:
        """Verify the body, and the signature if it is not verified yet.

        Args:
            digest: SHA-256 of the body in hexadecimal.

        Raises:
            ApiError: Status 403. The body or the signature is wrong.
        """
        if self._declared_digest not in (_UNSIGNED, _NOT_DECLARED):  # the signature is verified with the headers
            if not hmac.compare_digest(self._declared_digest, digest):
                raise _refused("InvalidSignatureException", "The x-amz-content-sha256 header does not match the body.")
        elif self._declared_digest == _NOT_DECLARED:
            self.verify_signature(digest)
        return self._scope

    def verify_signature(self, digest: str) -> None:
        """Verify the signature for a body with this SHA-256, or for the value of `x-amz-content-sha256`."""
        if not hmac.compare_digest(self._expected_signature(digest), self._signature):
            raise _refused(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method.",
            )


class SignatureVerifier:
    """Verifies that requests are signed with the keys of the host, or with those of a user or role.

    Args:
        access_key: The access key id of the host.
        secret_key: Its secret.
        region: The region that signatures must be scoped to.
        find_key: Function that returns another key by its access key id; None if it does not exist. Default: the host
            has no other keys.
    """

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        region: str,
        find_key: Callable[[str], LocalCredentials | None] = lambda _access_key: None,
    ) -> None:
        self._owner = LocalCredentials(access_key=access_key, secret_key=secret_key)
        self._region = region
        self._find_key = find_key

    def __repr__(self) -> str:
        return f"SignatureVerifier({self._owner.access_key!r}, {self._region!r})"

    def is_owner(self, signature: VerifiedSignature) -> bool:
        """Return whether a request is signed with the keys of the host, and not with those of a user or role."""
        return signature.access_key == self._owner.access_key

    def verify_headers(
        self, method: str, raw_path: str, headers: Mapping[str, str], *, now: datetime | None = None
    ) -> PendingVerification:
        """Verify a request as far as possible before its body is read.

        If the client sends the SHA-256 of the body as `x-amz-content-sha256`, that includes the signature.

        Args:
            method: HTTP method.
            raw_path: Path and query as the client sent them.
            headers: Header values by lower-case name.
            now: The current time; that of the system if None.

        Returns:
            The object that verifies the body.

        Raises:
            ApiError: Status 403. The signature is missing or wrong, the key or scope is wrong, or the date differs from
                the current time by more than five minutes.
        """
        given = headers.get("authorization")
        if not given:
            raise _refused("MissingAuthenticationToken", "Missing Authentication Token")
        parsed = _HEADER.fullmatch(given)
        if parsed is None:
            raise _refused("IncompleteSignature", "The Authorization header is not a valid 'AWS4-HMAC-SHA256' header.")
        key = self._owner if parsed["key"] == self._owner.access_key else self._find_key(parsed["key"])
        token = headers.get("x-amz-security-token")  # a client may still have a token of AWS with the keys of the host
        if key is None or (key is not self._owner and token != key.session_token):
            raise _refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        if parsed["region"] != self._region:
            raise _refused(
                "InvalidSignatureException",
                f"Credential should be scoped to a valid region, not '{parsed['region']}'. "
                f"This endpoint serves '{self._region}'.",
            )
        stamp = headers.get("x-amz-date", "")
        _check_time(stamp, parsed["day"], now or datetime.now(UTC))
        names = parsed["headers"].split(";")
        missing = [name for name in names if name not in headers]
        if missing or "host" not in names:
            raise _refused("InvalidSignatureException", f"Signed headers are missing: {', '.join(missing) or 'host'}")
        declared_digest = headers.get("x-amz-content-sha256", _NOT_DECLARED)
        accepted = (_NOT_DECLARED, _UNSIGNED, *([_STREAMED] if parsed["service"] == _S3 else []))
        if declared_digest not in accepted and not _DIGEST.fullmatch(declared_digest):
            raise _refused(
                "InvalidSignatureException",
                f"The x-amz-content-sha256 header is neither a SHA-256 in hexadecimal nor {_UNSIGNED}.",
            )
        scope = _Key(key.secret_key, self._region, parsed["service"])
        signed = {name: headers[name] for name in names}

        def expected_signature(digest: str) -> str:
            return _signature(scope, method, raw_path, stamp, signed, digest)

        pending = PendingVerification(
            scope=VerifiedSignature(parsed["key"], parsed["service"], parsed["region"], tuple(names)),
            declared_digest=declared_digest,
            signature=parsed["signature"],
            expected_signature=expected_signature,
        )
        if declared_digest != _NOT_DECLARED:
            pending.verify_signature(declared_digest)
        return pending


def sign_again(
    keys: LocalCredentials, region: str, method: str, raw_path: str, headers: Mapping[str, str], names: Sequence[str]
) -> str:
    """Return the Authorization header of a request to S3 that is signed with other keys.

    Args:
        keys: The keys.
        region: The region of the scope.
        method: HTTP method.
        raw_path: Path and query as the client sent them.
        headers: Header values by lower-case name, with `x-amz-date` and `x-amz-content-sha256`.
        names: Names of the headers to sign.
    """
    stamp, signed = headers["x-amz-date"], {name: headers[name] for name in names}
    scope = _Key(keys.secret_key, region, _S3)
    signature = _signature(scope, method, raw_path, stamp, signed, headers["x-amz-content-sha256"])
    return (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{stamp[:8]}/{region}/{_S3}/aws4_request, "
        f"SignedHeaders={';'.join(sorted(signed))}, Signature={signature}"
    )


def _signature(key: _Key, method: str, raw_path: str, stamp: str, headers: Mapping[str, str], digest: str) -> str:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    names = sorted(headers)
    values = "\n".join(f"{name}:{' '.join(headers[name].split())}" for name in names)
    target = _canonical_target(key.service, raw_path)
    canonical = f"{method.upper()}\n{target}\n{values}\n\n{';'.join(names)}\n{digest}"
    day = stamp[:8]
    to_sign = (
        f"AWS4-HMAC-SHA256\n{stamp}\n{day}/{key.region}/{key.service}/aws4_request\n"
        f"{hashlib.sha256(canonical.encode()).hexdigest()}"
    )
    return hmac.digest(_signing_key(key.secret, day, key.region, key.service), to_sign.encode(), "sha256").hex()


def _check_time(stamp: str, day: str, now: datetime) -> None:
    signed_at = _moment(stamp)
    if signed_at is None:
        raise _refused("IncompleteSignature", "Date must be in ISO-8601 'basic format'.")
    if stamp[:8] != day:
        raise _refused("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601.")
    if signed_at < now - _SKEW:
        edge = now - _SKEW
        raise _refused(
            "InvalidSignatureException",
            f"Signature expired: {stamp} is now earlier than {edge:{_STAMP}} ({now:{_STAMP}} - 5 min.)",
        )
    if signed_at > now + _SKEW:
        edge = now + _SKEW
        raise _refused(
            "InvalidSignatureException",
            f"Signature not yet current: {stamp} is still later than {edge:{_STAMP}} ({now:{_STAMP}} + 5 min.)",
        )


@lru_cache(maxsize=64)
def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _refused(code: str, message: str) -> ApiError:
    return ApiError(code, message, status=403)
