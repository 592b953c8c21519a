"""Send PutObject requests that differ only in key, content and metadata. botocore sends the first one of each kind.

botocore takes about 2.5 ms of CPU to build and sign a request, which is most of the work for a small model. This module
takes the headers of the first request, and replaces those that change. It signs that first request again, and uses the
result only if botocore's signature is the same. All other requests stay with botocore: other arguments, unusual keys,
clients with event handlers of other code, and responses that may need another region or new credentials.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from mme_sdk.aws.addressing import Keys, keys_of, other_handlers
from mme_sdk.aws.s3.answers import Answer
from mme_sdk.errors import MMEError

__all__ = ["RepeatedPuts"]

_VARIABLE = frozenset({"Key", "Body", "Metadata", "ChecksumSHA256"})
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_~@+=, -][A-Za-z0-9._~@+=, -]*(/[A-Za-z0-9_~@+=, -][A-Za-z0-9._~@+=, -]*)*")
_META = "x-amz-meta-"
_CHECKSUM = "x-amz-checksum-sha256"
_PAYLOAD, _UNSIGNED = "x-amz-content-sha256", "UNSIGNED-PAYLOAD"
_TOKEN = "x-amz-security-token"  # noqa: S105 - the name of a header
_SENT_LAST = frozenset({"authorization", "x-amz-date", "amz-sdk-invocation-id", "content-length", "expect", _TOKEN})
_UNKNOWN = frozenset({"x-amzn-trace-id", "content-md5", "x-amz-s3session-token", "transfer-encoding"})
_FINAL = frozenset({409, 412, 429})  # and 5xx: responses whose reason does not concern the signature or the region
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/(\d{8}/[^/,]+/[^/,]+/aws4_request), SignedHeaders=([^,]+), ")
_MAX_KINDS = 64


@attrs.frozen
class _Template:
    """What the requests of one kind have in common.

    Attributes:
        base: URL before the key.
        path: Path before the key.
        host: Host header.
        headers: Headers that do not change, by lower-case name.
        signed: Names of the signed headers, in order.
        region: Region and service of the signature.
    """

    base: str
    path: str
    host: str
    headers: dict[str, str]
    signed: tuple[str, ...]
    region: tuple[str, str]


@attrs.frozen
class _Request:
    """The attributes of a prepared request of botocore that the HTTP session reads."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any


