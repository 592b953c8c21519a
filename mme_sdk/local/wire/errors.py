"""The error that a client of the embedded SageMaker receives."""

from __future__ import annotations

__all__ = ["ApiError"]


class ApiError(Exception):
    """An error response in the format of AWS.

    Args:
        code: Error code, such as `ValidationException`.
        message: Error message.
        status: HTTP status, default 400.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
