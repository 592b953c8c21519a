"""Errors of InvokeEndpoint, with the codes, statuses and texts of AWS."""

from __future__ import annotations

import json
from typing import Any

import attrs

from mme_sdk.local.hosting_interface import InvocationResponse

__all__ = ["InvokeError", "model_error", "validation_error"]

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
class InvokeError(Exception):
    """An error response of InvokeEndpoint, raised where the request fails.

    Attributes:
        code: Value of the header `x-amzn-ErrorType`.
        message: Text of the error.
        extra: Other members of the JSON body.
        status: HTTP status; by default the one that AWS uses for `code`.
    """

    code: str
    message: str
    extra: dict[str, Any] = attrs.field(factory=dict)
    status: int = attrs.field(default=attrs.Factory(lambda self: _STATUS[self.code], takes_self=True))

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def response(self, request_id: str) -> InvocationResponse:
        """Return the HTTP response for this error.

        Args:
            request_id: Value of the header `x-amzn-RequestId`.

        Returns:
            The response.
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


def validation_error(message: str) -> InvokeError:
    """Return a ValidationError (400): the request is not valid."""
    return InvokeError(code="ValidationError", message=message)


def model_error(status: int, message: str, *, log_stream: str) -> InvokeError:
    """Return a ModelError (424): the container responded with an error, or did not respond in time.

    Args:
        status: HTTP status of the container; 0 if it did not respond in time.
        message: Error text of the container.
        log_stream: ARN of the log group of the container.

    Returns:
        The error.
    """
    side = "client" if 400 <= status < 500 else "server"
    return InvokeError(
        code="ModelError",
        message=(
            f'Received {side} error ({status}) from model with message "{message}". '
            f"See {log_stream} in account for more information."
        ),
        extra={
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if side == "client" else "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": log_stream,
            "OriginalMessage": message,
            "OriginalStatusCode": status,
        },
    )
