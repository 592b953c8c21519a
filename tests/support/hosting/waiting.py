"""Waits for what the host itself signals, instead of polling it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mme_sdk.aws.session import AsyncSystemClock
from mme_sdk.fleet import Command
from mme_sdk.local.hosting.instances.multi_model import MultiModelVariant

__all__ = ["Progress", "WatchedClock", "until"]


class Progress:
    """Something that happens again and again, and that a test waits for."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()

    def happened(self) -> None:
        self._happened.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds; it is checked whenever something happens."""
        while not condition():
            self._happened.clear()
            await self._happened.wait()


async def until(variant: Any, condition: Callable[[], Any]) -> None:
    """Wait until a condition on a multi-model variant holds; it is checked at each transition of its fleet."""
    assert isinstance(variant, MultiModelVariant)
    progress = Progress()
    perform = variant._perform

    def watched(commands: Sequence[Command]) -> None:
        perform(commands)
        progress.happened()

    variant._perform = watched  # type: ignore[method-assign]
    try:
        await progress.until(condition)
    finally:
        del variant._perform


class WatchedClock(AsyncSystemClock):
    """The system's clock; a test waits until the code under test has slept so often.

    Sleeps from `long` seconds on are over at once.
    """

    def __init__(self, long: float = float("inf")) -> None:
        self.slept: list[float] = []
        self._long = long
        self._progress = Progress()

    async def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        self._progress.happened()
        await super().sleep(0 if seconds >= self._long else seconds)

    def count(self, low: float, high: float) -> int:
        """How many sleeps took from `low` to `high` seconds."""
        return sum(low <= seconds <= high for seconds in self.slept)

    async def until(self, seconds: float, times: int) -> None:
        """Wait until the code has slept for `seconds` so many times from now on."""
        before = self.count(seconds, seconds)
        await self._progress.until(lambda: self.count(seconds, seconds) >= before + times)
