"""Fixtures for the tests of the embedded SageMaker."""

from tests.support.local.fixtures import name, plane, sm

__all__ = ["name", "plane", "sm"]
