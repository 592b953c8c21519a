"""Names of models that are not target models: what they stand for, and similar names if they stand for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mme_sdk._flows.effects import Call, Flow
from mme_sdk.aws.s3.head import head_object
from mme_sdk.errors import InvalidInputError, MMEError, NotFoundError
from mme_sdk.protocols import AsyncModelStore, ModelStore
from mme_sdk.runtime.diagnostics import model_prefix
from mme_sdk.runtime.effects import Resolve, RunFlow
from mme_sdk.types.model import RESERVED, is_invokable
from mme_sdk.types.near import near_names
from mme_sdk.types.s3uri import S3Uri

__all__ = ["below_prefix", "is_stored", "recognise"]

_LOCATION = re.compile(r"bucket: ([^,\s]+), key: ([^)]+?)\)")
_ARCHIVE = re.compile(r"\.(?:gz|tgz|tar|zip)\Z", re.IGNORECASE)
_ALIASES = f"{RESERVED}aliases/"
_SHOWN = 5

StoreOf = Callable[[str], "ModelStore | AsyncModelStore"]


def below_prefix(endpoint: str, address: str, prefix: str) -> str:
    """Return the name of a model that was given by its S3 address.

    Args:
        endpoint: Name of the endpoint, for the error.
        address: Address of an archive, such as `s3://ml-models/prod/fraud/v3.tar.gz`.
        prefix: S3 prefix of the endpoint.

    Returns:
        The address relative to the prefix.

    Raises:
        InvalidInputError: The address is not below the prefix.
    """
    root = str(S3Uri.parse(prefix).as_prefix())
    name = address[len(root) :].strip("/")
    if not f"s3://{address[5:]}".startswith(root) or not name:
        raise InvalidInputError(
            f"{endpoint}: {address} is not the address of an archive below {root}, the endpoint's S3 prefix",
            hint="an endpoint loads the archives below its prefix; copy the archive there, or invoke another endpoint",
            endpoint=endpoint,
            model=address,
        )
    return name


def recognise(error: MMEError, prefix: str | None, store_of: StoreOf | None, *, resolve: bool) -> Flow[str | None]:
    """Find out why SageMaker does not know a model, and what its name stands for.

    The name is tried as a key without its suffix, and as the name of a model, which stands for the newest version.

    Args:
        error: The error of the invocation, with endpoint and model. Its message and hint are replaced.
        prefix: S3 prefix of the endpoint. None if unknown.
        store_of: Returns the registry of a prefix. None if there is none.
        resolve: Whether the name may stand for something else. False for a target model that a registry named.

    Returns:
        A flow that returns the reference to invoke instead; None if there is none, or more than one. It does not raise
        MMEError: if an AWS call fails, the hint says so.
    """
    endpoint, target = error.endpoint or "", error.model or ""
    try:
        where = _stated_prefix(error, target) or prefix or (yield RunFlow(model_prefix(endpoint)))
        if where is None:
            return None
        root = S3Uri.parse(where).as_prefix()
        if (yield RunFlow(is_stored(root, target))):
            error.hint = (
                f"{root.join(target)} exists; check that the endpoint's execution role has s3:GetObject, or try again "
                "if it was uploaded a moment ago"
            )
            return None
        meant = (yield from _stands_for(root, target, str(where), store_of)) if resolve else []
        if len(meant) == 1:
            return meant[0]
        error.message = f"{endpoint} ({target}): the archive {root.join(target)} does not exist"
        error.args = (error.message,)
        names, total = yield RunFlow(_names_near(root, target))
    except MMEError as failed:
        error.hint = f"could not check whether the archive is in S3: {failed.message}"
        return None
    near = meant or near_names(target, names, limit=_SHOWN)
    if near:
        error.hint = f"did you mean {' or '.join(near)}?"
    elif names:
        error.hint = f"no name under {root} is similar; {'these are the first' if total is None else 'there are'} "
        error.hint += ("of many" if total is None else str(total)) + f": {', '.join(names[:_SHOWN])}"
    else:
        error.hint = f"there is no archive under {root}; store one with models({str(root)!r}).register(…)"
    return None


def is_stored(root: S3Uri, target: str) -> Flow[bool]:
    """Return whether the archive of a target model is in S3."""
    try:
        yield from head_object({"Bucket": root.bucket, "Key": root.key + target})
    except NotFoundError:
        return False
    return True


def _stated_prefix(error: MMEError, target: str) -> str | None:
    found = _LOCATION.search(error.message)
    if found is None or not found.group(2).endswith(target):
        return None
    return f"s3://{found.group(1)}/{found.group(2).removesuffix(target)}"


def _stands_for(root: S3Uri, target: str, prefix: str, store_of: StoreOf | None) -> Flow[list[str]]:
    """Return what a name without a suffix stands for: the key with the suffix, the newest version, both, or nothing."""
    name = target.strip("/")
    if _ARCHIVE.search(name):
        return []
    meant = [f"{name}.tar.gz"] if (yield RunFlow(is_stored(root, f"{name}.tar.gz"))) else []
    if store_of is not None:
        newest = f"{name}@latest"
        try:
            yield Resolve(store_of(prefix), newest)
        except (NotFoundError, InvalidInputError):
            pass  # no version, several versions of the same second, or not the name of a model
        else:
            meant.append(newest)
    return meant


def _names_near(root: S3Uri, target: str) -> Flow[tuple[list[str], int | None]]:
    """List names that may be similar: target models, the newest of each model first, and aliases.

    A prefix can hold a million keys. If one page does not hold all, keys with the same beginning are listed as well.

    Returns:
        The names, and their number; None as the number if there are more.
    """
    items, complete = yield from _page(root, "")
    if not complete:
        folder, plain = target.rpartition("/")[0], target.lower()
        beginnings = [folder, target[:3], plain[:3], target[:1], plain[:1], _ALIASES + target[:1]]
        for beginning in dict.fromkeys(one for one in beginnings if one):
            items += (yield from _page(root, beginning))[0]
    items.sort(key=lambda item: item["LastModified"].timestamp() if "LastModified" in item else 0.0, reverse=True)
    items.sort(key=lambda item: str(item["Key"]).rpartition("/")[0])  # stable: the newest of each model first
    keys = list(dict.fromkeys(str(item["Key"])[len(root.key) :] for item in items))
    targets = [key for key in keys if is_invokable(key)]
    aliases = [key[len(_ALIASES) :].removesuffix(".json") for key in keys if key.startswith(_ALIASES)]
    names = targets + [alias for alias in aliases if "@" in alias]
    return names, len(names) if complete else None


def _page(root: S3Uri, beginning: str) -> Flow[tuple[list[dict[str, Any]], bool]]:
    page = yield Call(
        service="s3",
        operation="list_objects_v2",
        params={"Bucket": root.bucket, "Prefix": root.key + beginning, "MaxKeys": 1000},
    )
    return list(page.get("Contents", ())), not page.get("IsTruncated", False)
