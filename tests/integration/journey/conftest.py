"""Fixtures of these tests."""

from tests.support.journey.fixtures import client, endpoint, fresh, models, spec, tree

__all__ = ["client", "endpoint", "fresh", "models", "spec", "tree"]
