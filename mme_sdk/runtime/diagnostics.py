"""AWS calls that explain an error of an invocation: the status of an endpoint, its S3 prefix, the form of a payload."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from mme_sdk._flows.effects import Call, Flow
from mme_sdk.aws.failure_hints import brief, hint_for
from mme_sdk.errors import ConflictError, EndpointFailedError, EndpointNotFoundError, MMEError, ModelError
from mme_sdk.types.matrix import is_json, media_type
from mme_sdk.types.near import near_names

__all__ = ["explain_endpoint", "explain_payload", "model_prefix", "with_status"]

T = TypeVar("T")
_REGION = re.compile(r"arn:[\w-]+:sagemaker:([\w-]+):")
_CHANGING = {
    "Creating": "is being created",
    "Updating": "is being updated",
    "SystemUpdating": "is being updated by AWS",
}
_CHANGING["RollingBack"] = "is being rolled back"
_NO_JSON = ("text/plain", "application/octet-stream", "text/csv")


def model_prefix(endpoint: str) -> Flow[str | None]:
    """Read the S3 prefix of a multi-model endpoint.

    Args:
        endpoint: Name of the endpoint.

    Returns:
        A flow that returns the prefix; None for a single-model endpoint.
    """
    try:
        described = yield Call(service="sagemaker", operation="describe_endpoint", params={"EndpointName": endpoint})
    except EndpointNotFoundError as absent:
        raise (yield from _does_not_exist(absent, absent, endpoint)) from absent.__cause__
    config = yield Call(
        service="sagemaker",
        operation="describe_endpoint_config",
        params={"EndpointConfigName": described["EndpointConfigName"]},
    )
    name = config["ProductionVariants"][0].get("ModelName")
    if name is None:
        return None
    model = yield Call(service="sagemaker", operation="describe_model", params={"ModelName": name})
    containers = [model["PrimaryContainer"]] if "PrimaryContainer" in model else model.get("Containers", [])
    for container in containers:
        if container.get("Mode") == "MultiModel":
            return str(container["ModelDataUrl"])
    return None


def with_status(flow: Flow[T]) -> Flow[T]:
    """Run a flow of AWS calls; if SageMaker does not know the endpoint, raise the error that its status explains."""
    try:
        return (yield from flow)
    except EndpointNotFoundError as error:
        raise (yield from explain_endpoint(error)) from error.__cause__


def explain_endpoint(error: EndpointNotFoundError) -> Flow[MMEError]:
    """Return the error that the status of an endpoint explains: the runtime does not know one that is not in service.

    Args:
        error: The error of the invocation, with the endpoint.

    Returns:
        A flow that returns the error to raise. If DescribeEndpoint is not permitted or fails, it is the same error.
    """
    name = error.endpoint or ""
    try:
        seen = yield Call(service="sagemaker", operation="describe_endpoint", params={"EndpointName": name})
    except EndpointNotFoundError as absent:
        return (yield from _does_not_exist(error, absent, name))
    except MMEError:
        return error
    status, reason = str(seen["EndpointStatus"]), seen.get("FailureReason")
    facts: dict[str, Any] = {
        "endpoint": name,
        "model": error.model,
        "code": error.code,
        "status": error.status,
        "request_id": error.request_id,
    }
    if status in _CHANGING:
        return ConflictError(
            f"{name}: the endpoint {_CHANGING[status]} (status {status}), and cannot be invoked yet",
            hint=f"wait until it is in service: client.endpoint({name!r}).wait()",
            **facts,
        )
    if status == "Deleting":
        text = f"{name}: the endpoint is being deleted (status Deleting)"
        return EndpointNotFoundError(text, hint="invoke another endpoint, or create it again afterwards", **facts)
    if status == "InService":
        error.hint = (
            "DescribeEndpoint says that it is in service: it became so a moment ago, or endpoint_url sends invocations "
            "to another region; repeat the call"
        )
        return error
    advice = hint_for(reason or "") or f"client.endpoint({name!r}).logs() returns the end of the container's log"
    return EndpointFailedError(
        f"{name}: the endpoint has status {status}: {brief(reason) or 'SageMaker gives no reason'}",
        reason=reason,
        hint=f"{advice}; then delete it and create it again",
        **facts,
    )


def _does_not_exist(error: MMEError, absent: EndpointNotFoundError, name: str) -> Flow[MMEError]:
    region = _REGION.search(absent.message)
    error.message = f"{name}: there is no endpoint of this name" + (f" in {region[1]}" if region else "")
    error.args = (error.message,)
    error.hint = yield from _other_endpoints(name)
    return error


def _other_endpoints(name: str) -> Flow[str]:
    try:
        page = yield Call(service="sagemaker", operation="list_endpoints", params={"MaxResults": 100})
    except MMEError:
        return "check the name, the account and the region"
    names = [str(each["EndpointName"]) for each in page.get("Endpoints", ())]
    near = near_names(name, names, limit=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return "this account has no endpoint in this region; check the account and the region, or create it"
    more = ", …" if len(names) > 3 or "NextToken" in page else ""
    return f"check the name, the account and the region; there are: {', '.join(names[:3])}{more}"


def explain_payload(error: MMEError, data: Any, content_type: str) -> None:
    """Add to an error what the payload was sent as, if a model refused that media type.

    Text that is JSON gets a hint of its own.

    Args:
        error: The error of the invocation.
        data: The payload that the caller gave.
        content_type: Media type that it was sent as.
    """
    kind = media_type(content_type)
    if isinstance(error, ModelError) and error.original_status == 415 and not isinstance(data, (str, bytes, bytearray)):
        other = "send an array or a data frame, and pass" if is_json(kind) else "pass"
        error.hint = f"the payload was sent as {kind}: {other} a content_type= that the container accepts"
    if not isinstance(error, ModelError) or not isinstance(data, (str, bytes)) or is_json(kind) or kind not in _NO_JSON:
        return
    if error.original_status != 415 and kind not in (error.original_message or ""):
        return
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return
    error.hint = (
        f"the payload is {'text' if isinstance(data, str) else 'bytes'} with JSON in it, and was sent as {kind}: pass "
        "content_type='application/json', or the Python value itself"
    )
