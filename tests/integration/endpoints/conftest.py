"""Fixtures of these tests."""

from tests.support.endpoints.fixtures import aws, collection, name, plane, way

__all__ = ["aws", "collection", "name", "plane", "way"]
