"""Fixtures of these tests."""

from tests.support.containers.fixtures import container

__all__ = ["container"]
