"""AWS calls that explain a missing model: the S3 prefix of an endpoint, and similar names below it."""

from __future__ import annotations

import difflib
import re

from mme_sdk._flows.effects import Call, Flow
from mme_sdk.errors import MMEError, NotFoundError
from mme_sdk.types.s3uri import S3Uri

__all__ = ["explain_absent", "model_prefix"]

_LOCATION = re.compile(r"bucket: ([^,\s]+), key: ([^)]+?)\)")


def model_prefix(endpoint: str) -> Flow[str | None]:
    """Read the S3 prefix of a multi-model endpoint.

    Args:
        endpoint: Name of the endpoint.

    Returns:
        A flow that returns the prefix; None for a single-model endpoint.
    """
    described = yield Call(service="sagemaker", operation="describe_endpoint", params={"EndpointName": endpoint})
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


def explain_absent(error: MMEError, prefix: str | None) -> Flow[None]:
    """Add to an error whether the model's archive is in S3, and similar names.

    Args:
        error: The error of the invocation, with endpoint and model.
        prefix: S3 prefix of the endpoint; None if unknown.

    Returns:
        A flow that changes the error. If an AWS call fails, the hint says so, and the flow does not raise.
    """
    endpoint, target = error.endpoint or "", error.model or ""
    try:
        where = _stated_prefix(error, target) or prefix or (yield from model_prefix(endpoint))
        if where is None:
            return
        root = S3Uri.parse(where).as_prefix()
        key = root.key + target
        if (yield from _exists(root.bucket, key)):
            error.hint = (
                f"s3://{root.bucket}/{key} exists; check that the endpoint's execution role has s3:GetObject, or try "
                "again if it was uploaded a moment ago"
            )
            return
        names = yield from _candidates(root, target)
    except MMEError as failed:
        error.hint = f"could not check whether the archive is in S3: {failed.message}"
        return
    error.message = f"{endpoint} ({target}): the archive s3://{root.bucket}/{key} does not exist"
    error.args = (error.message,)
    near = _similar(target, names)
    error.hint = (
        f"similar names: {', '.join(near)}" if near else f"none of the {len(names)} keys listed under {root} is similar"
    )


def _stated_prefix(error: MMEError, target: str) -> str | None:
    found = _LOCATION.search(error.message)
    if found is None or not found.group(2).endswith(target):
        return None
    return f"s3://{found.group(1)}/{found.group(2).removesuffix(target)}"


def _exists(bucket: str, key: str) -> Flow[bool]:
    try:
        yield Call(service="s3", operation="head_object", params={"Bucket": bucket, "Key": key})
    except NotFoundError:
        return False
    return True


def _candidates(root: S3Uri, target: str) -> Flow[list[str]]:
    """List keys that may be similar. A prefix can hold a million keys, so keys with the same beginning come first."""
    names: list[str] = []
    for beginning in (target.rpartition("/")[0] or target[:3], target[:1], ""):
        page = yield Call(
            service="s3",
            operation="list_objects_v2",
            params={"Bucket": root.bucket, "Prefix": root.key + beginning, "MaxKeys": 1000},
        )
        names += [item["Key"][len(root.key) :] for item in page.get("Contents", ())]
        if _similar(target, names):
            break
    return sorted(set(names))


def _similar(target: str, names: list[str]) -> list[str]:
    """Return up to three similar names. The common suffix of archives is not compared."""
    stems = {name.removesuffix(".tar.gz"): name for name in names}
    found = difflib.get_close_matches(target.removesuffix(".tar.gz"), list(stems), n=3, cutoff=0.6)
    return [stems[stem] for stem in found]
