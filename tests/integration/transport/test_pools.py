"""The connection pools: connections, time-outs, threads, forks, clocks, credentials."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trustme

from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.errors import ConfigurationError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime.transport import PoolSettings, make_async_transport, make_transport
from mme_sdk.runtime.transport.async_pool import AsyncConnectionPool
from mme_sdk.runtime.transport.pool import ConnectionPool
from mme_sdk.runtime.transport_interface import InvokeRequest
from tests.integration.transport.test_behaviour import REQUEST, to
from tests.support.transport.behaviours import BEHAVIOURS, BIG
from tests.support.transport.fixtures import LONGER, Driver, aws_at, runner_of
from tests.support.transport.server import ACCESS, REGION, SECRET, TOKEN, LoopbackServer

POOLS = ["fast", "fast-async", "fast-uvloop"]
TIMES = {"connect_timeout": 60.0, "read_timeout": 60.0}  # no call here waits for a time-out


class Clock:
    """Time that a test moves."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest, server: LoopbackServer) -> Iterator[Driver]:
    made = Driver(request.param, aws_at(server.url))
    yield made
    made.close()


def route_to(server: LoopbackServer, **changes: Any) -> Route:
    keys = Keys(ACCESS, SECRET, TOKEN)
    known = Route(
        scheme="http",
        host="127.0.0.1",
        port=server.port,
        authority=f"127.0.0.1:{server.port}",
        prefix="",
        region=REGION,
        service="sagemaker",
        user_agent="mme_sdk/test",
        verify=True,
        ca_file=None,
        socket_options=(),
        keys=lambda: keys,
        refreshes=False,
    )
    return attrs.evolve(known, **changes)


class Built(Driver):
    """A connection pool with the route, clock and settings of a test."""

    def __init__(
        self, kind: str, route: Route, clock: Clock | None = None, settings: PoolSettings | None = None
    ) -> None:
        extra: dict[str, Any] = {"settings": settings} | ({"clock": clock} if clock else {})
        self.kind, self.aws = kind, aws_at("http://127.0.0.1:1")
        self.runner = runner_of(kind)
        if self.runner:
            self.transport = AsyncConnectionPool(lambda: route, **extra)
        else:
            self.transport = ConnectionPool(lambda: route, **extra)


def test_connections_are_kept_alive(pool: Driver, server: LoopbackServer) -> None:
    for endpoint in ["echo", "chunked", "trailers", "no-content", "hints", "continue", "big", "status-500"] * 3:
        pool.send(to(endpoint))
    assert server.connections == 1


@pytest.mark.parametrize("endpoint", ["asks-to-close", "http10", "until-close"])
def test_a_connection_that_ends_is_not_kept(pool: Driver, server: LoopbackServer, endpoint: str) -> None:
    for _ in range(3):
        assert pool.send(to(endpoint)).status == 200
    assert server.connections == 3


def test_a_connection_that_was_closed_while_idle_is_not_used(pool: Driver, server: LoopbackServer) -> None:
    for number in range(3):
        assert pool.send(to("closes-later")).body == b"bye"
        server.until_open(0)
        assert len(server.seen) == number + 1


def test_repeated_headers_are_joined(pool: Driver) -> None:
    assert pool.send(to("folded")).headers["x-twice"] == "a, b"


def test_the_rejection_of_a_large_body_is_read_although_the_connection_broke(pool: Driver) -> None:
    with Refusing() as refusing:
        driver = Built(pool.kind, route_to(refusing))  # type: ignore[arg-type]
        try:
            answer = driver.send(to("echo", body=BIG))
            assert answer.status == 413
        except NotSentError as error:
            # The system may throw the refusal away with the connection: then the request was not out whole.
            assert error.replay_safe  # noqa: PT017 - either end is right
        driver.close()


