"""Unit tests start no process and bind no socket."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.purity import fail_if_impure, one_process

FOLDER = Path(__file__).parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Guard the tests of this folder; pytest calls the hook for those of other folders too."""
    if not item.path.is_relative_to(FOLDER):
        return (yield)
    with one_process():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test whose code swallowed the error of the guard."""
    yield
    fail_if_impure()
