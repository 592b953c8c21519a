"""Fixtures of these tests."""

from tests.support.runtime.fixtures import world

__all__ = ["world"]