class Refusing:
    """Answers 413 after the head and closes, with the body unread."""

    def __enter__(self) -> Refusing:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def serve(self) -> None:
        connection, _ = self.sock.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        self.sock.close()


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("idle", [0.5, 5.0])
def test_a_request_is_resent_once_if_the_server_was_closing_an_idle_connection(
    kind: str, idle: float, server: LoopbackServer
) -> None:
    """Only after some idleness: a connection in steady use that breaks may have run the model."""
    clock = Clock()
    driver = Built(kind, route_to(server), clock)
    drops = iter([True, False])

    async def drop_once(seen: Any, writer: Any) -> bool:
        if next(drops):
            return False
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    server._behaviours["flaky"] = drop_once  # type: ignore[index]
    clock.now = time.time()
    driver.send(REQUEST)
    clock.now += idle
    if idle > 1:
        assert driver.send(to("flaky")).body == b"ok"
        assert [seen.endpoint for seen in server.seen] == ["echo", "flaky", "flaky"]
    else:
        with pytest.raises(OutcomeUnknownError):
            driver.send(to("flaky"))
        assert [seen.endpoint for seen in server.seen] == ["echo", "flaky"]
    driver.close()
    del server._behaviours["flaky"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", POOLS)
def test_old_connections_are_not_used_and_surplus_ones_are_closed(kind: str, server: LoopbackServer) -> None:
    clock = Clock(time.time())
    driver = Built(kind, route_to(server), clock, PoolSettings(idle_for=10.0))
    driver.send(REQUEST)
    clock.now += 11
    driver.send(REQUEST)
    assert server.connections == 2
    server.until_open(1)
    driver.close()
    server.until_open(0)
    driver = Built(kind, route_to(server), clock, PoolSettings(max_idle=0))
    driver.send(REQUEST)
    driver.send(REQUEST)
    assert server.connections == 4
    driver.close()


def test_a_server_that_drips_or_pours_does_not_outlive_the_time_out(pool: Driver, server: LoopbackServer) -> None:
    pool.ready()
    for endpoint in ("drips", "pours"):
        with pytest.raises(OutcomeUnknownError, match="timed out"):
            pool.send_within(to(endpoint), 0.2)
    assert pool.send(REQUEST).status == 200


def test_time_outs_are_per_call(pool: Driver) -> None:
    for seconds in (0.05, 0.06):
        pool.send(REQUEST)
        with pytest.raises(OutcomeUnknownError) as caught:
            pool.send_within(to("silent"), seconds)
        assert any(f"after {times * seconds:.3g} s" in str(caught.value) for times in LONGER)


@pytest.mark.parametrize("kind", POOLS)
def test_a_port_that_accepts_no_connection_times_out(kind: str) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        driver = Driver(kind, aws_at(f"http://127.0.0.1:{port}"))
        driver.ready()
        with pytest.raises(NotSentError, match="timed out"):
            driver.send(REQUEST, connect_timeout=0.2)
        driver.close()
        for filler in fillers:
            filler.close()


def test_no_such_host(kind: str) -> None:
    driver = Driver(kind, aws_at("http://no-such-host.invalid:1"))
    with pytest.raises(NotSentError):
        driver.send(REQUEST)
    driver.close()


def test_tls_with_a_private_authority(
    kind: str, tls_server: LoopbackServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    driver = Driver(kind, aws_at(tls_server.url))
    for body in (b"x", b"", BIG, b"x", b"y"):
        assert driver.send(to("echo", body=body)).body == body
    assert driver.send(to("chunked")).body == b"hello world"
    assert tls_server.connections == 1
    with pytest.raises(OutcomeUnknownError):
        driver.send(to("half-body"))
    with pytest.raises(OutcomeUnknownError):
        driver.send_within(to("silent"), 0.1)
    driver.close()
    # The certificate is for `localhost` and 127.0.0.1, and no other name.
    driver = Driver(kind, aws_at(tls_server.url.replace("localhost", "127.0.0.2")))
    with pytest.raises(NotSentError):
        driver.send(REQUEST)
    driver.close()


def test_an_untrusted_certificate_is_rejected(
    kind: str, tls_server: LoopbackServer, tmp_path: Any, monkeypatch: Any
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(other))
    driver = Driver(kind, aws_at(tls_server.url))
    with pytest.raises(NotSentError):
        driver.send(REQUEST)
    assert tls_server.seen == []
    driver.close()


def test_tls_with_a_plain_http_server(kind: str, server: LoopbackServer) -> None:
    driver = Driver(kind, aws_at(server.url.replace("http://", "https://")))
    with pytest.raises(NotSentError):
        driver.send(REQUEST)
    driver.close()


def test_ipv6(kind: str) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with LoopbackServer(BEHAVIOURS, host="::1") as server:
        driver = Driver(kind, aws_at(server.url))
        assert driver.send(REQUEST).body == REQUEST.body
        driver.close()


def test_addresses_of_an_unsupported_family_are_skipped(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, port = socket.getaddrinfo, int(server.url.rpartition(":")[2])

    def both(*_: Any, **__: Any) -> list[Any]:
        return [(9999, socket.SOCK_STREAM, 6, "", ("::1", port)), *real("127.0.0.1", port, type=socket.SOCK_STREAM)]

    driver = Built("fast", route_to(server))
    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert driver.send(REQUEST).body == REQUEST.body
    driver.close()


def test_threads_get_their_own_responses(server: LoopbackServer) -> None:
    aws = aws_at(server.url)
    transport = make_transport(aws, "fast")
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(20):
            body = f"{number}/{turn}".encode() * (1 + turn * 50)
            answer = transport.send(to("echo", body=body, target_model=f"m{number}"), **TIMES)
            if answer.body != body:
                wrong.append((number, turn))

        before = server.connections
        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert server.connections - before <= 16
        transport.close()
        aws.close()
        server.until_open(0)

    assert all(seen.fault is None for seen in server.seen)


def test_tasks_get_their_own_responses_beside_cancelled_tasks(server: LoopbackServer) -> None:
    async def main() -> None:
        aws = aws_at(server.url)
        transport = make_async_transport(aws, "fast")

        async def work(number: int) -> None:
            for turn in range(10):
                body = f"{number}/{turn}".encode()
                answer = await transport.send(to("echo", body=body), **TIMES)
                assert answer.body == body

        async def cancelled() -> None:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await transport.send(to("silent"), **TIMES)

        await asyncio.gather(*(work(number) for number in range(16)), *(cancelled() for _ in range(4)))
        await transport.close()
        aws.close()

    asyncio.run(main())
    assert all(seen.fault is None for seen in server.seen)


def test_each_event_loop_has_its_own_connections(server: LoopbackServer) -> None:
    aws = aws_at(server.url)
    transport = make_async_transport(aws, "fast")

    async def once() -> None:
        assert (await transport.send(REQUEST, **TIMES)).status == 200
        inner: Any = await transport.resolve() if transport._inner is None else transport._inner
        for pool in inner._pools.values():
            for connection in pool.idle:
                connection.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(once())
    asyncio.run(once())
    assert server.connections == 2
    asyncio.run(transport.close())
    aws.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("choice", ["fast", "botocore"])
def test_a_forked_child_opens_its_own_connections(server: LoopbackServer, choice: str) -> None:
    aws = aws_at(server.url)
    transport = make_transport(aws, choice)
    assert transport.send(REQUEST, **TIMES).status == 200
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = transport.send(to("echo", body=b"child"), **TIMES)
            os.write(writer, answer.body)
        finally:
            os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as said:
        assert said.read() == b"child"
    assert status == 0
    assert transport.send(to("echo", body=b"parent"), **TIMES).body == b"parent"
    assert [seen.connection for seen in server.seen] == [1, 2, 1]
    transport.close()
    aws.close()


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_a_clock_off_by_an_hour_is_corrected_once(kind: str, off: float, server: LoopbackServer) -> None:
    clock = Clock(time.time() + off)
    driver = Built(kind, route_to(server), clock)
    assert driver.send(to("punctual")).body == b"in time"
    assert driver.send(to("punctual")).body == b"in time"
    assert len(server.seen) == 3
    driver.close()


@pytest.mark.parametrize("kind", POOLS)
def test_a_wrong_secret_does_not_correct_the_clock(kind: str, server: LoopbackServer) -> None:
    driver = Built(kind, route_to(server, keys=lambda: Keys(ACCESS, "another", None)))
    answer = driver.send(REQUEST)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert len(server.seen) == 1
    driver.close()


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("refreshes", [False, True])
def test_credentials_are_read_once_a_second(kind: str, refreshes: bool, server: LoopbackServer) -> None:
    given = [Keys(ACCESS, SECRET, "first"), Keys(ACCESS, SECRET, "first"), Keys(ACCESS, SECRET, "second")]
    asked = []

    def keys() -> Keys:
        asked.append(threading.get_ident())
        return given[len(asked) - 1]

    clock = Clock(time.time())
    driver = Built(kind, route_to(server, keys=keys, refreshes=refreshes), clock)
    for step in (0.0, 0.5, 0.6, 1.1):
        clock.now += step
        assert driver.send(REQUEST).status == 200
    assert [seen.headers["x-amz-security-token"] for seen in server.seen] == ["first", "first", "first", "second"]
    assert len(asked) == 3
    on_the_loop = threading.get_ident() in asked
    assert on_the_loop is not refreshes
    driver.close()


def test_the_body_may_be_any_buffer(pool: Driver) -> None:
    for body in (bytearray(b"abc"), memoryview(b"abc")):
        assert pool.send(InvokeRequest(endpoint="echo", body=body)).body == b"abc"  # type: ignore[arg-type]


def test_an_invalid_ca_bundle_is_a_configuration_error(server: LoopbackServer, tmp_path: Any) -> None:
    from mme_sdk.runtime.transport.pool_base import tls_context

    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("empty.pem", "absent.pem"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            tls_context(route_to(server, scheme="https", ca_file=str(tmp_path / name)))
    context = tls_context(route_to(server, scheme="https", verify=False))
    assert context is not None
    assert context.verify_mode == ssl.CERT_NONE


def test_the_trace_of_a_lambda_invocation_is_passed_on(
    kind: str, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "mine")
    driver = Driver(kind, aws_at(server.url))
    for trace in ("Root=1-2;Parent=3;Sampled=1", "Root=4 5\r\nX-Evil: 1", ""):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
        assert driver.send(REQUEST).status == 200
    driver.close()
    assert [seen.headers.get("x-amzn-trace-id") for seen in server.seen] == [
        "Root=1-2;Parent=3;Sampled=1",
        "Root=4%205%0D%0AX-Evil:%201",
        None,
    ]


def test_tasks_share_one_refresh_and_its_error(server: LoopbackServer) -> None:
    asked: list[int] = []
    waiting = threading.Event()
    answers: list[Keys | Exception] = [ConfigurationError("log in"), Keys(ACCESS, SECRET, TOKEN)]

    def keys() -> Keys:
        asked.append(1)
        assert waiting.wait(60)  # until every task waits for these keys
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        route = route_to(server, keys=keys, refreshes=True)
        transport = AsyncConnectionPool(lambda: route)
        tasks = [asyncio.create_task(transport.send(REQUEST, **TIMES)) for _ in range(8)]
        for _ in range(10):  # each task runs up to its first wait
            await asyncio.sleep(0)
        waiting.set()
        first = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, ConfigurationError) for one in first)
        second = await asyncio.gather(*(transport.send(REQUEST, **TIMES) for _ in range(8)))
        assert {one.status for one in second} == {200}
        await transport.close()

    asyncio.run(main())
    assert len(asked) == 2


@pytest.mark.parametrize("kind", POOLS)
def test_a_request_that_is_not_sent_in_time_is_a_not_sent_error(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        driver = Driver(kind, aws_at(f"http://127.0.0.1:{deaf.getsockname()[1]}"))
        driver.ready()
        with pytest.raises(NotSentError, match="timed out"):
            driver.send(to("echo", body=BIG * 2), read_timeout=0.2)
        driver.close()
