from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import trustme
import uvloop

from mme_sdk.aws import Aws
from mme_sdk.errors import NotSentError
from mme_sdk.runtime.transport import make_async_transport, make_transport
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.transport.behaviours import BEHAVIOURS
from tests.support.transport.server import ACCESS, REGION, SECRET, TOKEN, LoopbackServer

LONGER = (1, 3, 9, 27)
TRANSPORTS = ["botocore", "botocore-async", "fast", "fast-async", "fast-uvloop"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer's shell sets for AWS and proxies must not decide a test."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "AWS_CA_BUNDLE",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(BEHAVIOURS) as running:
        yield running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[LoopbackServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with LoopbackServer(BEHAVIOURS, tls=context) as running:
        yield running


@functools.cache
def session() -> boto3.Session:
    return boto3.Session(ACCESS, SECRET, TOKEN, region_name=REGION)


def aws_at(url: str) -> Aws:
    return Aws(session=session(), region=REGION, endpoint_url=url)


def runner_of(kind: str) -> asyncio.Runner | None:
    """Return the event loop of an asynchronous transport; None for a synchronous one."""
    if kind.endswith("-uvloop"):
        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner() if kind.endswith("-async") else None


class Driver:
    """One transport, synchronous or asynchronous, called the same way."""

    def __init__(self, kind: str, aws: Aws) -> None:
        self.kind = kind
        choice, _, twin = kind.partition("-")
        self.aws, self.runner = aws, runner_of(kind)
        self.transport: Any = make_async_transport(aws, choice) if twin else make_transport(aws, choice)

    def send(self, request: InvokeRequest, connect_timeout: float = 60.0, read_timeout: float = 60.0) -> InvokeResponse:
        sending = self.transport.send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)
        return self.runner.run(sending) if self.runner else sending

    def send_within(self, request: InvokeRequest, seconds: float) -> InvokeResponse:
        """Send a request whose response comes too late.

        On a machine so busy that signing takes all of the time, send it again with more time.
        """
        for times in LONGER[:-1]:
            with contextlib.suppress(NotSentError):
                return self.send(request, read_timeout=times * seconds)
        return self.send(request, read_timeout=LONGER[-1] * seconds)

    def ready(self) -> None:
        """Select the transport, as the first call does."""
        resolving = self.transport.resolve()
        if self.runner:
            self.runner.run(resolving)

    def close(self) -> None:
        closing = self.transport.close()
        if self.runner:
            self.runner.run(closing)
            self.runner.close()
        self.aws.close()


@pytest.fixture(params=TRANSPORTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(kind: str, server: LoopbackServer) -> Iterator[Driver]:
    made = Driver(kind, aws_at(server.url))
    yield made
    made.close()
