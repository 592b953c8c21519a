"""Requests that hypothesis makes up: broken bytes, and well-formed requests whose members are not what they should be."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import cbor2
from hypothesis import strategies as st

from mme_sdk.local.wire import service_model

from .raw import TARGETS, Link, alive, ask, signed

SERVICES = {
    "sagemaker": "sagemaker",
    "cloudwatch": "monitoring",
    "application-autoscaling": "application-autoscaling",
    "sts": "sts",
}
"""Signing names by botocore's names."""

FORM = "application/x-www-form-urlencoded"
NAMES = st.sampled_from(["a", "b", "c", "endpoint/a/variant/A", "A", "SageMakerVariantInvocationsPerInstance"])
TEXT = st.text(max_size=20) | st.sampled_from(["", "\x00", "\r\n", "\ud800", "a" * 300, "s3://a/b", "../..", "é", "1"])
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0, -1, 2**31, 2**63, -(2**31) - 1, 10**400, 5e-324, 1e308, -0.0, math.nan, math.inf, -math.inf])
)
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMES = st.sampled_from([0, -62135596800, 253402300799, 1e18, -1e18, 1.5, "2030-01-01T00:00:00Z", "0001-01-01", "now"])


def claimed(plane) -> dict[str, list[str]]:
    """The operations that the host does not call unsupported, by botocore's name of the service."""
    found: dict[str, list[str]] = {}
    with Link(plane) as link:
        for service, scope in SERVICES.items():
            model = service_model(service)
            for name in model.operation_names:
                if scope in TARGETS:
                    link.send(signed(plane, b"[]", service=scope, target=name))
                else:
                    link.send(signed(plane, f"Action={name}".encode(), service=scope, Content_Type=FORM))
                if b"UnsupportedOperation" not in link.answer()[2]:
                    found.setdefault(service, []).append(name)
    return found


@st.composite
def member(draw, shape: Any, wrong: float, depth: int = 0) -> Any:
    """A value for a shape; with the chance `wrong` at each place, something else."""
    if draw(st.floats(0, 1)) < wrong:
        return draw(JUNK)
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        required = set(shape.required_members)
        chosen = [n for n in shape.members if n in required or (depth < 6 and draw(st.integers(0, 3)) == 0)]
        if wrong and draw(st.integers(0, 9)) == 0 and chosen:
            chosen.remove(draw(st.sampled_from(chosen)))
        return {name: draw(member(shape.members[name], wrong, depth + 1)) for name in chosen}
    if kind in ("list", "map"):
        low = min(limits.get("min", 0), 5)
        size = draw(st.integers(low, max(low, min(limits.get("max", 2), 2))))
        if kind == "list":
            return [draw(member(shape.member, wrong, depth + 1)) for _ in range(size)]
        keys = draw(st.lists(member(shape.key, 0, depth + 1), min_size=size, max_size=size))
        return {key: draw(member(shape.value, wrong, depth + 1)) for key in keys}
    if kind == "string":
        if shape.enum:
            return draw(st.sampled_from(shape.enum))
        if "arn" in (limits.get("pattern") or ""):
            return "arn:aws:iam::123456789012:role/SageMaker"
        return draw(NAMES)
    if kind in ("integer", "long", "float", "double"):
        low = max(limits.get("min", -10), -(2**31))
        high = min(limits.get("max", 10**6), 2**31 - 1)
        near = st.integers(int(low), int(high)) | st.sampled_from([low, high])
        return draw(near if kind in ("integer", "long") else near | st.floats(allow_nan=False, allow_infinity=False))
    if kind == "boolean":
        return draw(st.booleans())
    return draw(TIMES) if kind == "timestamp" else draw(NAMES)


@st.composite
def call(draw, operations: dict[str, list[str]]) -> tuple[str, str, str, bytes]:
    """Service, operation, protocol and body of a request that is well-formed but may make no sense."""
    service = draw(st.sampled_from(sorted(operations)))
    operation = draw(st.sampled_from(operations[service]))
    shape = service_model(service).operation_model(operation).input_shape
    wrong = draw(st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0]))
    params = {} if shape is None else draw(member(shape, wrong))
    known = service_model(service).metadata.get("protocols") or [service_model(service).metadata["protocol"]]
    protocol = draw(st.sampled_from(sorted(known)))
    match protocol:
        case "json":
            return service, operation, protocol, json.dumps(params).encode()
        case "smithy-rpc-v2-cbor":
            return service, operation, protocol, encoded(params)
        case _:
            fields = dict(flat(params, ""))
            return service, operation, "query", urlencode({"Action": operation} | fields, errors="replace").encode()


