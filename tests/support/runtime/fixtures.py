"""One embedded SageMaker for all tests of this folder that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mme_sdk.local import LocalSageMaker
from mme_sdk.local.hosting.settings import HostingSettings
from tests.support.runtime.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A host that answers 429 after 0.4 s, as SageMaker does after 60; its models may write the log of the tests."""
    settings = HostingSettings(answer_limit=0.4, spill_outstanding=2, isolate=False)
    with LocalSageMaker(settings=settings) as host:
        made = World(host, tmp_path_factory.mktemp("world"))
        yield made
        made.client.close()
