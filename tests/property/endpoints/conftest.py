"""Fixtures of these tests."""

from tests.support.endpoints.fixtures import aws, name, plane, room, way

__all__ = ["aws", "name", "plane", "room", "way"]
