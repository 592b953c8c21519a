"""Check the request target and the headers of every request."""

from __future__ import annotations

from aiohttp import web

from mme_sdk.local.wire.errors import ApiError

__all__ = ["read_headers"]

# Headers that identify the caller, the target or the encoding of the body. A request may have each of them once.
_SINGLE = frozenset(
    (
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "sec-fetch-site",
        "smithy-protocol",
        "transfer-encoding",
    )
)
_SINGLE_PREFIXES = ("x-amz-", "x-amzn-", "amz-sdk-")
_IGNORED = "cookie"  # a browser sends the cookies of other programs on 127.0.0.1


def read_headers(request: web.BaseRequest) -> dict[str, str]:
    """Return the header values of a request by lower-case name. Values of the same name are joined with commas.

    Args:
        request: The request.

    Raises:
        ApiError: MalformedHttpRequestException. The target is not a path of printable ASCII characters, a header is not
            printable UTF-8, or a header occurs twice that may occur once.
    """
    target = request.raw_path
    if not target.startswith("/") or not target.isascii() or not target.isprintable():
        raise _malformed("The request target must be a path of printable ASCII characters.")
    headers: dict[str, str] = {}
    for given, value in request.headers.items():
        name = given.lower()
        if name == _IGNORED:
            continue
        if not value.replace("\t", "").isprintable():  # aiohttp decodes bytes that are not UTF-8 as surrogates
            raise _malformed(f"The header {name} is not UTF-8, or has characters that cannot be printed.")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE or name.startswith(_SINGLE_PREFIXES):
            raise _malformed(f"The header {name} must not occur twice.")
        else:
            headers[name] = f"{headers[name]},{value}"
    return headers


def _malformed(text: str) -> ApiError:
    return ApiError("MalformedHttpRequestException", text)
