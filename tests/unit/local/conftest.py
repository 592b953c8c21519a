"""Fixtures of these tests."""

from tests.support.local.fixtures import name, plane, sm

__all__ = ["name", "plane", "sm"]
