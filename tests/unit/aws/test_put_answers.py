"""The head of a PUT request, and its answer: http.client reads the same from it."""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import Any

import boto3
import pytest

from mme_sdk.aws import Aws
from mme_sdk.aws.s3.answers import read_answer, request_head

ANSWERS = {
    "plain": b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 3\r\n\r\nabc',
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX:\r\n\r\n",
    "closes": b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\na",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "until the end": b"HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\nabc",
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    "twice": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "twice and different": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 1\r\n\r\nabc",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\na",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na",
    "latin": b"HTTP/1.1 200 OK\r\nA: \xe9\r\nContent-Length: 1\r\n\r\na",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "cut off in the head": b"HTTP/1.1 200 OK\r\nContent-Len",
    "nothing": b"",
    "no HTTP": b"SSH-2.0\r\n\r\n",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
}


def read(data: bytes, how: Any, pieces: int = 1) -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        size = max(-(-len(data) // pieces), 1)
        theirs.sendall(data[:size])
        if pieces == 1:
            theirs.shutdown(socket.SHUT_WR)
            return how(ours)
        whole = ours.makefile

        class Slow:
            """Hands over one piece for each read."""

            def makefile(self, _mode: str) -> Any:
                theirs.sendall(data[size:])
                theirs.shutdown(socket.SHUT_WR)
                return whole("rb", buffering=size)

        return how(Slow())


def by_http_client(sock: Any) -> Any:
    answer = http.client.HTTPResponse(sock, method="PUT")
    answer.begin()
    content = answer.read()
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, content, answer.will_close


def by_us(sock: Any) -> Any:
    answer = read_answer(sock)
    return answer.status, dict(answer.headers), answer.content, answer.closes


@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("name", list(ANSWERS))
def test_an_answer_is_what_http_client_reads(name: str, pieces: int) -> None:
    try:
        expected = read(ANSWERS[name], by_http_client)
    except http.client.HTTPException as error:
        with pytest.raises(type(error)):
            read(ANSWERS[name], by_us, pieces)
    else:
        assert read(ANSWERS[name], by_us, pieces) == expected


@pytest.mark.parametrize("name", ["nothing", "no HTTP", "cut off in the head", "chunked"])
def test_an_answer_is_closed_before_its_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise Python complains on stderr when it closes an abandoned answer later."""
    closed: list[bool] = []

    class Noted(http.client.HTTPResponse):
        def close(self) -> None:
            closed.append(self.fp is not None and files[-1].closed)
            super().close()

    class Sock:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def makefile(self, _mode: str) -> Any:
            files.append(self.sock.makefile("rb"))
            return files[-1]

    files: list[Any] = []
    monkeypatch.setattr(http.client, "HTTPResponse", Noted)
    with contextlib.suppress(http.client.HTTPException):
        read(ANSWERS[name], lambda sock: by_us(Sock(sock)))
    assert closed == [False]
    assert files[0].closed


def test_the_head_of_a_request() -> None:
    head = request_head("PUT", "/b/a%20b?x=1", "s3", {"A": "b", "Expect": "100-continue", "C": b"\xe9"})
    assert head == b"PUT /b/a%20b?x=1 HTTP/1.1\r\nHost: s3\r\nA: b\r\nC: \xe9\r\n\r\n"
    assert request_head("PUT", "/", "s3", {"host": "other"}).count(b"ost:") == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a b", {}), ("/a\r\nX: y", {}), ("/", {"A": "b\r\nC: d"}), ("/", {"A": "b\nC"}), ("/", {"A\r\nB": "c"})],
)
def test_a_head_that_would_be_two(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"blank|line end"):
        request_head("PUT", path, "s3", headers)


@pytest.mark.parametrize(
    ("url", "signs"),
    [
        ("http://127.0.0.1:8333", False),
        ("http://localhost:8333", False),
        ("http://[::1]:8333", False),
        ("https://s3.example.com", False),
        ("http://s3.example.com", True),
        ("http://localhost.example.com", True),
        ("http://127.example.com", True),
        ("http://10.0.0.1:9000", True),
    ],
)
def test_bodies_are_signed_where_others_can_change_them(url: str, signs: bool) -> None:
    aws = Aws(session=boto3.Session("a", "b", region_name="us-east-1"), endpoint_url={"s3": url})
    try:
        settings = aws.client("s3").meta.config.s3
        assert settings.get("payload_signing_enabled", True) is signs
    finally:
        aws.close()
