"""Reserved ports."""

from __future__ import annotations

import contextlib
import errno
import socket

import pytest

from mme_sdk.local.ports import reserve


def test_no_other_program_can_take_a_free_port_before_it_is_listened_on() -> None:
    with reserve(0) as reserved, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a program that shares it until one listens
        with pytest.raises(OSError, match="in use") as caught:
            other.bind(("127.0.0.1", reserved.getsockname()[1]))
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_port_is_taken_again_while_old_connections_are_open_or_end(restarts: int) -> None:
    with contextlib.ExitStack() as opened:
        port = 0
        for _ in range(restarts):
            with reserve(port) as server:
                server.listen()
                port = server.getsockname()[1]
                for ends in (True, False):
                    client = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
                    connection = opened.enter_context(server.accept()[0])
                    if ends:
                        connection.close()  # the side that closes first keeps the port for a minute
                        assert client.recv(1) == b""
        with reserve(port) as reserved:
            assert reserved.getsockname()[1] == port


def test_a_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError, match="in use"):
        reserve(server.getsockname()[1])
