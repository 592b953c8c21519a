"""The admin API below `/_mme`: the status page and fault injection. AWS has no such paths.

- `GET /_mme/`: the status page, which updates itself. Its scripts and its style are `status.js`, `charts.js` and
  `status.css`.
- `GET /_mme/status`: the data of the status page as JSON. The texts of containers' errors are in it only if the request
  is signed with the host's keys.
- `GET /_mme/faults`: the active faults with their counters.
- `POST /_mme/faults` with the attributes of a `Fault` as JSON: activate a fault; the response has its id.
- `DELETE /_mme/faults/{id}`, `DELETE /_mme/faults`: deactivate one fault, or all.

The Host header must be a loopback name, which prevents DNS rebinding. A browser must not send the request for a page of
another origin. Other read requests need no signature. Changes must be signed with the host's keys, like AWS requests.
The page signs its changes itself, with keys that the user enters.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import attrs
from aiohttp import web

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.http.request_bodies import BodyReader
from mme_sdk.local.http.status import without_containers_texts
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.parameters import decode_json
from mme_sdk.local.wire.signing import SignatureVerifier

__all__ = ["AdminApi"]

_ROOT = "/_mme"
_MAX_BODY = 64 * 1024
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
_ALLOWED_SITES = ("same-origin", "none")  # values of Sec-Fetch-Site
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class AdminApi:
    """The paths below `/_mme`.

    Args:
        faults: Active faults.
        status: Function that returns the data of the status page.
    """

    def __init__(self, faults: Faults, status: Callable[[], dict[str, Any]]) -> None:
        self._faults = faults
        self._status = status

    def matches(self, request: web.BaseRequest) -> bool:
        """Return whether a request is for the admin API: a path below `/_mme`, or `/` requested by a browser."""
        browser = request.path == "/" and request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        return browser or request.path == _ROOT or request.path.startswith(_ROOT + "/")

    async def handle(
        self, request: web.BaseRequest, headers: Mapping[str, str], signatures: SignatureVerifier, bodies: BodyReader
    ) -> web.Response:
        """Return the response to a request.

        Args:
            request: The request.
            headers: Header values by lower-case name.
            signatures: Verifies the signature of a change.
            bodies: Reads the body.
        """
        try:
            response = await self._respond(request, headers, signatures, bodies)
        except ApiError as error:
            response = _message(error.status, error.message)
        if not request.content.at_eof():
            response.force_close()
        response.headers.update(_HEADERS)
        return response

    async def _respond(
        self, request: web.BaseRequest, headers: Mapping[str, str], signatures: SignatureVerifier, bodies: BodyReader
    ) -> web.Response:
        _check_origin(headers)
        if request.path in ("/", _ROOT):
            return web.Response(status=302, headers={"Location": _ROOT + "/"})
        parts = request.path.removeprefix(_ROOT).strip("/").split("/")
        if request.method not in ("GET", "HEAD"):
            return await self._change(request, headers, signatures, bodies, parts)
        match parts:
            case [""]:
                return web.Response(body=_file("status.html"), content_type="text/html", charset="utf-8")
            case ["status.css" | "status.js" | "charts.js" as name]:
                kind = "text/css" if name.endswith(".css") else "text/javascript"
                return web.Response(body=_file(name), content_type=kind, charset="utf-8")
            case ["status"]:
                report = self._status()
                if not await _is_owner(request, headers, signatures, bodies):
                    report = without_containers_texts(report)
                return _json(200, report)
            case ["faults"]:
                return _json(200, self._faults.list())
            case _:
                return _not_found(request)

    async def _change(
        self,
        request: web.BaseRequest,
        headers: Mapping[str, str],
        signatures: SignatureVerifier,
        bodies: BodyReader,
        parts: list[str],
    ) -> web.Response:
        pending = signatures.verify_headers(request.method, request.raw_path, headers)
        async with bodies.read(request, headers, _MAX_BODY) as body:
            if not signatures.is_owner(pending.verify_body(body.digest)):
                return _message(403, "only the keys of the host may change its faults")
            match request.method, parts:
                case "POST", ["faults"]:
                    if request.content_type != "application/json":
                        return _message(415, "the content type must be application/json")
                    return _json(200, {"id": self._faults.add(_fault(body.content))})
                case "DELETE", ["faults"]:
                    self._faults.clear()
                    return _json(200, {})
                case "DELETE", ["faults", fault_id]:
                    self._faults.remove(fault_id)
                    return _json(200, {})
                case _:
                    return _not_found(request)


async def _is_owner(
    request: web.BaseRequest, headers: Mapping[str, str], signatures: SignatureVerifier, bodies: BodyReader
) -> bool:
    """Return whether a read request is signed with the keys of the host.

    Raises:
        ApiError: Status 403. The request has a signature that is not valid.
    """
    if "authorization" not in headers:
        return False
    pending = signatures.verify_headers(request.method, request.raw_path, headers)
    async with bodies.read(request, headers, _MAX_BODY) as body:
        return signatures.is_owner(pending.verify_body(body.digest))


def _check_origin(headers: Mapping[str, str]) -> None:
    """Raise ApiError unless the Host header is a loopback name and no page of another origin sent the request.

    Raises:
        ApiError: Status 403.
    """
    host = headers.get("host", "")
    found = _AUTHORITY.fullmatch(host)
    if found is None or not _loopback(found[1]):
        raise ApiError(
            "AccessDenied", f"the Host header must be 127.0.0.1 or localhost, not {host[:256]!r}", status=403
        )
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise ApiError(
            "AccessDenied", f"requests from pages of the origin {origin[:256]!r} are not allowed", status=403
        )
    if headers.get("sec-fetch-site", "none").lower() not in _ALLOWED_SITES:
        text = "requests from pages of other sites are not allowed; enter the URL in the address bar of the browser"
        raise ApiError("AccessDenied", text, status=403)


def _file(name: str) -> bytes:
    return files("mme_sdk.local.http").joinpath(name).read_bytes()


def _loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _fault(body: bytes) -> Fault:
    given = decode_json(body)
    known = [one.name for one in attrs.fields(Fault)]
    if not isinstance(given, dict):
        raise _invalid_fault("the body is not a JSON object", known)
    if unknown := [name for name in given if name not in known]:
        raise _invalid_fault(f"{unknown[0][:256]!r} is not an attribute", known)
    if "kind" not in given:
        raise _invalid_fault("kind is missing", known)
    try:
        return Fault(**given)
    except InvalidInputError as error:
        raise _invalid_fault(error.message, known) from error


def _invalid_fault(reason: str, known: list[str]) -> ApiError:
    return ApiError("ValidationException", f"invalid fault: {reason}; the attributes are {', '.join(known)}")


def _not_found(request: web.BaseRequest) -> web.Response:
    return _message(404, f"{request.method} {request.path[:256]} does not exist")


def _json(status: int, content: Any) -> web.Response:
    return web.Response(status=status, body=json.dumps(content, default=str).encode(), content_type="application/json")


def _message(status: int, message: str) -> web.Response:
    return _json(status, {"message": message})
