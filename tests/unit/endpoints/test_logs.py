"""Reading of logs, driven by hand: what CloudWatch Logs answers, and what the caller gets."""

from __future__ import annotations

from typing import Any

import pytest

from mme_sdk.aws import Flow
from mme_sdk.endpoints.state.logs import LogReader
from mme_sdk.errors import InvalidInputError

LINES = ["[fraud/v1.tar.gz] amount 1", "[spam/v1.tar.gz] amount 2"]
ANSWERS: dict[str, Any] = {
    "describe_log_streams": {"logStreams": [{"logStreamName": "AllTraffic/i-1"}]},
    "get_log_events": {
        "events": [{"timestamp": 1, "message": line} for line in LINES],
        "nextForwardToken": "f",
        "nextBackwardToken": "b",
    },
}


def drive(flow: Flow[list[str]]) -> list[str]:
    answer: Any = None
    while True:
        try:
            effect: Any = flow.send(answer)
        except StopIteration as stop:
            return list(stop.value)
        answer = ANSWERS[effect.operation]
        if effect.params.get("nextToken"):
            answer = {**answer, "events": []}


@pytest.mark.parametrize(
    ("model", "lines"), [("fraud/v1.tar.gz", LINES[:1]), ("spam", LINES[1:]), ("other", []), (None, LINES)]
)
def test_lines_are_those_that_contain_the_model(model: str | None, lines: list[str]) -> None:
    assert drive(LogReader("scoring", model, 100).last()) == lines


@pytest.mark.parametrize("model", ["fraud@live", "s3://models/prod/fraud/v1.tar.gz"])
def test_what_no_container_writes_is_refused_instead_of_an_empty_list(model: str) -> None:
    with pytest.raises(InvalidInputError, match="no line of the log contains") as caught:
        drive(LogReader("scoring", model, 100).last())
    assert "fraud/v3.tar.gz" in (caught.value.hint or "")
