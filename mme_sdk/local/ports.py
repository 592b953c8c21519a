"""TCP ports on the loopback interface that are reserved for a listener."""

from __future__ import annotations

import socket

__all__ = ["reserve"]


def reserve(port: int) -> socket.socket:
    """Return a socket that is bound to a port on 127.0.0.1.

    The socket listens if the port is a free one. Otherwise the caller must call `listen`.

    Args:
        port: The port; 0 takes a free one, which no other program can take.

    Raises:
        OSError: The port is in use.
    """
    sock = socket.socket()
    try:
        # With SO_REUSEADDR, Linux can give one free port to two programs that do not listen yet. The second one that
        # listens fails.
        if port == 0:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
        # The connections of this socket inherit the option. The next program can then bind the port while they end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port != 0:
            sock.bind(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock
