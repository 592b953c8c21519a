"""Flows of several clients, driven one effect at a time: every order that two clients could meet in can be played."""

from __future__ import annotations

import random
from typing import Any

from mme_sdk.aws import Aws, Call, Do, Flow, Sleep, Together


class Client:
    """One flow that does nothing until it is told to."""

    def __init__(self, aws: Aws, flow: Flow[Any]) -> None:
        self.aws = aws
        self.flow = flow
        self.result: Any = None
        self.error: Exception | None = None
        self.said: list[str] = []
        self.next: Any = None
        self.done = False
        self._resume(lambda: next(flow))

    def step(self) -> None:
        """Carry out the next effect."""
        effect = self.next
        try:
            value = self._perform(effect)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow is told
            caught = error
            self._resume(lambda: self.flow.throw(caught))
        else:
            self._resume(lambda: self.flow.send(value))

    def fail(self, error: Exception) -> Client:
        """Let the next call raise an error."""
        self._resume(lambda: self.flow.throw(error))
        return self

    def before(self, operation: str) -> Client:
        """Go on until this is the next call, or to the end."""
        while not self.done and not (isinstance(self.next, Call) and self.next.operation == operation):
            self.step()
        return self

    def after(self, operation: str) -> Client:
        """Go on until this call has been made."""
        self.before(operation).step()
        return self

    def finish(self) -> Client:
        """Go on to the end."""
        while not self.done:
            self.step()
        return self

    def _resume(self, go: Any) -> None:
        try:
            self.next = go()
        except StopIteration as stop:
            self.done, self.result = True, stop.value
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.done, self.error = True, error

    def _perform(self, effect: Any) -> Any:
        match effect:
            case Call():
                self.said.append(effect.operation)
                return self.aws.call(effect)
            case Sleep(seconds):
                return self.aws.clock.sleep(seconds)
            case Do(function):
                return function()
            case Together(flows):
                return [_outcome(self.aws, flow) for flow in flows]


def _outcome(aws: Aws, flow: Flow[Any]) -> Any:
    try:
        return aws.run(flow)
    except Exception as error:  # noqa: BLE001 - as a result, like the drivers
        return error


def shuffled(seed: int, *clients: Client) -> list[int]:
    """Drive clients to their ends, each next step drawn; the order that was drawn, to be told where a test fails."""
    dice = random.Random(seed)
    order: list[int] = []
    while going := [one for one in clients if not one.done]:
        one = dice.choice(going)
        order.append(clients.index(one))
        # Runs of steps, since what breaks is one client doing much while another stands still.
        for _ in range(dice.choice([1, 1, 2, 5, 10])):
            if not one.done:
                one.step()
    return order
