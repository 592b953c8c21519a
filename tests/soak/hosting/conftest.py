"""Fixtures of these tests."""

from tests.support.hosting.fixtures import hosted

__all__ = ["hosted"]
