"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys

from mme_sdk import runtime


def test_every_public_name_loads_and_the_list_is_sorted() -> None:
    assert runtime.__all__ == sorted(runtime.__all__)
    for name in runtime.__all__:
        assert getattr(runtime, name) is not None


def test_the_room_costs_nothing_until_it_is_used() -> None:
    code = "import sys, mme_sdk.runtime; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "asyncio", "sqlite3", "tenacity", "numpy", "boto3"} & set(loaded)
