"""The error that a client of the embedded SageMaker receives."""

from __future__ import annotations

__all__ = ["ApiError"]


class ApiError(Exception):
    """What a client gets in AWS's shape.

    Args:
        code: The error code, such as `ValidationException`.
        message: The text.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
