"""Fixtures of these tests."""

from tests.support.registry.fixtures import model, models, s3, s3_aws, s3_session

__all__ = ["model", "models", "s3", "s3_aws", "s3_session"]
