"""Signature Version 4 for InvokeEndpoint, byte for byte as `botocore.auth.SigV4Auth` computes it.

Parts that do not change between calls are cached: the signing key of the day, which HMAC's hashes have read already,
the time stamp of the second, and a template of the canonical request and of the head for each kind of request. Requests
are of one kind if they have the same endpoint, content type and set of headers.
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from typing import Any

import attrs

from mme_sdk.aws.addressing import Keys
from mme_sdk.errors import ConfigurationError
from mme_sdk.runtime.transport.request_headers import HEADERS, check_endpoint, check_value, has_control
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["SigV4"]

_VARIABLE = ("invocation_id", "custom_attributes", "inference_id", "prefix_aware_id", "session_id", "target_model")
_CONSTANT = (
    "accept",
    "content_type",
    "enable_explanations",
    "inference_component",
    "target_container",
    "target_variant",
)
_MAX_TEMPLATES = 512  # beyond it all templates are built again, at about 20 µs each


@attrs.frozen
class _Template:
    """Templates of one kind of request. `%s` stands for each value that changes."""

    fields: tuple[str, ...]  # variable fields that are present, in the order of the placeholders
    date_at: int  # position of the date among the placeholders of the canonical request
    canonical: str  # placeholders: variable fields and the date in header order, then the hash of the body
    head: str  # placeholders: variable fields, date, day, signature, body length


@attrs.frozen
class _Moment:
    """Values that are constant for one second and one set of keys."""

    second: int
    keys: Keys
    date: str
    day: str
    hmac: tuple[Any, Any] = attrs.field(repr=False)  # hashes that have read the signing key's inner and outer block
    scope: str
    templates: dict[tuple[object, ...], _Template] = attrs.field(repr=False)


class SigV4:
    """Builds signed request heads. Threads may share it.

    Args:
        authority: The Host header.
        prefix: Path before `/endpoints/…`, without a trailing slash.
        region: Region of the signature.
        service: Service of the signature.
        user_agent: The User-Agent header, which is not signed.
    """

    def __init__(self, *, authority: str, prefix: str, region: str, service: str, user_agent: str) -> None:
        self._authority, self._prefix, self._user_agent = authority, prefix, user_agent
        self._region, self._service = region, service
        self._moment: _Moment | None = None

    def head(self, request: InvokeRequest, keys: Keys, now: float) -> bytes:
        """Return the request line and the headers, signed.

        Args:
            request: The request.
            keys: The credentials.
            now: Time of the service, in seconds since the epoch.

        Returns:
            The bytes before the body.

        Raises:
            InvalidInputError: A header value cannot be sent.
            ConfigurationError: The credentials cannot be sent.
        """
        moment = self._moment
        if moment is None or moment.second != int(now) or moment.keys is not keys:
            moment = self._moment = self._new_moment(int(now), keys, moment)
        kind = (
            request.endpoint,
            request.content_type,
            request.accept,
            request.enable_explanations,
            request.inference_component,
            request.target_container,
            request.target_variant,
            request.invocation_id is None,
            request.custom_attributes is None,
            request.inference_id is None,
            request.prefix_aware_id is None,
            request.session_id is None,
            request.target_model is None,
        )
        template = moment.templates.get(kind)
        if template is None:
            template = self._template(request, keys)
            if len(moment.templates) >= _MAX_TEMPLATES:
                moment.templates.clear()
            moment.templates[kind] = template
        values = []
        trimmed = []
        for field in template.fields:
            value = getattr(request, field)
            check_value(request, field, value)
            values.append(value)
            trimmed.append(" ".join(value.split()))
        trimmed.insert(template.date_at, moment.date)
        canonical = template.canonical % (*trimmed, sha256(request.body).hexdigest())
        to_sign = (
            f"AWS4-HMAC-SHA256\n{moment.date}\n{moment.scope}\n{sha256(canonical.encode()).hexdigest()}"
        ).encode()
        # HMAC (RFC 2104) with the key already read: `hmac.digest` costs more than twice as much.
        inner, outer = moment.hmac[0].copy(), moment.hmac[1].copy()
        inner.update(to_sign)
        outer.update(inner.digest())
        return (template.head % (*values, moment.date, moment.day, outer.hexdigest(), len(request.body))).encode()

    def _new_moment(self, second: int, keys: Keys, before: _Moment | None) -> _Moment:
        if has_control(keys.access) or has_control(keys.token or ""):
            raise ConfigurationError(
                "the AWS access key or session token contains a line break or another control character",
                hint="copy the credentials again into the environment or the profile",
            )
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = date[:8]
        same_keys = before is not None and before.keys == keys
        if before is not None and same_keys and before.day == day:
            blocks = before.hmac
        else:
            signing_key = f"AWS4{keys.secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                signing_key = hmac.digest(signing_key, part.encode(), "sha256")
            block = signing_key.ljust(64, b"\0")
            blocks = sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block))
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        templates = before.templates if before is not None and same_keys else {}
        return _Moment(second, keys, date, day, blocks, scope, templates)

    def _template(self, request: InvokeRequest, keys: Keys) -> _Template:
        check_endpoint(request.endpoint, model=request.target_model)
        fields = tuple(field for field in _VARIABLE if getattr(request, field) is not None)
        headers = {"host": _escaped(self._authority), "x-amz-date": "%s"}
        if keys.token:
            headers["x-amz-security-token"] = _escaped(keys.token)
        head = [
            f"POST {self._prefix}/endpoints/{request.endpoint}/invocations HTTP/1.1",
            f"Host: {_escaped(self._authority)}",
            f"User-Agent: {_escaped(self._user_agent)}",
            "Accept-Encoding: identity",
        ]
        for field in _CONSTANT:
            value = getattr(request, field)
            if value is not None:
                check_value(request, field, value)
                headers[HEADERS[field].lower()] = _escaped(" ".join(value.split()))
                head.append(f"{HEADERS[field]}: {_escaped(value)}")
        for field in fields:
            headers[HEADERS[field].lower()] = "%s"
            head.append(f"{HEADERS[field]}: %s")
        signed = ";".join(sorted(headers))
        canonical = "\n".join(
            [
                "POST",
                f"{self._prefix}/endpoints/{request.endpoint}/invocations",
                "",
                *(f"{name}:{headers[name]}" for name in sorted(headers)),
                "",
                signed,
                "%s",
            ]
        )
        if keys.token:
            head.append(f"X-Amz-Security-Token: {_escaped(keys.token)}")
        scope = f"{_escaped(keys.access)}/%s/{self._region}/{self._service}/aws4_request"
        head += [
            "X-Amz-Date: %s",
            f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature=%s",
            "Content-Length: %d",
            "",
            "",
        ]
        # Among the variable headers only amz-sdk-invocation-id sorts before x-amz-date.
        return _Template(fields, int("invocation_id" in fields), canonical, "\r\n".join(head))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
