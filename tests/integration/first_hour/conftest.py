"""One embedded SageMaker for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.first_hour.world import FirstHour


@pytest.fixture(scope="session")
def first_hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstHour]:
    """A host with a multi-model and an asynchronous endpoint."""
    with FirstHour(tmp_path_factory.mktemp("first-hour")) as world:
        yield world
