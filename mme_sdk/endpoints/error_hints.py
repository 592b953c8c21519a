"""Hints for the errors that SageMaker reports most often."""

from __future__ import annotations

from mme_sdk.errors import MMEError

__all__ = ["add_hint", "hint_for"]

_KNOWN = (
    (
        "download model data",
        "check that the S3 address exists and that the role has s3:GetObject and s3:ListBucket on it",
    ),
    ("could not access model data", "the role needs s3:GetObject and s3:ListBucket: policies.execution_role(prefix)"),
    ("extract model data", "the archive must be a tar.gz with the model at its root"),
    (
        "ping health check",
        "the container did not become healthy: read its traceback in the logs, or set a longer startup_timeout",
    ),
    (
        "multi-models=true",
        "the image does not support multi-model endpoints; endpoints.images.retrieve(…) returns one that does",
    ),
    (
        "could not assume role",
        "the role must trust sagemaker.amazonaws.com, see policies.trust(); a new role is usable after some seconds",
    ),
    (
        "resourcelimitexceeded",
        "raise the quota in Service Quotas, or use other or fewer instances; endpoints.preflight(spec) shows quotas",
    ),
    (
        "service limit",
        "raise the quota in Service Quotas, or use other or fewer instances; endpoints.preflight(spec) shows quotas",
    ),
    ("capacity", "try again later, or with another instance type"),
    ("alarm", "a CloudWatch alarm rolled the deployment back: examine its metric"),
)


def hint_for(message: str) -> str | None:
    """Return a hint for a message of SageMaker; None if there is none."""
    lowered = message.lower()
    return next((remedy for words, remedy in _KNOWN if words in lowered), None)


def add_hint(error: BaseException) -> None:
    """If an error has no hint, set the one for its message."""
    if isinstance(error, MMEError) and error.hint is None:
        error.hint = hint_for(f"{error.code} {error.message}")