class RepeatedPuts:
    """`put_object` of a client.

    Args:
        client: A boto3 client of S3.
        send: Sends a prepared request and returns the answer.
        now: Returns the time in seconds since the epoch.
    """

    def __init__(self, client: Any, send: Callable[[Any], Answer], now: Callable[[], float] = time.time) -> None:
        self._client, self._send, self._now = client, send, now
        self._slow = client.put_object
        self._templates: dict[Any, _Template | None] = {}
        self._thread = threading.local()
        self._handlers: Any = None
        self._observed = True
        self._keys = keys_of(client._request_signer._credentials)[0]
        self._signing_key: tuple[Keys, str, tuple[str, str], bytes] | None = None
        self._model = client.meta.service_model.operation_model("PutObject")
        self._parser = client._endpoint._response_parser_factory.create_parser(
            client.meta.service_model.resolved_protocol
        )
        members = self._model.output_shape.members
        by_header = {one.serialization["name"].lower(): (name, one.type_name) for name, one in members.items()}
        self._members = {header: name for header, (name, kind) in by_header.items() if kind == "string"}
        self._unparsed = frozenset(header for header, (_, kind) in by_header.items() if kind != "string")

    def saw(self, request: Any) -> None:
        """Take note of a request that botocore has prepared and signed in this thread."""
        if getattr(self._thread, "learns", False):
            self._thread.request = request

    def put_object(self, **params: Any) -> Any:
        """Send a PutObject request. Arguments, result and exceptions are those of botocore."""
        kind = _kind(params)
        if kind is None or self._is_observed():
            return self._slow(**params)
        if kind not in self._templates:
            return self._learn(kind, params)
        template = self._templates[kind]
        if template is None:
            return self._slow(**params)
        try:
            keys = self._keys()
        except MMEError:
            return self._slow(**params)  # botocore reports why there are no credentials
        request = self._built(template, params, keys, self._now())
        answer = self._send(request)
        status = answer.status
        if status != 200 and status not in _FINAL and status < 500:
            params["Body"].seek(0)
            return self._slow(**params)
        if status == 200 and self._unparsed.isdisjoint(answer.headers):
            return self._result(answer)
        from botocore.endpoint import convert_to_response_dict

        response = convert_to_response_dict(answer.for_botocore(request.url), self._model)
        parsed = self._parser.parse(response, self._model.output_shape)
        if status != 200:
            raise self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))(parsed, "PutObject")
        return parsed

    def _result(self, answer: Answer) -> dict[str, Any]:
        """Return what botocore's parser returns for an answer whose members are texts."""
        headers = answer.headers
        found: dict[str, Any] = {self._members[name]: value for name, value in headers.items() if name in self._members}
        about = {"HTTPStatusCode": answer.status, "HTTPHeaders": dict(headers)}
        if "x-amzn-requestid" in headers:
            about["RequestId"] = headers["x-amzn-requestid"]
        elif "x-amz-request-id" in headers:
            about |= {"RequestId": headers["x-amz-request-id"], "HostId": headers.get("x-amz-id-2", "")}
        return found | {"ResponseMetadata": about}

    def _is_observed(self) -> bool:
        """Return whether other code observes the calls of the client."""
        handlers = self._client.meta.events._emitter._lookup_cache
        if handlers is not self._handlers:  # botocore replaces this object when a handler is added or removed
            self._observed = other_handlers(self._client, "s3.PutObject") is not None
            self._handlers = handlers
        return self._observed

    def _learn(self, kind: Any, params: dict[str, Any]) -> Any:
        thread = self._thread
        thread.learns, thread.request = True, None
        try:
            answer = self._slow(**params)
        finally:
            thread.learns, request, thread.request = False, thread.request, None
        if request is not None:
            if len(self._templates) >= _MAX_KINDS:
                self._templates.clear()
            self._templates[kind] = self._template(request, params)
        return answer

    def _template(self, request: Any, params: dict[str, Any]) -> _Template | None:
        """Return what to send for requests like this one; None if only botocore can sign them."""
        headers = {
            name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        key = quote(params["Key"], safe="/~")
        scope = _SCOPE.match(headers.get("authorization", ""))
        parts = urlsplit(request.url)
        if scope is None or parts.query or not parts.path.endswith(f"/{key}") or not _UNKNOWN.isdisjoint(headers):
            return None
        _, region, service, _ = scope[1].split("/")
        constant = {
            name: value
            for name, value in headers.items()
            if name not in _SENT_LAST and name != _CHECKSUM and not name.startswith(_META)
        }
        template = _Template(
            base=request.url.removesuffix(key),
            path=parts.path.removesuffix(key),
            host=parts.netloc,
            headers=constant,
            signed=tuple(scope[2].split(";")),
            region=(region, service),
        )
        try:
            stamp = time.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
            again = self._built(template, params, self._keys(), calendar.timegm(stamp))
        except (KeyError, ValueError, MMEError):
            return None
        changes = {"amz-sdk-invocation-id", "expect"}
        same = {name: value for name, value in headers.items() if name not in changes}
        mine = {name: value for name, value in again.headers.items() if name not in changes}
        return template if again.url == request.url and mine == same else None

    def _built(self, template: _Template, params: dict[str, Any], keys: Keys, now: float) -> _Request:
        key, body = quote(params["Key"], safe="/~"), params["Body"]
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        headers = dict(template.headers)
        for name, value in params["Metadata"].items():
            headers[_META + name] = value
        headers[_CHECKSUM] = params["ChecksumSHA256"]
        if headers[_PAYLOAD] != _UNSIGNED:
            headers[_PAYLOAD] = base64.b64decode(params["ChecksumSHA256"]).hex()
        headers["x-amz-date"] = date
        if keys.token is not None:
            headers[_TOKEN] = keys.token
        canonical = "".join(
            f"{name}:{template.host if name == 'host' else ' '.join(headers[name].split())}\n"
            for name in template.signed
        )
        names = ";".join(template.signed)
        payload = headers[_PAYLOAD]
        text = f"PUT\n{template.path}{key}\n\n{canonical}\n{names}\n{payload}"
        scope = "/".join((date[:8], *template.region, "aws4_request"))
        wanted = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
        signature = hmac.new(self._key(keys, date[:8], template.region), wanted.encode(), "sha256").hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        headers["amz-sdk-invocation-id"] = str(uuid.uuid4())
        headers["content-length"] = str(len(body))
        return _Request("PUT", template.base + key, headers, body)

    def _key(self, keys: Keys, day: str, region: tuple[str, str]) -> bytes:
        known = self._signing_key
        if known is not None and known[:3] == (keys, day, region):
            return known[3]
        key = f"AWS4{keys.secret}".encode()
        for part in (day, *region, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._signing_key = (keys, day, region, key)
        return key


def _kind(params: dict[str, Any]) -> Any:
    """Return the arguments that requests of one kind have in common; None if only botocore can send this request."""
    metadata, body, key = params.get("Metadata"), params.get("Body"), params.get("Key")
    if not (isinstance(metadata, dict) and isinstance(key, str) and "ChecksumSHA256" in params):
        return None
    if isinstance(body, (bytes, bytearray, str)) or not (hasattr(body, "seek") and hasattr(body, "__len__")):
        return None
    if not body or not _PLAIN_KEY.fullmatch(key):
        return None
    for name, value in metadata.items():
        if not (isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip()):
            return None
        if not (name.isascii() and name.islower() and name.replace("-", "").isalnum()):
            return None
    common = {name: value for name, value in params.items() if name not in _VARIABLE}
    if not all(isinstance(value, str) for value in common.values()):
        return None
    # A request with fewer metadata has fewer signed headers.
    return (*sorted(common.items()), *sorted(metadata))
