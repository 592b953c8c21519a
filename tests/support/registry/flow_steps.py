"""Drives a flow one effect at a time, so that tests choose what happens in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mme_sdk._effects import Effect
from mme_sdk.aws import Aws, Call, Do, Flow, Sleep, Together


def steps(flow: Flow[Any], aws: Aws) -> Generator[Effect, None, Any]:
    """Drive a flow, stopping before each effect."""
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
                        except Exception as caught:  # noqa: BLE001 - as the drivers do
                            value.append(caught)
        except Exception as caught:  # noqa: BLE001 - as the drivers do
            error = caught
