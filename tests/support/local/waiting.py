"""Wait for a condition."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, attempts: int = 6000) -> T:
    """Return the first true result of `condition`. Fail with `what` after `attempts` calls."""
    pause = threading.Event()
    for _ in range(attempts):
        if result := condition():
            return result
        pause.wait(0.01)
    raise AssertionError(f"{what} did not happen")
