"""A registered version of a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.display.shown import Shown, one_line
from mme_sdk.errors import InvalidInputError

__all__ = ["RESERVED", "ModelVersion", "check_compressed", "is_invokable"]

RESERVED = ".mme/"
"""Directory of aliases, tombstones, upload records and uncompressed models. Keys below it cannot be invoked and are not
listed."""

# TargetModel has 1 to 1024 printable characters and does not begin with a space: botocore's service model of
# sagemaker-runtime. No part is empty or begins with a dot: ".." leaves the prefix, ".mme/" belongs to the registry.
_TARGET = re.compile(r"(?=.{1,1024}\Z)(?! )(?:(?!\.)[\x20-\x2e\x30-\x7e]+/)*(?!\.)[\x20-\x2e\x30-\x7e]+")


def is_invokable(target: str) -> bool:
    """Return whether an S3 key relative to the endpoint's prefix is a valid `TargetModel`.

    Args:
        target: The key relative to the prefix.

    Returns:
        False for folder markers, names that begin with a dot, absolute names, names over 1024 characters, and
        characters that SageMaker rejects.

    Example:
        >>> is_invokable("fraud/v3.tar.gz"), is_invokable(".mme/aliases/fraud@live.json")
        (True, False)
    """
    return isinstance(target, str) and _TARGET.fullmatch(target) is not None


@attrs.frozen(kw_only=True, repr=False)
class ModelVersion(Shown):
    """One immutable version of a model under a registry's S3 prefix: an archive, or uncompressed files.

    Attributes:
        name: Name of the model, such as `fraud`.
        version: The version, such as `v3`. Empty for an archive that this SDK did not name.
        target_model: Value of `TargetModel`: the key relative to the prefix, such as `fraud/v3.tar.gz`.
        uri: S3 address of the archive.
        size: Size of the archive in bytes. None if unknown.
        sha256: Hex SHA-256 of the archive. None if this SDK did not register it, or if it was only listed.
        etag: S3 entity tag. None if unknown.
        created: Time at which S3 stored the archive, with a time zone. None if unknown.
        framework: Framework detected when the model was packed, such as `sklearn`. None if unknown.
        metadata: Metadata that the caller attached. Empty by default.
        compressed: False for a version that was registered with `compressed=False`: its files are the objects below
            `uri`, which ends with `/`, `size` is the size of all files, and `target_model` cannot be invoked. True by
            default.
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
    compressed: bool = True

    def __str__(self) -> str:
        return self.target_model

    def _text(self) -> str:
        digest = None if self.sha256 is None else f"{self.sha256[:12]}…"
        return one_line("ModelVersion", {**self._facts(), "target_model": None, "sha256": digest, "etag": None})

    def _html(self) -> str:
        from mme_sdk.display import html

        return html.facts("ModelVersion", {**self._facts(), "size": html.size(self.size)})


def check_compressed(model: Any, what: str) -> None:
    """Raise InvalidInputError for a version that was registered with `compressed=False`.

    Args:
        model: A version, or anything else.
        what: What needs an archive, for the message.

    Raises:
        InvalidInputError: The version has no archive.
    """
    if getattr(model, "compressed", True) is False:
        raise InvalidInputError(
            f"{model.uri} is an uncompressed version; {what} needs an archive",
            hint="serve it with EndpointSpec.single_model(artifact=version), or register it with compressed=True",
        )
