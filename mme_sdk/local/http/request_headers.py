"""Request lines and headers: what every request must keep to before anything else of it is looked at."""

from __future__ import annotations

from aiohttp import web

from mme_sdk.local.wire.errors import ApiError

__all__ = ["read_headers"]

# Each says who asks, where, for what, or how the body is read: two of them contradict each other.
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
_BROWSERS_OWN = "cookie"  # browsers send what other programs on this machine have set


def read_headers(request: web.BaseRequest) -> dict[str, str]:
    """The header values of a request by lower-case name; several of one name are joined with commas.

    Args:
        request: The request.

    Raises:
        ApiError: MalformedHttpRequestException: the target is not a path of printable ASCII characters, a header is not
            printable UTF-8, or a header that may occur once occurs twice.
    """
    target = request.raw_path
    if not target.startswith("/") or not target.isascii() or not target.isprintable():
        raise _malformed("The request target must be a path of printable ASCII characters.")
    headers: dict[str, str] = {}
    for given, value in request.headers.items():
        name = given.lower()
        if name == _BROWSERS_OWN:
            continue
        if not value.replace("\t", "").isprintable():  # bytes that are not UTF-8 are surrogates here
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
