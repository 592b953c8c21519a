"""What is not AWS's under the host's address, all below `/_mme`: the status page, and the fault API.

- `GET /_mme/`: a page that updates itself.
- `GET /_mme/status`: the same as JSON.
- `GET /_mme/faults`: the faults in force, with how often they struck.
- `POST /_mme/faults` with the attributes of a `Fault` as JSON: put one in force; answers its id.
- `DELETE /_mme/faults/{id}`, `DELETE /_mme/faults`: lift one, lift all.

Requests must be addressed to a loopback name, so that no other name can be rebound to it, and must come from no other
origin. Looking needs no key. Changes are signed with the host's keys, as AWS requests are, and must be JSON.
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
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.parameters import decode_json
from mme_sdk.local.wire.signing import SignatureVerifier

__all__ = ["AdminApi"]

_ROOT = "/_mme"
_LIMIT = 64 * 1024  # bytes of a fault
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
_OWN_PAGES = ("same-origin", "none")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class AdminApi:
    """Answers the paths below `/_mme`.

    Args:
        faults: Trouble on demand.
        status: What the status page shows.
    """

    def __init__(self, faults: Faults, status: Callable[[], dict[str, Any]]) -> None:
        self._faults = faults
        self._status = status

    def opens(self, request: web.BaseRequest) -> bool:
        """Whether a request is for this, and not for AWS: these paths, or a browser that looks at the root."""
        browser = request.path == "/" and request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        return browser or request.path == _ROOT or request.path.startswith(_ROOT + "/")

    async def handle(
        self, request: web.BaseRequest, headers: Mapping[str, str], signatures: SignatureVerifier, bodies: BodyReader
    ) -> web.Response:
        """Answer one request.

        Args:
            request: The request.
            headers: Header values by lower-case name.
            signatures: Checks who changes something.
            bodies: Reads the body.
        """
        try:
            response = await self._answer(request, headers, signatures, bodies)
        except ApiError as error:
            response = _said(error.status, error.message)
        if not request.content.at_eof():
            response.force_close()
        response.headers.update(_HEADERS)
        return response

    async def _answer(
        self, request: web.BaseRequest, headers: Mapping[str, str], signatures: SignatureVerifier, bodies: BodyReader
    ) -> web.Response:
        _check_asker(headers)
        if request.path in ("/", _ROOT):
            return web.Response(status=302, headers={"Location": _ROOT + "/"})
        steps = request.path.removeprefix(_ROOT).strip("/").split("/")
        if request.method not in ("GET", "HEAD"):
            return await self._change(request, headers, signatures, bodies, steps)
        match steps:
            case [""]:
                page = files("mme_sdk.local.http").joinpath("status.html").read_bytes()
                return web.Response(body=page, content_type="text/html", charset="utf-8")
            case ["status"]:
                return _json(200, self._status())
            case ["faults"]:
                return _json(200, self._faults.list())
            case _:
                return _missing(request)

    async def _change(
        self,
        request: web.BaseRequest,
        headers: Mapping[str, str],
        signatures: SignatureVerifier,
        bodies: BodyReader,
        steps: list[str],
    ) -> web.Response:
        pending = signatures.verify_headers(request.method, request.raw_path, headers)
        async with bodies.receive(request, headers, _LIMIT) as body:
            pending.verify(body.digest)
            match request.method, steps:
                case "POST", ["faults"]:
                    if request.content_type != "application/json":
                        return _said(415, "send the fault as application/json")
                    return _json(200, {"id": self._faults.add(_fault(body.content))})
                case "DELETE", ["faults"]:
                    self._faults.clear()
                    return _json(200, {})
                case "DELETE", ["faults", fault_id]:
                    self._faults.remove(fault_id)
                    return _json(200, {})
                case _:
                    return _missing(request)


def _check_asker(headers: Mapping[str, str]) -> None:
    """Let pass who asks for a loopback address, and no page of another origin.

    Raises:
        ApiError: 403.
    """
    host = headers.get("host", "")
    found = _AUTHORITY.fullmatch(host)
    if found is None or not _loopback(found[1]):
        raise ApiError("AccessDenied", f"ask for 127.0.0.1 or localhost, not {host[:256]!r}", status=403)
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise ApiError("AccessDenied", f"requests of pages from {origin[:256]!r} are not answered", status=403)
    if headers.get("sec-fetch-site", "none").lower() not in _OWN_PAGES:
        text = "requests of other sites' pages are not answered; type the address, or open it from a bookmark"
        raise ApiError("AccessDenied", text, status=403)


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
        raise _no_fault("it is not a JSON object", known)
    if unknown := [name for name in given if name not in known]:
        raise _no_fault(f"it has no attribute {unknown[0][:256]!r}", known)
    if "kind" not in given:
        raise _no_fault("it has no kind", known)
    try:
        return Fault(**given)
    except InvalidInputError as error:
        raise _no_fault(error.message, known) from error


def _no_fault(reason: str, known: list[str]) -> ApiError:
    return ApiError("ValidationException", f"that is not a fault: {reason}; its attributes are {', '.join(known)}")


def _missing(request: web.BaseRequest) -> web.Response:
    return _said(404, f"there is no {request.method} {request.path[:256]}")


def _json(status: int, content: Any) -> web.Response:
    return web.Response(status=status, body=json.dumps(content, default=str).encode(), content_type="application/json")


def _said(status: int, message: str) -> web.Response:
    return _json(status, {"message": message})
