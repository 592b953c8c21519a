from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mme_sdk.local.storage.s3 import S3Server
from tests.support.hosting.harness import run


@pytest.fixture
def hosted(s3_server: S3Server, bucket_name: str, tmp_path: Path) -> Callable[..., None]:
    """`hosted(scenario, **settings)` runs it against a fresh host."""
    return partial(run, s3_server, bucket_name, tmp_path)
