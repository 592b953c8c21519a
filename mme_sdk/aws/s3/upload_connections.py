"""Send the PUT requests of an S3 client over separate connections. botocore prepares, signs and parses them.

botocore waits for `100 Continue` before each body (one round trip), and writes a body in blocks of 16 kB. This module
does neither. Requests with a proxy, a client certificate, unverified TLS or another method stay with botocore.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from mme_sdk._flows.cancellation import hold
from mme_sdk.aws.s3.answers import Answer, read_answer, request_head
from mme_sdk.aws.s3.repeated_puts import RepeatedPuts

__all__ = ["UploadConnections", "install"]

_BLOCK = 1 << 20  # bytes in one write
_SMALL = 1 << 16  # bytes; a smaller body is sent in the same write as the headers
_IDLE = 4.0  # seconds; an older idle connection is not reused, because S3 may have closed it

_Connection: TypeAlias = http.client.HTTPConnection
_Idle: TypeAlias = tuple[float, tuple[str, str], _Connection]  # idle since, scheme and host, connection


class UploadConnections:
    """An HTTP session for botocore that sends PUT requests itself and passes other requests to the client's session.

    Args:
        session: HTTP session of the client.
        context: TLS settings; None for a client that uses HTTP.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for data of a response.
    """

    def __init__(
        self, session: Any, *, context: ssl.SSLContext | None, connect_timeout: float, read_timeout: float
    ) -> None:
        self._session = session
        self._context = context
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self.puts: RepeatedPuts | None = None
        self._start()

    def _start(self) -> None:
        self._idle: deque[_Idle] = deque()
        weakref.finalize(self, _close_all, self._idle)  # also if the process ends without close()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def send(self, request: Any) -> Any:
        """Send a prepared request and return botocore's response object.

        Raises:
            HTTPClientError: The exceptions of botocore's own session.
        """
        if request.method != "PUT" or not request.body or "Transfer-Encoding" in request.headers:
            return self._session.send(request)
        if self.puts is not None:
            self.puts.saw(request)
        return self.exchange(request).for_botocore(request.url)

    def exchange(self, request: Any) -> Answer:
        """Send a signed PUT request with a body, as `send` does, and return the answer without botocore's classes."""
        from botocore import exceptions as bc

        parts = urlsplit(request.url)
        place = (parts.scheme, parts.netloc)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        head = request_head("PUT", path, parts.netloc, request.headers)
        connection = self._take(place)
        reused = connection is not None
        try:
            if connection is None:
                connection = self._connect(place, request.url)
            try:
                return self._exchange(connection, place, head, request.body)
            except (http.client.RemoteDisconnected, ConnectionError):
                if not reused:
                    raise
            self.close_idle()  # S3 closed it while it was idle, and maybe others; repeat with a new connection
            if hasattr(request.body, "seek"):
                request.body.seek(0)
            return self._exchange(self._connect(place, request.url), place, head, request.body)
        except bc.BotoCoreError:
            raise  # from connecting; some of these are OSErrors, too
        except TimeoutError as error:
            raise bc.ReadTimeoutError(endpoint_url=request.url, error=error) from error
        except (http.client.HTTPException, OSError) as error:
            raise bc.ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from error

    def _connect(self, place: tuple[str, str], url: str) -> _Connection:
        from botocore import exceptions as bc

        connection = self._connection(place)
        try:
            connection.connect()
        except TimeoutError as error:
            raise bc.ConnectTimeoutError(endpoint_url=url, error=error) from error
        except ssl.SSLError as error:
            raise bc.SSLError(endpoint_url=url, error=error) from error
        except OSError as error:
            raise bc.EndpointConnectionError(endpoint_url=url, error=error) from error
        connection.sock.settimeout(self._read_timeout)
        return connection

    def _exchange(self, connection: _Connection, place: tuple[str, str], head: bytes, body: Any) -> Answer:
        broken: OSError | None = None
        try:
            hold(connection.sock)
            try:
                _send(connection.sock, head, body)
            except ConnectionError as error:
                broken = error  # a server that refuses early may close before the end of the body; read its response
            answer = read_answer(connection.sock)
        except BaseException:
            connection.close()
            raise
        if broken is not None or answer.closes:
            connection.close()
        else:
            with self._lock:
                self._idle.append((time.monotonic(), place, connection))
        return answer

    def _connection(self, place: tuple[str, str]) -> _Connection:
        scheme, netloc = place
        if scheme == "https":
            return http.client.HTTPSConnection(netloc, timeout=self._connect_timeout, context=self._context)
        return http.client.HTTPConnection(netloc, timeout=self._connect_timeout)

    def _take(self, place: tuple[str, str]) -> _Connection | None:
        if self._pid != os.getpid():
            # After a fork, the parent still uses these sockets.
            self._start()
        oldest = time.monotonic() - _IDLE
        old: list[_Connection] = []
        others: list[_Idle] = []
        found = None
        with self._lock:
            idle = self._idle  # in the order of their last use
            while idle and idle[0][0] < oldest:
                old.append(idle.popleft()[2])
            while idle and found is None:
                since, where, connection = idle.pop()
                if where == place:
                    found = connection
                else:
                    others.append((since, where, connection))
            idle.extend(reversed(others))
        for connection in old:
            connection.close()
        return found

    def close_idle(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle = deque(self._idle)
            self._idle.clear()
        _close_all(idle)

    def close(self) -> None:
        """Close all connections, including those of the session."""
        self.close_idle()
        self._session.close()


def _close_all(idle: deque[_Idle]) -> None:
    while True:
        try:
            _, _, connection = idle.pop()
        except IndexError:
            return
        connection.close()


def _send(sock: Any, head: bytes, body: Any) -> None:
    """Send a request. The body is a file object or bytes; it is sent in blocks, without a copy of the whole."""
    if isinstance(body, (bytes, bytearray)):
        blocks: Iterator[Any] = (memoryview(body)[at : at + _BLOCK] for at in range(0, len(body), _BLOCK))
    elif isinstance(body, str):
        blocks = iter((body.encode("latin-1"),))
    else:
        blocks = iter(partial(body.read, _BLOCK), b"")
    first = next(blocks, b"")
    if len(first) <= _SMALL:
        sock.sendall(head + first)
    else:
        sock.sendall(head)
        sock.sendall(first)
    for block in blocks:
        sock.sendall(block)


def _sign_payloads(client: Any) -> None:
    """Let a client sign bodies if others can change them on the way: over HTTP, except on this machine."""
    parts = urlsplit(client.meta.endpoint_url)
    settings = client.meta.config.s3
    if settings and parts.scheme == "http" and not _is_this_machine(parts.hostname or ""):
        settings.pop("payload_signing_enabled", None)  # botocore signs bodies over HTTP


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def install(client: Any, *, connect_timeout: float, read_timeout: float) -> None:
    """Replace the HTTP session of an S3 client by `UploadConnections`, unless its settings need botocore's session.

    Args:
        client: A boto3 client of S3.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for data of a response.
    """
    from botocore.httpsession import get_cert_path

    _sign_payloads(client)
    try:
        session = client._endpoint.http_session
        verify, proxied = session._verify, session._proxy_config.proxy_url_for(client.meta.endpoint_url)
        needs_botocore = verify is False or proxied or session._cert_file or session._key_file
    except AttributeError:
        return  # an unknown version of botocore: it sends the requests itself
    if needs_botocore:
        return
    context = None
    if client.meta.endpoint_url.startswith("https:"):
        path = str(get_cert_path(True if verify is None else verify))
        folder = os.path.isdir(path)  # noqa: PTH112 - botocore returns a string
        context = ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
    uploads = UploadConnections(session, context=context, connect_timeout=connect_timeout, read_timeout=read_timeout)
    client._endpoint.http_session = uploads
    try:
        uploads.puts = RepeatedPuts(client, uploads.exchange)
    except AttributeError:
        return  # an unknown version of botocore: it builds all requests
    client.put_object = uploads.puts.put_object
