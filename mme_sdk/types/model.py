"""A registered model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

import attrs

__all__ = ["ModelVersion", "is_invokable"]

# TargetModel is 1 to 1024 printable characters, the first no space: botocore's service model of sagemaker-runtime.
# No part may begin with a dot (".." leads out of the prefix, ".mme/" is the registry's own) or be empty.
_TARGET = re.compile(r"(?=.{1,1024}\Z)(?! )(?:(?!\.)[\x20-\x2e\x30-\x7e]+/)*(?!\.)[\x20-\x2e\x30-\x7e]+")


def is_invokable(target: str) -> bool:
    """Whether a key relative to a prefix may go into `TargetModel`.

    Args:
        target: The key relative to the prefix.

    Returns:
        False for folder markers, dot-directories, `..`, absolute and over-long names, and characters that are refused.

    Example:
        >>> is_invokable("fraud/v3.tar.gz"), is_invokable(".mme/aliases/fraud@live.json")
        (True, False)
    """
    return isinstance(target, str) and _TARGET.fullmatch(target) is not None


@attrs.frozen(kw_only=True)
class ModelVersion:
    """One immutable archive under a multi-model endpoint's S3 prefix.

    Attributes:
        name: The model's name, such as `fraud`.
        version: The version, such as `v3`; empty for an archive that this SDK did not name.
        target_model: What goes into `TargetModel`: the key relative to the prefix, such as `fraud/v3.tar.gz`.
        uri: The archive's full S3 address.
        size: Bytes of the archive.
        sha256: Hex digest of the archive; None where the archive was not registered by this SDK or only listed.
        etag: S3's entity tag.
        created: When S3 stored it.
        framework: Framework found at packing, such as `sklearn`.
        metadata: What the caller attached.
    """

    name: str
    version: str
    target_model: str
    uri: str
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    created: datetime | None = None
    framework: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    def __str__(self) -> str:
        return self.target_model
