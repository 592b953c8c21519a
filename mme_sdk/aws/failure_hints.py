"""Hints for the failures that SageMaker reports most often, and their texts on one line."""

from __future__ import annotations

import re

from mme_sdk.errors import MMEError

__all__ = ["ABSENT_ENDPOINT", "add_hint", "brief", "hint_for", "refusal_hint"]

ABSENT_ENDPOINT = re.compile(r"Endpoint \S+ of account \S+ not found")
"""Text of the runtime for an endpoint that does not exist, or is not in service."""

_KNOWN = (
    (
        "download model data",
        "check that the S3 address exists and that the role has s3:GetObject and s3:ListBucket on it",
    ),
    ("could not access model data", "the role needs s3:GetObject and s3:ListBucket: policies.execution_role(prefix)"),
    ("extract model data", "the archive must be a tar.gz with the model at its root"),
    (
        "ping health check",
        "the container did not become healthy: read its traceback in the log, or set a longer startup_timeout",
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


# Texts of the runtime that refuse a request, whatever it contains.
_REFUSALS = (
    ("is not a multi-model endpoint", "omit model=: this endpoint serves one model"),
    ("missing a target model header", "pass model=: this endpoint serves many models"),
    ("is configured for direct invocation", "pass target_container=, the hostname of one of the containers"),
    ("has no container with TargetContainerHostname", "pass target_container=, the hostname of one of the containers"),
    ("is not configured for direct invocation", "omit target_container="),
    ("extract model data", "the archive must be a tar.gz with the model at its root; models.register(…) packs one"),
    (" not found for Endpoint ", "leave target_variant out, or name a variant of endpoint.describe()"),
    ("does not support response streaming", "call invoke(), which returns the whole answer"),
    ("is an asynchronous inference endpoint", "call invoke_async(): this endpoint answers through S3"),
    ("is not an asynchronous inference endpoint", "call invoke(), or create an endpoint with AsyncInference(output=…)"),
)


def refusal_hint(message: str) -> str | None:
    """Return a hint for a text with which SageMaker's runtime refuses a request; None if there is none."""
    return next((remedy for words, remedy in _REFUSALS if words in message), None)


def hint_for(message: str) -> str | None:
    """Return a hint for a message of SageMaker; None if there is none."""
    lowered = message.lower()
    return next((remedy for words, remedy in _KNOWN if words in lowered), None)


def brief(reason: str | None) -> str:
    """Return a FailureReason on one line. Of many lines, as of a traceback, the first and the last one are kept."""
    lines = [line.strip() for line in (reason or "").splitlines() if line.strip()]
    return " ".join(lines) if len(lines) < 4 else f"{lines[0]} … {lines[-1]}"


def add_hint(error: BaseException) -> None:
    """If an error has no hint, set the one for its message."""
    if isinstance(error, MMEError) and error.hint is None:
        error.hint = hint_for(f"{error.code} {error.message}")
