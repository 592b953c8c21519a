"""Image URIs of AWS's prebuilt containers that support multi-model endpoints, in every region.

`scripts/update_images.py` generates the data from the `sagemaker` package. `images.json` names its source and date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, Literal

from mme_sdk.errors import InvalidInputError
from mme_sdk.types.near import near_names

__all__ = ["frameworks", "retrieve", "supports_multi_model", "versions"]

_URI = re.compile(r"(?:\d{12}\.dkr\.ecr[.-][^/]+/)(?P<repository>[^:@]+)(?:[:@].*)?")


@cache
def _data() -> dict[str, Any]:
    text = resources.files("mme_sdk.endpoints.spec").joinpath("images.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def frameworks() -> tuple[str, ...]:
    """Return the names of the frameworks that `retrieve` knows.

    Returns:
        The names.

    Example:
        >>> "sklearn" in frameworks()
        True
    """
    return tuple(_data()["frameworks"])


def versions(framework: str) -> tuple[str, ...]:
    """Return the versions of a framework, as its images name them.

    Args:
        framework: Name of the framework, one of `frameworks()`.

    Returns:
        The versions.

    Raises:
        InvalidInputError: There is no such framework; the message names a similar one.
    """
    return tuple(_of("framework", framework, _data()["frameworks"])["versions"])


def retrieve(
    framework: str,
    version: str | None = None,
    *,
    region: str,
    accelerator: Literal["cpu", "gpu"] = "cpu",
) -> str:
    """Return the image URI of a prebuilt container that supports multi-model and single-model endpoints.

    Args:
        framework: Name of the framework, one of `frameworks()`, such as `sklearn` or `triton`.
        version: Version, such as `1.2-1` or `2.6`. Default: None, the newest.
        region: AWS region.
        accelerator: `cpu` or `gpu`. AWS documents multi-model endpoints on GPUs for Triton and PyTorch. Default: `cpu`.

    Returns:
        The image URI.

    Raises:
        InvalidInputError: There is no such framework, version, region or accelerator; the message names what there is.

    Example:
        >>> retrieve("sklearn", "1.2-1", region="eu-west-1")
        '141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3'
    """
    data = _data()
    known = _of("framework", framework, data["frameworks"])
    wanted = known["default"] if version is None else version
    wanted = known["aliases"].get(wanted, wanted) if isinstance(wanted, str) else wanted
    entry = _of(f"version of {framework}", wanted, known["versions"])
    accounts = data["registries"][entry["registry"]]
    account = _of(f"region for {framework} {wanted}", region, accounts)
    tag = _of(f"accelerator for {framework} {wanted}", accelerator, entry["tags"])
    suffix = data["dns_suffixes"].get(region, "amazonaws.com")
    return f"{account}.dkr.ecr.{region}.{suffix}/{entry['repository']}:{tag}"


def _of(what: str, wanted: str, choices: dict[str, Any]) -> Any:
    if isinstance(wanted, str) and wanted in choices:
        return choices[wanted]
    close = near_names(str(wanted), choices, limit=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {_listed(choices)}"
    raise InvalidInputError(f"there is no {what} {wanted!r}", hint=hint)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:6])}, … {', '.join(names[-3:])}"


def supports_multi_model(uri: str) -> bool | None:
    """Return whether an image supports multi-model endpoints.

    Args:
        uri: An image URI.

    Returns:
        True for AWS's images that AWS documents as such; False for AWS's built-in algorithms that are not; None for
        other images. SageMaker itself reads the image's label
        `com.amazonaws.sagemaker.capabilities.multi-models=true`.

    Raises:
        InvalidInputError: `uri` is not text.

    Example:
        >>> supports_multi_model("141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3")
        True
    """
    if not isinstance(uri, str):
        raise InvalidInputError(f"uri must be an image URI, not {uri!r}")
    found = _URI.fullmatch(uri)
    if found is None:
        return None
    data, account = _data(), uri.partition(".")[0]
    if not any(account in accounts.values() for accounts in data["registries"]):
        return None  # another account may have a repository of the same name
    repository = found["repository"]
    if any(
        repository == entry["repository"]
        for known in data["frameworks"].values()
        for entry in known["versions"].values()
    ):
        return True
    return False if repository in data["single_model_only"] else None
