"""Send requests as bytes that client libraries would not send."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TARGETS = {
    "sagemaker": "SageMaker",
    "monitoring": "GraniteServiceVersion20100801",
    "application-autoscaling": "AnyScaleFrontendService",
}


def signature(plane, method: str, path: str, body: bytes, headers: Mapping[str, str], service: str) -> dict[str, str]:
    """Return the headers with a signature."""
    given = {"Host": f"127.0.0.1:{plane.port}"} | dict(headers)
    request = AWSRequest(method=method, url=f"http://127.0.0.1:{plane.port}{path}", data=body, headers=given)
    keys = plane.credentials
    SigV4Auth(Credentials(keys.access_key, keys.secret_key), service, plane.region).add_auth(request)
    return dict(request.headers.items())


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def signed(
    plane,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/",
    service: str = "sagemaker",
    target: str | None = None,
    **headers: str,
) -> bytes:
    """Return the bytes of a signed request. `target` is an operation of the service's JSON protocol."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if target is not None:
        given |= {"X-Amz-Target": f"{TARGETS[service]}.{target}", "Content-Type": "application/x-amz-json-1.1"}
    given = signature(plane, method, path, body, given, service)
    return head(method, path, {"Content-Length": str(len(body))} | given) + body


class Link:
    """A connection to the host."""

    def __init__(self, plane, timeout: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", plane.port), timeout=timeout)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, sent: bytes) -> None:
        self.socket.sendall(sent)

    def answer(self, method: str = "POST") -> tuple[int, Mapping[str, str], bytes]:
        """Return the next response; status 0 if the host closed the connection."""
        response = http.client.HTTPResponse(self.socket, method=method)
        try:
            response.begin()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        except (ConnectionError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            response.close()


def ask(plane, sent: bytes, method: str = "POST") -> tuple[int, Mapping[str, str], Any]:
    """Send bytes on a new connection. Return the response, with decoded JSON."""
    with Link(plane) as link:
        with contextlib.suppress(ConnectionError):  # the host has answered already
            link.send(sent)
        status, headers, body = link.answer(method)
    is_json = "json" in headers.get("content-type", "") and body
    return status, headers, json.loads(body) if is_json else body


def alive(plane) -> None:
    """Check that the host answers a signed request."""
    status, _, models = ask(plane, signed(plane, b"{}", target="ListModels"))
    assert status == 200, (status, models)
    assert "Models" in models
