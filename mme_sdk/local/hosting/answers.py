"""InvokeEndpoint's errors as AWS words them."""

from __future__ import annotations

import json
from typing import Any

import attrs

from mme_sdk.local.hosting_interface import InvocationResponse

__all__ = ["Refusal", "model_error", "validation_error"]

_STATUS = {
    "ValidationError": 400,
    "ModelError": 424,
    "ModelNotReadyException": 429,
    "ThrottlingException": 400,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "InternalDependencyException": 530,
}


@attrs.frozen(kw_only=True)
class Refusal(Exception):
    """An error in AWS's shape.

    Attributes:
        code: For `x-amzn-ErrorType`.
        message: The text.
        extra: Other members of the body.
        status: HTTP status.
    """

    code: str
    message: str
    extra: dict[str, Any] = attrs.field(factory=dict)
    status: int = attrs.field(default=attrs.Factory(lambda self: _STATUS[self.code], takes_self=True))

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def answer(self, request_id: str) -> InvocationResponse:
        """The answer to send.

        Args:
            request_id: Goes into `x-amzn-RequestId`.

        Returns:
            The answer.
        """
        headers = {
            "Content-Type": "application/json",
            "x-amzn-ErrorType": self.code,
            "x-amzn-RequestId": request_id,
        }
        return InvocationResponse(
            status=self.status,
            headers=headers,
            body=json.dumps({"Message": self.message, **self.extra}).encode(),
        )


def validation_error(message: str) -> Refusal:
    """The caller's fault."""
    return Refusal(code="ValidationError", message=message)


def model_error(status: int, message: str, *, log_stream: str) -> Refusal:
    """The container answered with an error, or not at all.

    Args:
        status: The container's HTTP status; 0 where it gave no answer in time.
        message: What it said.
        log_stream: ARN of its log group.

    Returns:
        The error.
    """
    whose = "client" if 400 <= status < 500 else "server"
    return Refusal(
        code="ModelError",
        message=(
            f'Received {whose} error ({status}) from model with message "{message}". '
            f"See {log_stream} in account for more information."
        ),
        extra={
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if whose == "client" else "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": log_stream,
            "OriginalMessage": message,
            "OriginalStatusCode": status,
        },
    )
