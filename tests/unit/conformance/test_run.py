"""Runs of checks: budget, verdicts, and the removal of what they created."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mme_sdk.conformance import Check, Report, all_checks, run_checks
from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import Difference, expect
from mme_sdk.conformance.run import ENDPOINT_MINUTES, minutes_at_most
from tests.support.paths import ROOT


class Clock:
    """Time that passes where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def check(name: str, function: Any, **more: Any) -> Check:
    return Check(name, "1.1", "as documented", more.get("needs", "nothing"), more.get("minutes", 1.0), True, function)


def run(checks: list[Check], *, budget: float = 30.0, clock: Clock | None = None) -> tuple[Report, Account]:
    clock = clock or Clock()
    aws: Any = object()
    account = Account(aws, role="role", image="image", instance_type="ml.m5.large", clock=clock)
    report = run_checks(
        account, checks, budget_minutes=budget, clock=clock, target="test", region="eu-west-1", started="now"
    )
    return report, account


def test_verdicts() -> None:
    def broken(_: Account) -> Any:
        raise ValueError("no")

    report, _ = run([check("a", lambda _: 1), check("b", lambda _: expect(False, {"seen": 2})), check("c", broken)])
    assert [(one.verdict, one.seen) for one in report.outcomes] == [
        ("agrees", 1),
        ("differs", {"seen": 2}),
        ("failed", "ValueError: no"),
    ]
    assert [one.name for one in report.differences] == ["b"]
    assert json.loads(report.to_json())["outcomes"][1]["seen"] == {"seen": 2}


def test_a_check_that_does_not_fit_into_the_budget_is_skipped() -> None:
    clock = Clock()
    checks = [
        check("long", lambda _: clock.sleep(60 * 9)),
        check("with an endpoint", lambda _: 1, needs="multi_model"),
        check("short", lambda _: 1),
    ]
    report, _ = run(checks, budget=10.0, clock=clock)
    assert [one.verdict for one in report.outcomes] == ["agrees", "skipped", "agrees"]
    assert minutes_at_most(checks) == 3 + ENDPOINT_MINUTES


@pytest.mark.parametrize(
    "error", [Difference("x"), ValueError("x"), KeyboardInterrupt()], ids=lambda one: type(one).__name__
)
def test_everything_is_removed_last_first(error: BaseException) -> None:
    removed: list[str] = []

    def create(account: Account) -> Any:
        for what in ("bucket", "model", "endpoint"):
            account.keep(what, lambda what=what: removed.append(what))
        raise error

    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            run([check("a", create)])
    else:
        run([check("a", create)])
    assert removed == ["endpoint", "model", "bucket"]


def test_what_cannot_be_removed_is_reported_and_the_rest_is_removed() -> None:
    removed: list[str] = []

    def fail(message: str) -> Any:
        raise RuntimeError(message)

    def create(account: Account) -> Any:
        account.keep("bucket", lambda: removed.append("bucket"))
        account.keep("model", lambda: fail('Could not find model "arn".'))
        account.keep("endpoint", lambda: fail("busy"))

    report, _ = run([check("a", create)])
    assert report.left_behind == {"endpoint": "RuntimeError: busy"}
    assert removed == ["bucket"]


def test_each_check_names_a_line_of_the_contract() -> None:
    page = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    lines = set(re.findall(r"^(?:- \*\*|\| )(\d+\.\d+)", page, flags=re.MULTILINE))
    assert len(lines) > 60
    assert {one.line for one in all_checks()} <= lines


class Deleting:
    """SageMaker with an endpoint that is being deleted for some reads of the list, or for good."""

    class exceptions:
        ClientError = type("ClientError", (Exception,), {})

    def __init__(self, reads: int) -> None:
        self.reads = reads

    def client(self, _: str) -> Deleting:
        return self

    def get_paginator(self, _: str) -> Deleting:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        self.reads -= 1
        return [{"Endpoints": [{"EndpointName": "one"}] if self.reads >= 0 else []}]


@pytest.mark.parametrize(("reads", "left"), [(3, []), (10_000, ["endpoint one"])])
def test_the_end_waits_until_the_endpoints_are_gone(reads: int, left: list[str]) -> None:
    aws: Any = Deleting(reads)
    account = Account(aws, role="role", image="image", instance_type="ml.m5.large", clock=Clock())
    account.keep("endpoint one", lambda: None)
    assert list(account.close()) == left
    assert left or aws.reads < 0
