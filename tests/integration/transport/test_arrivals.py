"""Detect data, and the end of the stream, on an idle connection before it is used."""

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mme_sdk.runtime.transport.pool_base import arrival_check


class Reticent(socket.socket):
    """A socket of a system that does not tell what its buffers hold."""

    def getsockopt(self, *_: Any) -> Any:
        raise OSError("no such option")


@pytest.fixture(params=[socket.socket, Reticent])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, request.param(socket.AF_INET, socket.SOCK_STREAM) as ours:
        ours.connect(server.getsockname())
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


def wait(sock: socket.socket) -> None:
    assert select.select([sock], [], [], 10)[0]


def test_data_is_detected_until_it_is_read(pair):
    ours, theirs = pair
    arrived = arrival_check(ours)
    assert not arrived()
    theirs.sendall(b"1")
    wait(ours)
    assert arrived()
    ours.recv(10)
    assert not arrived()


def test_the_end_of_the_stream_is_detected(pair):
    ours, theirs = pair
    arrived = arrival_check(ours)
    theirs.close()
    wait(ours)
    assert arrived()


def test_the_end_of_the_stream_is_detected_after_the_last_data(pair):
    ours, theirs = pair
    arrived = arrival_check(ours)
    theirs.sendall(b"bye")
    theirs.close()
    assert ours.recv(10) == b"bye"
    wait(ours)
    assert arrived()
