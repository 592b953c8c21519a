"""What is not AWS's under the host's address, all below `/_mme`: the status page, and the fault API.

- `GET /_mme/`: a page that updates itself.
- `GET /_mme/status`: the same as JSON.
- `GET /_mme/faults`: the faults in force, with how often they struck.
- `POST /_mme/faults` with the attributes of a `Fault` as JSON: put one in force; answers its id.
- `DELETE /_mme/faults/{id}`, `DELETE /_mme/faults`: lift one, lift all.

It is for people and tests on this machine: requests need no signature, but must be addressed to the loopback interface
(so that no name can be rebound to it), and changes must be JSON (which no other site's page can send unasked).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import attrs
from aiohttp import web

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.faults import Fault, Faults

__all__ = ["Backdoor"]

_ROOT = "/_mme"
_LOOPBACK = ("127.0.0.1", "localhost")


class Backdoor:
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

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        host = (request.host or "").rpartition(":")[0] or request.host
        if host not in _LOOPBACK:
            return _said(403, f"ask for {_LOOPBACK[0]}, not {host!r}")
        if request.path in ("/", _ROOT):
            return web.Response(status=302, headers={"Location": _ROOT + "/"})
        match request.method, request.path.removeprefix(_ROOT).strip("/").split("/"):
            case "GET", [""]:
                page = files("mme_sdk.local").joinpath("status.html").read_bytes()
                return web.Response(body=page, content_type="text/html", charset="utf-8")
            case "GET", ["status"]:
                return _json(200, self._status())
            case "GET", ["faults"]:
                return _json(200, self._faults.list())
            case "POST", ["faults"]:
                return await self._add(request)
            case "DELETE", ["faults"]:
                self._faults.clear()
                return _json(200, {})
            case "DELETE", ["faults", fault_id]:
                self._faults.remove(fault_id)
                return _json(200, {})
            case _:
                return _said(404, f"there is no {request.method} {request.path}")

    async def _add(self, request: web.BaseRequest) -> web.Response:
        if request.content_type != "application/json":
            return _said(415, "send the fault as application/json")
        try:
            given = json.loads(await request.read())
            fault = Fault(**given)
        except (ValueError, TypeError) as error:
            message = error.message if isinstance(error, InvalidInputError) else str(error)
            known = ", ".join(one.name for one in attrs.fields(Fault))
            return _said(400, f"that is no fault: {message}; its attributes are {known}")
        return _json(200, {"id": self._faults.add(fault)})


def _json(status: int, content: Any) -> web.Response:
    return web.Response(status=status, body=json.dumps(content, default=str).encode(), content_type="application/json")


def _said(status: int, message: str) -> web.Response:
    return _json(status, {"message": message})
