"""Questions to AWS that make an error helpful: where the models of an endpoint are, and what is there."""

from __future__ import annotations

import difflib
import re

from mme_sdk._effects import Call, Flow
from mme_sdk.errors import MMEError, NotFoundError
from mme_sdk.types.s3uri import S3Uri

__all__ = ["explain_absent", "model_prefix"]

_SAID_WHERE = re.compile(r"bucket: ([^,\s]+), key: ([^)]+?)\)")


def model_prefix(endpoint: str) -> Flow[str | None]:
    """The S3 prefix of a multi-model endpoint; None for a single-model endpoint.

    Args:
        endpoint: Name of the endpoint.

    Returns:
        A flow that ends in the prefix.
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
    """Say in an error whether the archive is in S3, and which names are near.

    Args:
        error: What the invocation raised; it names endpoint and model.
        prefix: The endpoint's S3 prefix, where known.

    Returns:
        A flow that changes the error; it never fails, a question that cannot be answered is said in the hint.
    """
    endpoint, target = error.endpoint or "", error.model or ""
    try:
        where = _said(error, target) or prefix or (yield from model_prefix(endpoint))
        if where is None:
            return
        root = S3Uri.parse(where).as_prefix()
        key = root.key + target
        if (yield from _exists(root.bucket, key)):
            error.hint = (
                f"s3://{root.bucket}/{key} exists: was it uploaded just now, or does the endpoint's role lack "
                "s3:GetObject on it?"
            )
            return
        names = yield from _names_near(root, target)
    except MMEError as failed:
        error.hint = f"whether it is in S3 could not be found out: {failed.message}"
        return
    error.message = f"{endpoint} ({target}): there is no archive s3://{root.bucket}/{key}"
    error.args = (error.message,)
    near = _near(target, names)
    error.hint = f"near names: {', '.join(near)}" if near else f"no name under {root} is near; it has {len(names)} keys"


def _said(error: MMEError, target: str) -> str | None:
    found = _SAID_WHERE.search(error.message)
    if found is None or not found.group(2).endswith(target):
        return None
    return f"s3://{found.group(1)}/{found.group(2).removesuffix(target)}"


def _exists(bucket: str, key: str) -> Flow[bool]:
    try:
        yield Call(service="s3", operation="head_object", params={"Bucket": bucket, "Key": key})
    except NotFoundError:
        return False
    return True


def _names_near(root: S3Uri, target: str) -> Flow[list[str]]:
    """Keys that could be meant: those with the same beginning first, since a prefix may hold a million."""
    names: list[str] = []
    for beginning in (target.rpartition("/")[0] or target[:3], target[:1], ""):
        page = yield Call(
            service="s3",
            operation="list_objects_v2",
            params={"Bucket": root.bucket, "Prefix": root.key + beginning, "MaxKeys": 1000},
        )
        names += [item["Key"][len(root.key) :] for item in page.get("Contents", ())]
        if _near(target, names):
            break
    return sorted(set(names))


def _near(target: str, names: list[str]) -> list[str]:
    """Up to three names that could be meant; what all archives end in makes none of them alike."""
    stems = {name.removesuffix(".tar.gz"): name for name in names}
    found = difflib.get_close_matches(target.removesuffix(".tar.gz"), list(stems), n=3, cutoff=0.6)
    return [stems[stem] for stem in found]
