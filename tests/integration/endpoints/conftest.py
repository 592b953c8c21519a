"""Fixtures of these tests."""

from __future__ import annotations

import re
import zlib

import pytest

from tests.support.endpoints.fixtures import aws, collection, name, plane, way

__all__ = ["aws", "collection", "name", "plane", "way"]

SHELLS = ("sync", "async")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark one of the two shells of a test as slow: the one that a checksum of the test's name chooses.

    Both shells run the same flows, and the synchronous one is generated from the other. So the ordinary run takes half
    of the tests through each, and the slow suite takes all through both.
    """
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        shells = [value for value in parameters.values() if isinstance(value, str) and value in SHELLS]
        if shells and "tests/integration/endpoints/" in item.nodeid:
            without_shell = re.sub(r"(?<=[\[-])a?sync(?=[-\]])", "", item.nodeid)
            if shells[0] != SHELLS[zlib.crc32(without_shell.encode()) % 2]:
                item.add_marker(pytest.mark.slow)
