"""Waits until the code under test has logged something."""

from __future__ import annotations

import logging
import threading

import pytest

__all__ = ["wait_for_log"]

LIMIT = 300.0  # seconds; only a text that is never logged takes that long


class _Watch(logging.Handler):
    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.seen.set()


def wait_for_log(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Block until a message with this text has been logged, before or after the call."""
    watch = _Watch(text)
    logger = logging.getLogger()  # after the handler of `caplog`, which has the text then
    logger.addHandler(watch)
    try:
        assert text in caplog.text or watch.seen.wait(LIMIT), f"not logged: {text}"
    finally:
        logger.removeHandler(watch)
