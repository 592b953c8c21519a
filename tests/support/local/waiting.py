"""Wait for a condition."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, attempts: int = 1200) -> T:
    """Return the first true result of `condition`. Fail with `what` after `attempts` calls.

    The pauses grow from 0.01 s to 0.1 s, because most conditions are calls of a host that has work to do meanwhile.
    """
    pause = threading.Event()
    for number in range(attempts):
        if result := condition():
            return result
        pause.wait(min(0.01 + 0.005 * number, 0.1))
    raise AssertionError(f"{what} did not happen")
