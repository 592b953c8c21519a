"""The S3 listener: pass requests to SeaweedFS as they are, and do what SeaweedFS does not do.

- Public access blocks and default encryption of buckets.
- The headers of server-side encryption.
- Requests of IAM users and roles are checked against their policies, then signed again with the keys of the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.actions import Check
from mme_sdk.local.control.iam.authorizer import Authorizer, denied
from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.http.connections import HEADER_TIMEOUT
from mme_sdk.local.http.s3.actions import SUBRESOURCES, checks_of_delete, checks_of_s3
from mme_sdk.local.http.s3.bucket_settings import SETTINGS, BucketSettings
from mme_sdk.local.http.s3.encryption import HEADERS, MARK, Encryption, encryption_of, name_encryption
from mme_sdk.local.http.s3.requests import S3Request, error_response, parse_head, response
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.service_model import partition_of
from mme_sdk.local.wire.signing import PendingVerification, SignatureVerifier, VerifiedSignature, sign_again

__all__ = ["S3Gateway"]

_log = logging.getLogger(__name__)
_CHUNK = 256 * 1024
_MAX_HEAD = 64 * 1024
_MAX_OWN_BODY = 64 * 1024  # bytes of a request that the host answers itself
_MAX_DELETE = 2 * 1024 * 1024  # bytes; DeleteObjects has at most 1,000 keys of at most 1,024 bytes
_BODY_TIMEOUT = 30.0
_MAX_UPLOADS = 10_000
_END = b"\r\n\r\n"
_TOKEN = "x-amz-security-token"  # noqa: S105 - the name of a header
_S3_CODES = {
    "MissingAuthenticationToken": "AccessDenied",
    "IncompleteSignature": "AuthorizationHeaderMalformed",
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "ExpiredTokenException": "ExpiredToken",
    "AccessDeniedException": "AccessDenied",
}


class S3Gateway:
    """The connections of the S3 listener.

    Args:
        upstream: Function that returns the port of SeaweedFS.
        owner: The keys of the host, which SeaweedFS accepts.
        account: Account and region of the host.
        signatures: Verifies signatures.
        settings: Settings of buckets.
        authorizer: Evaluates policies; None if the host evaluates none.
    """

    def __init__(
        self,
        upstream: Callable[[], int],
        owner: LocalCredentials,
        account: Account,
        signatures: SignatureVerifier,
        settings: BucketSettings,
        authorizer: Authorizer | None,
    ) -> None:
        self._upstream = upstream
        self._owner = owner
        self._account = account
        self._region = account.region
        self._partition = partition_of(account.region)
        self._signatures = signatures
        self._settings = settings
        self._uploads: dict[tuple[str, str], Encryption] = {}  # the last multipart upload of each key
        self._authorizer = authorizer
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, listening: Any) -> asyncio.Server:
        """Return a server that accepts the connections of a listening socket."""
        return await asyncio.start_server(self._accept, sock=listening, limit=_MAX_HEAD, backlog=4096)

    async def close(self) -> None:
        """End all connections."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._run(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client or SeaweedFS closed the connection, or the host stops
        except Exception:  # noqa: BLE001 - an unexpected error must not stop the server; it is logged
            _log.exception("a connection of S3 failed")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back: _Responses | None = None
        try:
            while True:
                first = await reader.read(1)
                if not first:
                    return
                if not first.isalpha():  # not the start of an HTTP method; a TLS client waits for a response
                    writer.write(error_response(_BAD_HEAD, method="GET", resource="/"))
                    return
                try:
                    async with asyncio.timeout(HEADER_TIMEOUT):
                        head = first + await reader.readuntil(_END)
                except (TimeoutError, asyncio.LimitOverrunError):
                    writer.write(error_response(_BAD_HEAD, method="GET", resource="/"))
                    return
                if back is None:
                    try:
                        back = await _Responses.open(self._upstream(), reader, writer)
                    except OSError:
                        writer.write(error_response(_NOT_READY, method="GET", resource="/"))
                        return
                if not await self._forward(head, reader, writer, back):
                    return
        finally:
            if back is not None:
                await back.close()

    async def _forward(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: _Responses
    ) -> bool:
        """Pass one request on, or respond to it. Return whether the connection stays open."""
        method, resource, body = "GET", "/", None
        try:
            request = parse_head(head)
            method, resource = request.method, request.target.partition("?")[0]
            signer = self._check_user(request)
            if setting := SETTINGS & request.query.keys():
                pending = None if signer is not None else self._verify_headers(request)
                body = await _read_body(request, reader, writer, _MAX_OWN_BODY)
                await self._answer_setting(request, min(setting), body, pending, writer)
                return True
            encryption = self._encryption(request)
            marks = encryption is not None and "uploadId" not in request.query
            if signer is not None and request.method == "POST" and "delete" in request.query:
                body = await _read_body(request, reader, writer, _MAX_DELETE)
                self._check(signer, checks_of_delete(request, body, self._partition))
            if signer is not None or marks:
                head = self._sign_again(request, encryption if marks else None, signer)
            back.expect(self._change_of_response(request, encryption, signer))
        except ApiError as error:
            # A client that waits for `100 Continue` reads the response first. Others send the body in any case.
            if body is None and b"\r\nexpect:" not in head.lower():
                with contextlib.suppress(ApiError, ValueError, asyncio.LimitOverrunError):
                    await _copy_body(parse_head(head), reader, None)
            code = _S3_CODES.get(error.code, error.code)
            writer.write(
                error_response(ApiError(code, error.message, status=error.status), method=method, resource=resource)
            )
            await writer.drain()
            return False
        back.upstream.write(head if body is None else head + body)
        if body is None:
            await _copy_body(request, reader, back.upstream)
        return True

    def _check_user(self, request: S3Request) -> VerifiedSignature | None:
        """Return the signature of a user or role whose policies allow the request; None for any other key."""
        if self._authorizer is None:
            return None
        given = request.headers.get("authorization", "") or request.query.get("X-Amz-Credential", "")
        access_key = given.partition("Credential=")[2] or given
        access_key = access_key.partition("/")[0]
        identities = self._authorizer.identities
        if identities.find_credentials(access_key) is None:
            return None  # the host's own key, or one that SeaweedFS refuses
        if "authorization" not in request.headers:
            text = "The embedded SageMaker accepts presigned URLs of its own keys only, not those of users and roles."
            raise ApiError("AccessDenied", text, status=403)
        signature = self._verify(request)
        self._check(signature, checks_of_s3(request, self._partition))
        return signature

    def _check(self, signature: VerifiedSignature, checks: list[Check]) -> None:
        assert self._authorizer is not None
        principal = self._authorizer.identities.principal(signature.access_key)
        for needed in checks:
            decision = self._authorizer.decide(principal, needed)
            if decision.kind != "allowed":
                raise denied(principal, needed, decision, "s3")

    def _change_of_response(
        self, request: S3Request, encryption: Encryption | None, signer: VerifiedSignature | None
    ) -> Callable[[bytes], bytes] | None:
        """Return the function that changes the head of the response, or None."""
        reads = bool(request.key) and request.method in ("GET", "HEAD")
        hides_missing = reads and self._hides_missing(request, signer)
        changes_bucket = not request.key and not request.query and request.method in ("PUT", "DELETE")
        if not (reads or changes_bucket or encryption is not None):
            return None

        def change(head: bytes) -> bytes:
            status = head.split(b" ", 2)[1]
            if status == b"404" and hides_missing:
                raise _ForbiddenError(error_response(_FORBIDDEN, method=request.method, resource="/"))
            if status[:1] != b"2":
                return head
            if changes_bucket:
                self._settings.forget(request.bucket)
            if encryption is not None:
                lines = [f"{name}: {value}".encode("latin-1") for name, value in encryption.headers.items()]
                return b"\r\n".join([head[:-4], *lines, b"", b""])
            return name_encryption(head) if reads else head

        return change

    def _hides_missing(self, request: S3Request, signer: VerifiedSignature | None) -> bool:
        """Return whether S3 answers 403 for a missing object, because the signer may not list the bucket."""
        if signer is None or self._authorizer is None:
            return False
        principal = self._authorizer.identities.principal(signer.access_key)
        bucket = f"arn:{self._partition}:s3:::{request.bucket}"
        return not self._authorizer.allows(principal, "s3:ListBucket", bucket, {"s3:prefix": [request.key]})

    def _verify(self, request: S3Request) -> VerifiedSignature:
        """Return the signature of a request, whose body SeaweedFS verifies."""
        declared = request.headers.get("x-amz-content-sha256", "")
        if declared.startswith("STREAMING-AWS4"):
            text = (
                f"The embedded SageMaker accepts {declared} only with its own keys, and without server-side encryption."
            )
            raise ApiError("NotImplemented", text, status=501)
        return self._verify_headers(request).verify_body(declared)

    def _verify_headers(self, request: S3Request) -> PendingVerification:
        return self._signatures.verify_headers(request.method, request.target, request.headers)

    def _encryption(self, request: S3Request) -> Encryption | None:
        """Return the encryption that the object of a request gets, or that of the multipart upload of a request."""
        query, uploaded = request.query, (request.bucket, request.key)
        if not request.key:
            return None
        if "uploadId" in query:
            return self._uploads.get(uploaded)
        starts_upload = request.method == "POST" and "uploads" in query
        if not starts_upload and (request.method != "PUT" or SUBRESOURCES & query.keys()):
            return None
        found = encryption_of(request, self._settings.default_encryption(request.bucket), self._account)
        if starts_upload:
            self._uploads.pop(uploaded, None)
            if found is not None:
                self._uploads[uploaded] = found
                while len(self._uploads) > _MAX_UPLOADS:
                    del self._uploads[next(iter(self._uploads))]
        return found

    def _sign_again(self, request: S3Request, encryption: Encryption | None, signer: VerifiedSignature | None) -> bytes:
        """Return the head of a request that is signed with the keys of the host, with the mark of an encryption."""
        verified = signer or self._verify(request)
        changed = {} if encryption is None else {MARK: encryption.mark}
        removed = {_TOKEN, *HEADERS, *(("expect",) if "delete" in request.query else ())}
        headers = {**request.headers, **changed}
        names = sorted({*verified.headers, *changed} - removed)
        authorization = sign_again(self._owner, self._region, request.method, request.target, headers, names)
        return request.head({**changed, "authorization": authorization}, frozenset(removed))

    async def _answer_setting(
        self,
        request: S3Request,
        name: str,
        body: bytes,
        pending: PendingVerification | None,
        writer: asyncio.StreamWriter,
    ) -> None:
        digest, declared = hashlib.sha256(body).hexdigest(), request.headers.get("x-amz-content-sha256", "")
        if pending is not None:
            pending.verify_body(digest)
        elif len(declared) == len(digest) and declared != digest:
            raise ApiError("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match.")
        buckets = await asyncio.to_thread(self._settings.list_buckets)
        try:
            status, content = self._settings.answer(request.method, name, request.bucket, body, buckets)
            writer.write(response(status, content, method=request.method, close=False))
        except ApiError as error:
            path = request.target.partition("?")[0]
            writer.write(error_response(error, method=request.method, resource=path, close=False))
        await writer.drain()


