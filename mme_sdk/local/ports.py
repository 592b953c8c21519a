"""TCP ports on the loopback interface that are reserved for a listener."""

from __future__ import annotations

import socket

__all__ = ["reserve"]


class _FreePort(socket.socket):
    """A socket on a free port that sets SO_REUSEADDR when it listens.

    Set before, Linux can give the port to a second program, and the program that listens later fails. Not set at all,
    the port cannot be bound again while the connections of this socket end, because they inherit the option.
    """

    def listen(self, backlog: int = socket.SOMAXCONN, /) -> None:
        super().listen(backlog)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def reserve(port: int) -> socket.socket:
    """Return a socket that is bound to a port on 127.0.0.1 and does not listen yet.

    Args:
        port: The port; 0 takes a free one, which no other program can take before this one listens.

    Raises:
        OSError: The port is in use.
    """
    sock = socket.socket() if port else _FreePort()
    try:
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock
