from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.containers.harness import Container, running


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    with running("--invocation-timeout", "1.5", "--memory-budget", str(200 * 2**20)) as container:
        yield container.healthy()
