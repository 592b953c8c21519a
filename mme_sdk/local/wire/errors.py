"""The error that a client of the embedded SageMaker receives."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["ApiError", "service_code", "shape_and_headers"]

_QUERY_COMPATIBLE = ("cloudwatch",)  # services with the trait awsQueryCompatible; older models do not have it


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


def service_code(model: Any, operation: Any, code: str) -> str:
    """Return the error code that a service uses for an invalid request.

    Args:
        model: botocore's model of the service.
        operation: botocore's model of the operation.
        code: Error code of the checks that all services share.
    """
    if code != "ValidationException" or model.service_name not in _QUERY_COMPATIBLE:
        return code
    declared = {_query_code(shape) for shape in operation.error_shapes}
    return "InvalidParameterValue" if "InvalidParameterValue" in declared else "ValidationError"


def shape_and_headers(model: Any, error: ApiError) -> tuple[str, dict[str, str]]:
    """Return the `__type` and the extra headers of an error in JSON or CBOR.

    A service with the trait awsQueryCompatible sends the name of the error's shape in the body, and its error code in
    the query protocol in a header. https://smithy.io/2.0/aws/protocols/aws-query-protocol.html

    Args:
        model: botocore's model of the service; None if the request does not identify it.
        error: The error.
    """
    if model is None or model.service_name not in _QUERY_COMPATIBLE:
        return error.code, {}
    fault = "Sender" if error.status < 500 else "Receiver"
    return _shapes_by_code(model).get(error.code, error.code), {"x-amzn-query-error": f"{error.code};{fault}"}


@cache
def _shapes_by_code(model: Any) -> dict[str, str]:
    shapes = {shape.name: shape for name in model.operation_names for shape in model.operation_model(name).error_shapes}
    return {"ValidationError": "ValidationException"} | {_query_code(shape): name for name, shape in shapes.items()}


def _query_code(shape: Any) -> str:
    code: str = shape.metadata.get("error", {}).get("code", shape.name)
    return code
