"""UploadConnections: bodies arrive unchanged, and failures raise the exceptions of botocore's own session."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.aws.s3 import upload_connections
from mme_sdk.aws.s3.upload_connections import UploadConnections
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import AccessDeniedError, InvalidInputError, NotSentError, OutcomeUnknownError
from mme_sdk.registry.operations.upload import Slice

BODY = bytes(range(256)) * 10_000


class Server(http.server.ThreadingHTTPServer):
    """Records requests, and fails in the way that a test sets."""

    daemon_threads = True
    behaviour: Callable[[Any], bool] = staticmethod(lambda handler: False)

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0
        super().__init__(("127.0.0.1", 0), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def process_request(self, *args: Any) -> None:
        self.connections += 1
        super().process_request(*args)

    def handle_error(self, *args: Any) -> None:
        """Ignore closed connections."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_PUT(self) -> None:
        if self.server.behaviour(self):
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@contextlib.contextmanager
def aws_at(url: str, attempts: int = 1) -> Iterator[Aws]:
    session = boto3.Session("local", "secret", region_name="us-east-1")
    timeouts = Timeouts(connect=5, read=0.5)
    aws = Aws(session=session, endpoint_url=url, timeouts=timeouts, retry=RetryPolicy(fault_attempts=attempts))
    try:
        yield aws
    finally:
        aws.close()


def put(aws: Aws, body: Any = BODY) -> Any:
    digest = hashlib.sha256(body if isinstance(body, bytes) else body.getvalue()).digest()
    params = {"Bucket": "bucket", "Key": "a b/é", "Body": body, "ChecksumSHA256": base64.b64encode(digest).decode()}
    return aws.call(Call(service="s3", operation="put_object", params=params))


def url_of(server: Server, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_address[1]}"


def test_what_arrives_is_what_was_given(server: Server) -> None:
    with aws_at(url_of(server)) as aws:
        assert isinstance(aws.client("s3")._endpoint.http_session, UploadConnections)
        for body in (BODY, io.BytesIO(BODY), b"x"):
            assert put(aws, body)["ETag"] == '"1"'
    assert [body for _, body in server.requests] == [BODY, BODY, b"x"]
    headers = server.requests[1][0]
    assert "expect" not in headers
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    signed = headers["authorization"].partition("SignedHeaders=")[2]
    assert any(name.startswith("x-amz-checksum-") for name in signed.partition(",")[0].split(";"))
    assert server.connections == 1


@pytest.mark.parametrize("size", [10_000, 3_000_000])
def test_a_file_that_becomes_shorter_is_not_uploaded(server: Server, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    with aws_at(url_of(server)) as aws, path.open("r+b") as file:
        whole = Slice(file.fileno(), 0, size)
        digest = base64.b64encode(hashlib.sha256(bytes(size)).digest()).decode()
        params = {"Bucket": "b", "Metadata": {"a": "1"}, "ChecksumSHA256": digest, "Body": whole}
        for number in range(2):  # botocore signs the first request only
            aws.call(Call(service="s3", operation="put_object", params={"Key": f"k{number}", **params}))
        assert [content for _, content in server.requests] == [bytes(size)] * 2
        os.ftruncate(file.fileno(), size // 2)
        with pytest.raises(InvalidInputError, match="became shorter"):
            aws.call(Call(service="s3", operation="put_object", params={"Key": "k3", **params}))
    complete = [content for _, content in server.requests if len(content) == size]
    assert len(complete) == 2, "the server may have read a part of the third one"


def test_a_connection_closed_while_idle_costs_nothing(server: Server) -> None:
    def once(handler: Any) -> bool:
        handler.close_connection = True  # without a Connection header
        return False

    server.behaviour = once
    with aws_at(url_of(server)) as aws:
        for _ in range(3):
            put(aws, io.BytesIO(BODY))
    assert [body for _, body in server.requests] == [BODY] * 3
    assert server.connections == 3


def test_a_refusal_before_the_end_of_the_body_is_heard(server: Server) -> None:
    def refuse(handler: Any) -> bool:
        said = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
        handler.wfile.write(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(said) + said
        )
        handler.close_connection = True
        handler.rfile.read(int(handler.headers["Content-Length"]))  # closing with unread bytes would lose the response
        return True

    server.behaviour = refuse
    with aws_at(url_of(server)) as aws, pytest.raises(AccessDeniedError, match="No"):
        put(aws)


def test_silence_is_an_unknown_outcome_and_a_new_try_sends_all_of_it(server: Server) -> None:
    count = 0

    def silent(handler: Any) -> bool:
        nonlocal count
        count += 1
        if count == 1:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.connection.shutdown(socket.SHUT_WR)
            handler.close_connection = True
            return True
        return False

    server.behaviour = silent
    with aws_at(url_of(server)) as aws, pytest.raises(OutcomeUnknownError):
        put(aws, io.BytesIO(BODY))
    count = 0
    with aws_at(url_of(server), attempts=2) as aws:
        put(aws, io.BytesIO(BODY))
    assert server.requests[0][1] == BODY


def test_a_slow_answer_is_an_unknown_outcome(server: Server) -> None:
    release = threading.Event()

    def slow(handler: Any) -> bool:
        release.wait(5)
        handler.close_connection = True
        return True

    server.behaviour = slow
    with aws_at(url_of(server)) as aws:
        with pytest.raises(OutcomeUnknownError):
            put(aws)
        release.set()


def test_nobody_there_is_not_sent() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with aws_at(f"http://127.0.0.1:{port}") as aws, pytest.raises(NotSentError):
            put(aws)


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(context) as server:
        with aws_at(url_of(server, "https")) as aws, pytest.raises(NotSentError):
            put(aws)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        with aws_at(url_of(server, "https")) as aws:
            assert isinstance(aws.client("s3")._endpoint.http_session, UploadConnections)
            put(aws, io.BytesIO(BODY))
    assert server.requests[0][1] == BODY


def test_proxies_and_other_services_stay_with_botocore(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with aws_at(url_of(server)) as aws:
        assert not isinstance(aws.client("sagemaker")._endpoint.http_session, UploadConnections)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with aws_at("http://s3.example.com") as aws:
        assert not isinstance(aws.client("s3")._endpoint.http_session, UploadConnections)


def test_idle_connections_are_used_by_place_and_not_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(upload_connections, "time", SimpleNamespace(monotonic=lambda: now))
    uploads = UploadConnections(None, context=None, connect_timeout=1, read_timeout=1)
    here, there = ("http", "here"), ("http", "there")
    first, second, third, fourth = (uploads._connection(place) for place in (here, there, there, here))
    for connection, place in ((first, here), (second, there), (third, there), (fourth, here)):
        uploads._idle.append((now, place, connection))
        now += 1
    assert uploads._take(("http", "elsewhere")) is None
    assert [one[2] for one in uploads._idle] == [first, second, third, fourth]
    assert uploads._take(there) is third
    assert uploads._take(here) is fourth
    now += 0.5  # the first one is idle for more than 4 s
    assert uploads._take(here) is None
    assert [one[2] for one in uploads._idle] == [second]
    assert uploads._take(there) is second
