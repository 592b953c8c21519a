"""What to do about what SageMaker says: the texts that users meet most, each with its remedy."""

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
        "the container did not become healthy: look for its traceback, or give it a longer startup_timeout",
    ),
    ("multi-models=true", "this image cannot serve many models; endpoints.images.retrieve(…) names some that can"),
    (
        "could not assume role",
        "the role must trust sagemaker.amazonaws.com: policies.trust(); a new role takes seconds to show",
    ),
    (
        "resourcelimitexceeded",
        "raise it in Service Quotas, or use other or fewer instances; endpoints.preflight(spec) shows quotas",
    ),
    (
        "service limit",
        "raise it in Service Quotas, or use other or fewer instances; endpoints.preflight(spec) shows quotas",
    ),
    ("capacity", "try again later, or with another instance type"),
    ("alarm", "an alarm rolled the deployment back: look at its metric"),
)


def hint_for(said: str) -> str | None:
    """What helps against what SageMaker said; None where nothing is known to."""
    lowered = said.lower()
    return next((remedy for words, remedy in _KNOWN if words in lowered), None)


def add_hint(error: BaseException) -> None:
    """Give an error that has no hint the one for what SageMaker said."""
    if isinstance(error, MMEError) and error.hint is None:
        error.hint = hint_for(f"{error.code} {error.message}")
