"""Run a flow one effect at a time. Tests choose what happens between two effects."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mme_sdk._flows.effects import Effect
from mme_sdk.aws import Aws, Call, Do, Flow, Sleep, Together


def steps(flow: Flow[Any], aws: Aws) -> Generator[Effect, None, Any]:
    """Run a flow and stop before each effect."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            effect = flow.send(value) if error is None else flow.throw(error)
        except StopIteration as stop:
            return stop.value
        value, error = None, None
        yield effect
        try:
            match effect:
                case Call():
                    value = aws.call(effect)
                case Do(function):
                    value = function()
                case Sleep():
                    pass
                case Together(flows):
                    value = []
                    for one in flows:
                        try:
                            value.append((yield from steps(one, aws)))
                        except Exception as caught:  # noqa: BLE001 - as the interpreters do
                            value.append(caught)
        except Exception as caught:  # noqa: BLE001 - as the interpreters do
            error = caught
