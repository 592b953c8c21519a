"""API calls, and small flows that all operations use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from mme_sdk.aws import Call, Flow, Sleep, Together
from mme_sdk.endpoints.state.content import model_names
from mme_sdk.endpoints.state.description import EndpointDescription, parse_endpoint
from mme_sdk.errors import EndpointNotFoundError, NotFoundError

__all__ = [
    "CONSISTENCY",
    "Now",
    "alarm_call",
    "autoscaling_call",
    "describe_endpoint",
    "describe_if_exists",
    "gather",
    "none_if_missing",
    "paginate",
    "referenced_names",
    "retry_until_visible",
    "sagemaker_call",
]

T = TypeVar("T")
Now = Callable[[], float]
"""A monotonic clock, in seconds."""

# Pauses in seconds: a new model or configuration may not be visible to the next call at once.
CONSISTENCY = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)


def sagemaker_call(operation: str, endpoint: str | None = None, **params: Any) -> Call:
    """Return a call to SageMaker."""
    return Call(service="sagemaker", operation=operation, params=params, endpoint=endpoint)


def autoscaling_call(operation: str, endpoint: str | None = None, **params: Any) -> Call:
    """Return a call to Application Auto Scaling."""
    return Call(service="application-autoscaling", operation=operation, params=params, endpoint=endpoint)


def alarm_call(operation: str, endpoint: str | None = None, **params: Any) -> Call:
    """Return a call to CloudWatch."""
    return Call(service="cloudwatch", operation=operation, params=params, endpoint=endpoint)


def gather(flows: Sequence[Flow[Any]]) -> Flow[list[Any]]:
    """Run flows concurrently; return their results, or raise the first failure when all have ended."""
    results = yield Together(flows)
    for one in results:
        if isinstance(one, BaseException):
            raise one
    return list(results)


def none_if_missing(call: Call) -> Flow[Any]:
    """Make a call; return None if the resource does not exist."""
    try:
        return (yield call)
    except NotFoundError:
        return None


def retry_until_visible(call: Call) -> Flow[Any]:
    """Make a call; repeat it while a resource that was just created is not found."""
    for pause in CONSISTENCY:
        try:
            return (yield call)
        except NotFoundError:
            yield Sleep(pause)
    return (yield call)


def paginate(call: Call, key: str) -> Flow[list[Any]]:
    """Return the items of all pages."""
    found: list[Any] = []
    params = dict(call.params)
    if call.service == "sagemaker" and call.operation != "list_tags":
        params["MaxResults"] = 100  # the maximum; the default is 10
    while True:
        answer = yield Call(service=call.service, operation=call.operation, params=params, endpoint=call.endpoint)
        found += answer.get(key, [])
        token = answer.get("NextToken")
        if not token:
            return found
        params["NextToken"] = token


def describe_endpoint(name: str) -> Flow[EndpointDescription]:
    """Call DescribeEndpoint.

    Raises:
        EndpointNotFoundError: The endpoint does not exist.
    """
    return parse_endpoint((yield sagemaker_call("describe_endpoint", name, EndpointName=name)))


def referenced_names(name: str, configs: Iterable[str | None]) -> Flow[set[str]]:
    """Return the given configurations and the models that they name."""
    found: set[str] = set()
    for config in sorted({one for one in configs if one is not None}):
        described = yield from none_if_missing(
            sagemaker_call("describe_endpoint_config", name, EndpointConfigName=config)
        )
        found |= {config, *model_names(described)}
    return found


def describe_if_exists(name: str) -> Flow[EndpointDescription | None]:
    """Call DescribeEndpoint; return None if the endpoint does not exist."""
    try:
        return (yield from describe_endpoint(name))
    except EndpointNotFoundError:
        return None
