"""Property tests of pure code start no process and bind no socket; those of endpoints and the registry need a host."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.purity import fail_if_impure, one_process

FOLDERS = tuple(Path(__file__).parent / name for name in ("fleet", "runtime"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Guard the tests of these folders; pytest calls the hook for those of other folders too."""
    if item.path.parent not in FOLDERS:
        return (yield)
    with one_process():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test whose code swallowed the error of the guard."""
    yield
    fail_if_impure()
