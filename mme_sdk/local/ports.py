"""TCP ports on the loopback interface that are reserved for a listener."""

from __future__ import annotations

import socket

__all__ = ["reserve"]


def reserve(port: int) -> socket.socket:
    """Return a socket that is bound to a port on 127.0.0.1 and does not listen yet.

    Args:
        port: The port; 0 takes a free one, which no other program can take before this one listens.

    Raises:
        OSError: The port is in use.
    """
    sock = socket.socket()
    try:
        # A given port may have connections of an earlier run that are not over. For port 0 the option must not be set:
        # with it, Linux can give one free port to two programs, and the second one that listens fails.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, port != 0)
        sock.bind(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock
