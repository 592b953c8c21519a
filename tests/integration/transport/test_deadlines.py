"""One deadline bounds every step of a call. Each server or provider here would delay a call by ten minutes or more."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from mme_sdk.aws import Aws
from mme_sdk.errors import (
    ConfigurationError,
    ModelNotReadyError,
    NotSentError,
    OutcomeUnknownError,
    TransportError,
    UndecodableReplyError,
)
from mme_sdk.runtime import AsyncRuntimeInvoker, InvokeOptions, RuntimeInvoker
from mme_sdk.runtime.transport import make_async_transport, make_transport
from tests.integration.transport.test_behaviour import REQUEST, to
from tests.integration.transport.test_pools import POOLS, Built, route_to
from tests.support.gates import Gate
from tests.support.transport.answers import CHUNKED, OK
from tests.support.transport.behaviours import BIG
from tests.support.transport.fixtures import TRANSPORTS, Driver, aws_at, runner_of
from tests.support.transport.raw_server import RawServer, one_by_one
from tests.support.transport.server import REGION

HELD = 600.0  # seconds that a call without a deadline would take
SOON = 200.0  # seconds; what ends by a deadline of one ends before, however busy the machine


@contextlib.contextmanager
def ends_soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


@pytest.fixture
def pause() -> Iterator[threading.Event]:
    """Set at the end, so that nothing goes on waiting."""
    event = threading.Event()
    yield event
    event.set()


DRIPS = {
    "head": [OK, *(b"X" for _ in range(6000))],
    "value": [OK + b"X: ", *(b"x" for _ in range(6000))],
    "body": [OK + b"Content-Length: 6000\r\n\r\n", *(b"x" for _ in range(6000))],
    "chunks": [CHUNKED, *(b"1\r\nx\r\n" for _ in range(6000))],
    "until the end": [OK + b"\r\n", *(b"x" for _ in range(6000))],
    "interim": [b"HTTP/1.1 103 X\r\n\r\n" for _ in range(6000)],
}


@pytest.mark.parametrize("where", DRIPS)
def test_a_server_that_sends_slowly(kind: str, where: str, pause: threading.Event) -> None:
    """Each byte comes within every time-out of a single read."""
    with RawServer(answer=one_by_one(DRIPS[where], pause, 0.1)) as server, ends_soon():
        driver = Driver(kind, aws_at(server.url))
        driver.ready()
        with pytest.raises(OutcomeUnknownError) as caught:
            driver.send_within(REQUEST, 0.7)
        if where != "interim" or not kind.startswith("botocore"):
            assert "timed out" in str(caught.value)
        pause.set()
        driver.close()


def test_a_slow_response_does_not_count_as_a_loading_model(kind: str, pause: threading.Event) -> None:
    """Nor is garbage. A server that says nothing at all is the sign of a load."""
    for deadline in (0.7, 7.0, 70.0):  # a busy machine may not even read the head within the first one
        held = threading.Event()
        with RawServer(answer=one_by_one(DRIPS["body"], held, 0.1)) as server, ends_soon():
            with pytest.raises((OutcomeUnknownError, ModelNotReadyError)) as caught:
                invoke(kind, server.url, deadline=deadline)
            held.set()
        if caught.type is OutcomeUnknownError:
            break
    assert caught.type is OutcomeUnknownError
    pause.set()
    # http.client takes the length for one, and waits for the body.
    closes = kind.startswith("botocore")
    with RawServer(OK + b"Content-Length: +36\r\n\r\n" + b"x" * 36, closes=closes) as server, ends_soon():
        with pytest.raises(OutcomeUnknownError):
            invoke(kind, server.url, deadline=HELD)
        assert server.requests == 1
    with RawServer(answer=lambda _: pause.wait(0.01)) as server, ends_soon(), pytest.raises(ModelNotReadyError):
        invoke(kind, server.url, deadline=0.7)


def invoke(kind: str, url: str, *, deadline: float, aws: Aws | None = None) -> Any:
    ready = aws is None  # imports and the making of a client are not what is tried
    choice = kind.partition("-")[0]
    aws = aws or aws_at(url)
    runner = runner_of(kind)
    try:
        if runner is None:
            with contextlib.closing(make_transport(aws, choice)) as transport:
                if ready:
                    transport.resolve()
                invoker = RuntimeInvoker(aws, transport)
                return invoker.invoke("echo", b"1", model="m.tar.gz", options=InvokeOptions(deadline=deadline))

        async def main() -> Any:
            transport = make_async_transport(aws, choice)
            try:
                if ready:
                    await transport.resolve()
                return await AsyncRuntimeInvoker(aws, transport).invoke(
                    "echo", b"1", model="m.tar.gz", options=InvokeOptions(deadline=deadline)
                )
            finally:
                await transport.close()

        return runner.run(main())
    finally:
        if runner is not None:
            runner.close()
        aws.close()


def test_a_chunked_response_is_decoded(kind: str) -> None:
    """The request asks for `identity`; the bytes of the archive are kept, and the model is not run again."""
    body = gzip.compress(b'{"a": 1}')
    head = OK + b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    with RawServer(head % len(body) + body) as server:
        with pytest.raises(UndecodableReplyError, match="gzip") as caught:
            invoke(kind, server.url, deadline=HELD)
        assert (caught.value.body, server.requests) == (body, 1)


def test_a_large_upload_to_a_server_that_stops_reading(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, ends_soon():
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        driver = Driver(kind, aws_at(f"http://127.0.0.1:{deaf.getsockname()[1]}"))
        driver.ready()
        with pytest.raises(TransportError, match=r"timed out|not sent within"):
            driver.send(to("echo", body=BIG * 2), read_timeout=0.5)
        driver.close()


def test_a_tls_handshake_that_never_ends(kind: str, authority: trustme.CA, monkeypatch: Any, tmp_path: Any) -> None:
    """A server that takes the connection and says nothing."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with socket.create_server(("127.0.0.1", 0)) as mute, ends_soon():
        driver = Driver(kind, aws_at(f"https://localhost:{mute.getsockname()[1]}"))
        driver.ready()
        with pytest.raises(TransportError):
            driver.send(REQUEST, connect_timeout=0.5, read_timeout=0.7)
        driver.close()


def test_a_tls_handshake_that_is_slow(
    kind: str, authority: trustme.CA, monkeypatch: Any, tmp_path: Any, pause: threading.Event
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                arrived, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(arrived, answer, server_side=True)
                arrived.write(connection.recv(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                for byte in answer.read():
                    connection.sendall(bytes([byte]))
                    if pause.wait(0.1):
                        return

    with socket.create_server(("127.0.0.1", 0)) as listener, ends_soon():
        thread = threading.Thread(target=serve)
        thread.start()
        driver = Driver(kind, aws_at(f"https://localhost:{listener.getsockname()[1]}"))
        driver.ready()
        with pytest.raises(TransportError):
            driver.send(REQUEST, connect_timeout=0.7, read_timeout=0.7)
        pause.set()
        thread.join()
        driver.close()


@pytest.mark.parametrize("kind", POOLS)
def test_connecting_and_reading_share_one_time_out(kind: str, pause: threading.Event) -> None:
    """The connect time-out is longer than the rest of the time."""
    with socket.socket() as full, contextlib.ExitStack() as stack, ends_soon():
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        driver = Driver(kind, aws_at(f"http://127.0.0.1:{full.getsockname()[1]}"))
        driver.ready()
        with pytest.raises(NotSentError, match="timed out") as caught:
            driver.send(REQUEST, connect_timeout=HELD, read_timeout=0.5)
        assert f"{HELD:g}" not in str(caught.value)
        driver.close()


def test_a_name_look_up_that_hangs(kind: str, monkeypatch: pytest.MonkeyPatch, pause: threading.Event) -> None:
    real, asked = socket.getaddrinfo, []

    def hangs(host: Any, *arguments: Any, **named: Any) -> Any:
        if host != "slow.test":
            return real(host, *arguments, **named)
        asked.append(host)
        pause.wait(HELD)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    driver = Driver(kind, aws_at("http://slow.test:1"))
    driver.ready()
    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    with ends_soon():
        for _ in range(3):
            with pytest.raises(TransportError) as caught:
                driver.send(REQUEST, connect_timeout=HELD, read_timeout=0.5)
            assert f"{HELD:g}" not in str(caught.value)
    if kind in POOLS:
        assert len(asked) == 1  # calls that come meanwhile wait for the same look-up
    pause.set()
    driver.close()


def test_a_first_call_with_a_slow_credential_provider(kind: str, monkeypatch: Any, tmp_path: Any) -> None:
    config = tmp_path / "config"
    gate = Gate(tmp_path / "gate")
    helper = f"{sys.executable} -c 'open(\"{gate}\").read()'"
    config.write_text(f"[default]\nregion = {REGION}\ncredential_process = {helper}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with ends_soon(), pytest.raises(NotSentError):
        invoke(kind, "", deadline=0.5, aws=Aws(endpoint_url="http://127.0.0.1:1"))
    gate.open()


@pytest.mark.parametrize("kind", POOLS)
def test_a_hanging_refresh_of_credentials_runs_once(kind: str, pause: threading.Event) -> None:
    asked: list[int] = []

    def keys() -> Any:
        asked.append(1)
        pause.wait(HELD)
        raise ConfigurationError("no answer")

    with RawServer() as server, ends_soon():
        driver = Built(kind, route_to(server, keys=keys, refreshes=True))  # type: ignore[arg-type]
        for _ in range(3):
            with pytest.raises(NotSentError, match="credentials"):
                driver.send(REQUEST, read_timeout=0.3)
        assert (len(asked), server.requests) == (1, 0)
        pause.set()
        driver.close()


def test_a_first_call_does_not_wait_for_its_set_up(kind: str, pause: threading.Event) -> None:
    with RawServer(OK + b"Content-Length: 2\r\n\r\nok") as server, ends_soon():
        driver = Driver(kind, aws_at(server.url))
        select = driver.transport._selecting._work

        def slow() -> Any:
            pause.wait(HELD)
            return select()

        driver.transport._selecting._work = slow
        for _ in range(2):
            with pytest.raises(NotSentError, match="not ready"):
                driver.send(REQUEST, read_timeout=0.3)
        pause.set()
        assert driver.send(REQUEST, read_timeout=HELD).body == b"ok"  # the set-up continued, and ran once
        driver.close()


def test_a_half_open_connection(kind: str, pause: threading.Event) -> None:
    """The server answers once, and is gone the second time without closing."""
    turns = iter([True])

    def answer(connection: socket.socket) -> None:
        if next(turns, False):
            connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")
        else:
            pause.wait(HELD)

    with RawServer(answer=answer) as server, ends_soon():
        driver = Driver(kind, aws_at(server.url))
        driver.ready()
        assert driver.send(REQUEST).body == b"ok"
        with pytest.raises(OutcomeUnknownError, match=r"timed out|Read timeout"):
            driver.send_within(REQUEST, 0.5)
        pause.set()
        driver.close()


def test_every_transport_is_tested() -> None:
    assert set(POOLS) < set(TRANSPORTS)