class _Responses:
    """The connection to SeaweedFS of one client, whose responses are passed back."""

    def __init__(
        self, incoming: asyncio.StreamReader, upstream: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        self._incoming = incoming
        self.upstream = upstream
        self._writer = writer
        self._edit: Callable[[bytes], bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Responses:
        """Connect to SeaweedFS and pass its responses back until it closes the connection."""
        made = cls(*await asyncio.open_connection("127.0.0.1", port, limit=_MAX_HEAD), writer)
        made._task = asyncio.create_task(made._copy(reader))
        return made

    def expect(self, change: Callable[[bytes], bytes] | None) -> None:
        """Change the head of the next response by a function, which may raise `_ForbiddenError`."""
        self._edit = change

    async def _copy(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await self._incoming.read(_CHUNK):
                if self._edit is not None:
                    data = await self._edited(data, self._edit)
                self._writer.write(data)
                await self._writer.drain()
        except _ForbiddenError as error:
            self._writer.write(error.response)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client or SeaweedFS closed the connection
        finally:
            self._writer.close()
            reader.feed_eof()  # ends the wait for the next request

    async def _edited(self, data: bytes, edit: Callable[[bytes], bytes]) -> bytes:
        """Return data that starts with the head of a response, after changing the head."""
        while True:
            while _END not in data:
                more = await self._incoming.read(_CHUNK)
                if not more:
                    return data
                data += more
            head, _, rest = data.partition(_END)
            if not head.startswith(b"HTTP/1.1 1"):
                self._edit = None
                return edit(head + _END) + rest
            self._writer.write(head + _END)  # `100 Continue`; the client sends the body now
            data = rest

    async def close(self) -> None:
        """Close the connection to SeaweedFS."""
        self.upstream.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class _ForbiddenError(Exception):
    """The response becomes 403, and the connection ends."""

    def __init__(self, response: bytes) -> None:
        super().__init__()
        self.response = response


async def _read_body(
    request: S3Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int
) -> bytes:
    if request.length is None or request.length > limit:
        raise ApiError("MaxMessageLengthExceeded", "Your request was too big.")
    if "expect" in request.headers:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            return await reader.readexactly(request.length)
    except TimeoutError as error:
        raise ApiError("RequestTimeout", "The request body arrives too slowly.") from error


async def _copy_body(request: S3Request, reader: asyncio.StreamReader, to: asyncio.StreamWriter | None) -> None:
    """Copy the body of a request; without `to`, read it and drop it."""
    if request.length is not None:
        await _copy_bytes(request.length, reader, to)
        return
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0].strip(), 16)
        if to is not None:
            to.write(line)
        if size == 0:
            break
        await _copy_bytes(size + 2, reader, to)
    while line != b"\r\n":  # the trailers
        line = await reader.readuntil(b"\r\n")
        if to is not None:
            to.write(line)


async def _copy_bytes(length: int, reader: asyncio.StreamReader, to: asyncio.StreamWriter | None) -> None:
    while length:
        data = await reader.read(min(length, _CHUNK))
        if not data:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(data)
        if to is not None:
            to.write(data)
            await to.drain()


_BAD_HEAD = ApiError("InvalidRequest", "The request is not valid HTTP/1.1, or its headers are too long or too slow.")
_NOT_READY = ApiError("ServiceUnavailable", "S3 is starting. Please try again.", status=503)
_FORBIDDEN = ApiError("AccessDenied", "Access Denied", status=403)
