"""One table of answers and states, read by the synchronous and the asynchronous driver."""

from __future__ import annotations

import asyncio
import tomllib
from typing import Any

import pytest

from mme_sdk import errors
from mme_sdk.aws import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.runtime import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.types.reply import Reply
from tests.support.paths import SUPPORT
from tests.support.runtime.keywords import gathered
from tests.support.runtime.scripted import AsyncScript, FakeAsyncClock, FakeClock, Middle, SyncScript

CASES: list[dict[str, Any]] = tomllib.loads((SUPPORT / "runtime" / "answers.toml").read_text())["case"]


class SyncRun:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.clock = FakeClock()
        self.script = SyncScript(self.clock, rows)
        self.invoker = RuntimeInvoker(
            Aws(region="us-east-1"),
            self.script,
            timeouts=Timeouts(),
            retry=RetryPolicy(),
            clock=self.clock,
            rng=Middle(),
            wait=self.clock.wait,
        )

    def invoke(self, **options: Any) -> Reply[Any]:
        return self.invoker.invoke("scoring", b"{}", **gathered(options))


class AsyncRun:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.clock = FakeAsyncClock()
        self.script = AsyncScript(self.clock, rows)
        self.invoker = AsyncRuntimeInvoker(
            Aws(region="us-east-1"),
            self.script,
            timeouts=Timeouts(),
            retry=RetryPolicy(),
            clock=self.clock,
            rng=Middle(),
            wait=self.clock.wait,
        )

    def invoke(self, **options: Any) -> Reply[Any]:
        return asyncio.run(self.invoker.invoke("scoring", b"{}", **gathered(options)))


@pytest.mark.parametrize("run_kind", [SyncRun, AsyncRun])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any], run_kind: type[SyncRun] | type[AsyncRun]) -> None:
    warmed = [{}] if case.get("warmed") else []
    run = run_kind(warmed + case["answers"])
    model = None if case.get("single") else "fraud/v1.tar.gz"
    if warmed:
        run.invoke(model=model)
        run.clock.now += case.get("idle", 0)
        run.script.sent.clear()
        run.clock.slept.clear()
    began = run.clock.now

    def call() -> Reply[Any]:
        return run.invoke(model=model, idempotent=case.get("idempotent", False), deadline=case.get("deadline"))

    if "error" in case:
        with pytest.raises(errors.MMEError) as caught:
            call()
        error = caught.value
        assert type(error).__name__ == case["error"], error
        assert len(error.attempt_history) == len(run.script.sent)
        assert error.endpoint == "scoring"
        assert error.model == model
        for fact in ("sent", "replay_safe", "fault"):
            if fact in case:
                assert getattr(error, fact) == case[fact]
        assert case.get("text", "") in error.message
        assert case.get("hint", "") in (error.hint or "")
    else:
        reply = call()
        assert reply.value == {"ok": True}
        assert reply.attempts == len(run.script.sent)
        assert reply.cold == (None if case.get("cold") == "unknown" else case.get("cold", reply.cold))
        assert reply.variant == "AllTraffic"
        assert reply.request_id == "req-1"
        assert reply.latency == pytest.approx(run.clock.now - began)
    if "attempts" in case:
        assert len(run.script.sent) == case["attempts"]
    if "ends_within" in case:
        assert run.clock.now - began <= case["ends_within"]
    if "slept_at_least" in case:
        assert sum(run.clock.slept) >= case["slept_at_least"]
    assert len({(sent.invocation_id, sent.body, sent.target_model) for sent in run.script.sent}) == 1
    for earlier, later in zip(error_history(case, locals()), error_history(case, locals())[1:], strict=False):
        assert later.at == pytest.approx(earlier.at + earlier.took + earlier.waited)


def error_history(case: dict[str, Any], seen: dict[str, Any]) -> tuple[Any, ...]:
    return seen["error"].attempt_history if "error" in case else seen["reply"].history
