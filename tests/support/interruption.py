"""Interrupt a flow at each of its effects, before and after the effect is done, once and twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs

from mme_sdk._flows.cancellation import Cancelled
from mme_sdk._flows.effects import Effect, Flow, Together

Perform = Callable[[Effect], Any]


@attrs.define
class Interruption:
    """When a flow is interrupted.

    Attributes:
        at: The effect that is interrupted; its number, from 1.
        done: Whether the effect is done when the interruption comes.
        again: The effect of the clean-up that a second interruption ends; 0 for none.
    """

    at: int
    done: bool
    again: int = 0
    number: int = 0
    ended: bool = False

    def perform(self, effect: Effect, perform: Perform) -> Any:
        """Perform an effect, unless it is interrupted before it is done."""
        if self.ended:
            raise Cancelled
        self.number += 1
        interrupted = self.number == self.at or (self.again and self.number == self.at + self.again)
        if not interrupted:
            return perform(effect)
        self.ended = self.number != self.at
        if self.done:
            with suppress(Exception):  # the interruption comes before its failure is known
                perform(effect)
        raise KeyboardInterrupt

    def drive(self, flow: Flow[Any], perform: Perform) -> Any:
        """Run a flow as the interpreters do. Concurrent flows run one after the other."""
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                effect = flow.send(value) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value
            value, error = None, None
            try:
                value = (
                    self._together(effect, perform) if isinstance(effect, Together) else self.perform(effect, perform)
                )
            except BaseException as caught:  # noqa: BLE001 - the flow handles it
                error = caught

    def _together(self, effect: Together, perform: Perform) -> list[Any]:
        results: list[Any] = []
        for flow in effect.flows:
            try:
                results.append(self.drive(flow, perform))
            except Exception as error:  # noqa: BLE001 - a result, as in the interpreters
                results.append(error)
        return results


def interruptions(run: Callable[[Interruption], Any]) -> Iterator[tuple[Interruption, BaseException]]:
    """Interrupt each effect of a flow, and then also each effect of its clean-up.

    Args:
        run: Makes a new world and a flow in it, and drives the flow with the given interruption.

    Yields:
        Each interruption, and the exception that the flow raised.
    """
    for done in (False, True):
        at = 1
        while (stopped := _interrupted(run, Interruption(at, done))) is not None:
            yield stopped
            again = 1
            while True:
                second = Interruption(at, done, again)
                stopped = _interrupted(run, second)
                if stopped is None or not second.ended:
                    break
                yield stopped
                again += 1
            at += 1
        assert at > 1


def _interrupted(run: Callable[[Interruption], Any], stop: Interruption) -> tuple[Interruption, BaseException] | None:
    try:
        run(stop)
    except (KeyboardInterrupt, Cancelled) as error:
        return stop, error
    assert stop.number < stop.at, f"{stop} was lost"
    return None


def notes_of(error: BaseException) -> str:
    """Return the notes of an exception as one text."""
    return "\n".join(getattr(error, "__notes__", ()))
