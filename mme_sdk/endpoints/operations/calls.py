"""The API calls of this room, and the small flows that everything else is made of."""

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
"""The monotonic clock of whoever drives the flow, in seconds."""

# CreateEndpoint reads configurations, and CreateEndpointConfig models, with eventual consistency.
CONSISTENCY = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)


def sagemaker_call(operation: str, endpoint: str | None = None, **params: Any) -> Call:
    """A SageMaker call."""
    return Call(service="sagemaker", operation=operation, params=params, endpoint=endpoint)


def autoscaling_call(operation: str, endpoint: str | None = None, **params: Any) -> Call:
    """An Application Auto Scaling call."""
    return Call(service="application-autoscaling", operation=operation, params=params, endpoint=endpoint)


def gather(flows: Sequence[Flow[Any]]) -> Flow[list[Any]]:
    """Run flows at a time and raise the first failure, once all have ended."""
    results = yield Together(flows)
    for one in results:
        if isinstance(one, BaseException):
            raise one
    return list(results)


def none_if_missing(call: Call) -> Flow[Any]:
    """Make a call; None where its subject is not there."""
    try:
        return (yield call)
    except NotFoundError:
        return None


def retry_until_visible(call: Call) -> Flow[Any]:
    """Make a call that may not see yet what was made a moment ago."""
    for pause in CONSISTENCY:
        try:
            return (yield call)
        except NotFoundError:
            yield Sleep(pause)
    return (yield call)


def paginate(call: Call, key: str) -> Flow[list[Any]]:
    """Every item of a paginated answer."""
    found: list[Any] = []
    params = dict(call.params)
    if call.service == "sagemaker" and call.operation != "list_tags":
        params["MaxResults"] = 100  # the service's most; it answers ten where nothing is said
    while True:
        answer = yield Call(service=call.service, operation=call.operation, params=params, endpoint=call.endpoint)
        found += answer.get(key, [])
        token = answer.get("NextToken")
        if not token:
            return found
        params["NextToken"] = token


def describe_endpoint(name: str) -> Flow[EndpointDescription]:
    """DescribeEndpoint.

    Raises:
        EndpointNotFoundError: There is none of this name.
    """
    return parse_endpoint((yield sagemaker_call("describe_endpoint", name, EndpointName=name)))


def referenced_names(name: str, configs: Iterable[str | None]) -> Flow[set[str]]:
    """Configurations of an endpoint, and the models that they name."""
    found: set[str] = set()
    for config in sorted({one for one in configs if one is not None}):
        described = yield from none_if_missing(
            sagemaker_call("describe_endpoint_config", name, EndpointConfigName=config)
        )
        found |= {config, *model_names(described)}
    return found


def describe_if_exists(name: str) -> Flow[EndpointDescription | None]:
    """DescribeEndpoint; None where there is none of this name."""
    try:
        return (yield from describe_endpoint(name))
    except EndpointNotFoundError:
        return None
