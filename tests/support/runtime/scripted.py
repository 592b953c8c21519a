"""A clock that moves only when a test moves it, and a transport that answers from a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

from mme_sdk.errors import NotSentError, OutcomeUnknownError
from mme_sdk.runtime.effects import Waitable
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse


class FakeClock:
    """A clock whose sleep moves the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, event: Waitable, timeout: float) -> bool:
        """Return whether the event has occurred; if it has not, let the time pass, since no other caller exists."""
        came: list[bool] = []
        event.subscribe(lambda: came.append(True))
        if not came:
            FakeClock.sleep(self, timeout)
        return bool(came)


class ThreadedFakeClock(FakeClock):
    """A clock for calls that the SDK makes in threads.

    A call that waits longer than any pause waits for another call, which may be slow on a busy machine; if the time of
    the test passed instead, the call would miss its deadline.
    """

    LONGEST_PAUSE_S = 30.0

    def wait(self, event: Waitable, timeout: float) -> bool:
        if timeout <= self.LONGEST_PAUSE_S:
            return super().wait(event, timeout)
        came = threading.Event()
        event.subscribe(came.set)
        return came.wait(timeout)


class FakeAsyncClock(FakeClock):
    async def wait(self, event: Waitable, timeout: float) -> bool:  # type: ignore[override]
        return FakeClock.wait(self, event, timeout)

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]
        FakeClock.sleep(self, seconds)


class Middle:
    """No randomness: always the middle."""

    def random(self) -> float:
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def answer(said: dict[str, Any]) -> InvokeResponse:
    """An answer as SageMaker would shape it, from a row of the table."""
    status = said.get("status", 200)
    headers = {"x-amzn-requestid": "req-1", "content-type": said.get("content_type", "application/json")}
    if "retry_after" in said:
        headers["retry-after"] = str(said["retry_after"])
    if "content_encoding" in said:
        headers["content-encoding"] = said["content_encoding"]
    if status == 200:
        headers["x-amzn-invoked-production-variant"] = "AllTraffic"
        return InvokeResponse(status=200, headers=headers, body=said.get("body", '{"ok": true}').encode())
    if "code" in said:
        headers["x-amzn-errortype"] = said["code"]
    if "raw" in said:
        return InvokeResponse(status=status, headers=headers, body=said["raw"].encode())
    fields = {"message": said.get("message", "")}
    for ours, theirs in (
        ("original_status", "OriginalStatusCode"),
        ("original_message", "OriginalMessage"),
        ("log", "LogStreamArn"),
    ):
        if ours in said:
            fields[theirs] = said[ours]
    return InvokeResponse(status=status, headers=headers, body=json.dumps(fields).encode())


class Script:
    """Answers in order; the last one again and again where `forever`."""

    name = "script"

    def __init__(self, clock: FakeClock, rows: Iterable[dict[str, Any]]) -> None:
        self.clock = clock
        self.rows = list(rows)
        self.sent: list[InvokeRequest] = []
        self.closed = False

    def step(self, request: InvokeRequest, read_timeout: float) -> InvokeResponse:
        self.sent.append(request)
        assert self.rows, "more requests than the script has answers"
        row = self.rows[0] if self.rows[0].get("forever") else self.rows.pop(0)
        took = float(row.get("took", 0.01))
        if row.get("meet") == "silence" or took > read_timeout:
            self.clock.now += read_timeout
            raise OutcomeUnknownError("no answer in time")
        self.clock.now += took
        if row.get("meet") == "drop":
            raise OutcomeUnknownError("connection dropped")
        if row.get("meet") == "refused":
            raise NotSentError("connection refused")
        return answer(row)


class SyncScript(Script):
    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        return self.step(request, read_timeout)

    def close(self) -> None:
        self.closed = True


class AsyncScript(Script):
    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        return self.step(request, read_timeout)

    async def close(self) -> None:
        self.closed = True


Respond = Callable[[InvokeRequest], InvokeResponse]