def encoded(value: Any) -> bytes:
    try:
        return cbor2.dumps(value)
    except (cbor2.CBOREncodeError, UnicodeEncodeError):  # half of a surrogate pair: sent as its bytes
        return cbor2.dumps(json.loads(json.dumps(value).replace("\\ud8", "\\u08")))


def flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    dot = f"{path}." if path else ""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flat(item, f"{dot}{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value, 1):
            yield from flat(item, f"{dot}member.{i}")
    else:
        yield path, "true" if value is True else "false" if value is False else str(value)[:3000]


def request_of(plane, made: tuple[str, str, str, bytes]) -> bytes:
    """A signed request of what `call` made."""
    service, operation, protocol, body = made
    scope = SERVICES[service]
    match protocol:
        case "json":
            return signed(plane, body, service=scope, target=operation)
        case "query":
            return signed(plane, body, service=scope, Content_Type=FORM)
        case _:
            path = f"/service/GraniteServiceVersion20100801/operation/{operation}"
            return signed(
                plane, body, path=path, service=scope, smithy_protocol="rpc-v2-cbor", Content_Type="application/cbor"
            )


PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\x00", b"\xff", b" ", b":", b"%", b"%0d%0a", b"//", b"..", b"\r\n\r\n", b"0\r\n\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n", b"Expect: 100-continue\r\n",
     b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Host: evil\r\n", b"X-Amz-Date: 1\r\n", b"Connection: close\r\n",
     b"Content-Encoding: gzip\r\n", b"Authorization: x\r\n", b"smithy-protocol: rpc-v2-cbor\r\n", b"HTTP/1.1", b"GET ",
     b"\xc3\xbc", b"/_mme/", b"/endpoints/a/invocations", b"x-amzn-sagemaker-target-model: \xe9\r\n", b"A" * 9000]
)  # fmt: skip


@st.composite
def broken(draw, request: bytes) -> bytes:
    """The bytes of a request with a few changes, in its head more often than in its body."""
    changed = bytearray(request)
    for _ in range(draw(st.integers(1, 4))):
        head = bytes(changed).find(b"\r\n\r\n")
        end = len(changed) if head < 0 or draw(st.integers(0, 4)) == 0 else head
        at = draw(st.integers(0, max(0, end)))
        lines = [i + 2 for i in range(len(changed) - 1) if changed[i : i + 2] == b"\r\n"]
        if lines and draw(st.booleans()):
            at = draw(st.sampled_from(lines))
        match draw(st.integers(0, 3)):
            case 0:
                changed[at:at] = draw(PIECES | st.binary(max_size=8))
            case 1:
                del changed[at : at + draw(st.integers(1, 30))]
            case 2:
                changed[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                changed[at:at] = changed[at : at + draw(st.integers(1, 200))]
    return bytes(changed)


@contextmanager
def no_errors_logged():
    """The host logs no error meanwhile: whatever it answers with 500 it logs."""
    logged: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage() + ("" if record.exc_info is None else f": {record.exc_info[1]!r}"))

    handler = Collect(logging.ERROR)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
    assert logged == []


def expect_sense(plane, request: bytes) -> int:
    """Send a well-formed request; the answer's status, which is never 500, and the host goes on."""
    with no_errors_logged():
        status, headers, body = ask(plane, request)
        assert status == 200 or 400 <= status < 500, (status, body)
        if "json" in headers["content-type"]:
            json.dumps(body, allow_nan=False)
        alive(plane)
    return status


def expect_no_crash(plane, sent: bytes) -> None:
    """Send any bytes, and nothing after them; the host hangs up or answers, never with 500, and goes on."""
    import contextlib
    import socket

    with no_errors_logged(), Link(plane) as link:
        with contextlib.suppress(ConnectionError):
            link.send(sent)
            link.socket.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionError):
            while chunk := link.socket.recv(65536):
                said += chunk
        assert b"HTTP/1.1 5" not in said, said
        assert b"access-control" not in said.lower()
        alive(plane)
