"""`close` of the transport `botocore` waits for calls that were interrupted."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mme_sdk._flows.cancellation import Cancelled, CancelScope, current_scope
from mme_sdk.errors import ClosedError
from mme_sdk.runtime.transport import botocore_transport
from mme_sdk.runtime.transport.botocore_transport import AsyncBotocoreTransport, BotocoreTransport
from mme_sdk.runtime.transport_interface import InvokeRequest

REQUEST = InvokeRequest(endpoint="scoring", body=b"{}", target_model="m")


class Sender:
    """Sends nothing: a call waits until it is interrupted, and then until its connection may close."""

    def __init__(self) -> None:
        self.began, self.may_close, self.closed = threading.Event(), threading.Event(), threading.Event()

    def send(self, params: dict[str, Any], call: Any) -> Any:
        del params, call
        scope, interrupted = current_scope(), threading.Event()
        assert scope is not None
        with scope.waking(interrupted.set):
            self.began.set()
            interrupted.wait()
        self.may_close.wait()
        self.closed.set()

    def discard_connections(self) -> None:
        """There are none."""


def interrupt(transport: BotocoreTransport, sender: Sender) -> None:
    """Make a call in another thread, and interrupt it once it has begun."""
    scope, ends = CancelScope(), list[BaseException]()

    def call() -> None:
        try:
            scope.run(lambda: transport.send(REQUEST, connect_timeout=60.0, read_timeout=60.0))
        except BaseException as end:  # noqa: BLE001 - looked at below
            ends.append(end)

    thread = threading.Thread(target=call)
    thread.start()
    sender.began.wait()
    scope.cancel()
    thread.join()
    assert [type(one) for one in ends] == [Cancelled]


def test_close_returns_after_the_connection_of_an_interrupted_call(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, wait = Sender(), botocore_transport.wait
    transport = BotocoreTransport(sender)
    interrupt(transport, sender)

    def wait_and_let_it_close(futures: Any, timeout: float) -> Any:
        sender.may_close.set()
        return wait(futures, timeout)

    monkeypatch.setattr(botocore_transport, "_GRACE", 60.0)
    monkeypatch.setattr(botocore_transport, "wait", wait_and_let_it_close)
    transport.close()
    assert sender.closed.is_set()
    assert not transport.ending
    with pytest.raises(ClosedError):
        transport.send(REQUEST, connect_timeout=1.0, read_timeout=1.0)


def test_close_returns_after_the_connection_of_a_cancelled_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore_transport, "_GRACE", 60.0)
    sender = Sender()

    async def scenario() -> None:
        transport = AsyncBotocoreTransport(sender)
        task = asyncio.ensure_future(transport.send(REQUEST, connect_timeout=60.0, read_timeout=60.0))
        await asyncio.to_thread(sender.began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        asyncio.get_running_loop().call_soon(sender.may_close.set)
        await transport.close()
        assert sender.closed.is_set()

    asyncio.run(scenario())


def test_close_does_not_wait_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore_transport, "_GRACE", 0.0)
    sender = Sender()
    transport = BotocoreTransport(sender)
    interrupt(transport, sender)
    transport.close()
    assert not sender.closed.is_set()
    sender.may_close.set()
    sender.closed.wait()
