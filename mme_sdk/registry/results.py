"""Arguments and results of the registry's operations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.display.shown import Shown
from mme_sdk.types.model import ModelVersion

__all__ = [
    "AbortedUploads",
    "CopyReport",
    "ModelDeletion",
    "Registration",
    "SyncReport",
]


@attrs.frozen
class Registration:
    """One model to register with `register_many`.

    Attributes:
        name: Name of the model.
        source: A directory, a file, a tar.gz archive, or a fitted estimator.
        version: The version. None (the default) derives it from the content.
        framework: Framework whose layout is checked. None (the default) detects it from the file names.
        metadata: Text to store with the archive, up to about 1.8 kB. Default: none.
        image: Name of the image that will load the model, as in `register`. None (the default): not known.
        multi_model: Whether a multi-model endpoint will load it, as in `register`. Default: True.
    """

    name: str
    source: str | Path | Any
    version: str | None = None
    framework: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    image: str | None = None
    multi_model: bool = True


@attrs.frozen(kw_only=True, repr=False)
class ModelDeletion(Shown):
    """Result of `delete` or `prune`.

    Attributes:
        versions: Versions that were deleted, or would be in a dry run.
        broken_aliases: Aliases that refer to one of these versions, as `name@alias`.
        dry_run: Whether this was a dry run: nothing was deleted.
    """

    versions: tuple[ModelVersion, ...] = ()
    broken_aliases: tuple[str, ...] = ()
    dry_run: bool = False


@attrs.frozen(kw_only=True, repr=False)
class SyncReport(Shown):
    """Result of `sync`.

    Attributes:
        registered: Version by name, of models that were registered, or would be in a dry run.
        unchanged: Version by name, of models that were registered already.
        deleted: Versions that were deleted because the directory does not contain their name.
        dry_run: Whether this was a dry run: nothing was changed.
    """

    registered: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    unchanged: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    deleted: tuple[ModelVersion, ...] = ()
    dry_run: bool = False


@attrs.frozen(kw_only=True, repr=False)
class CopyReport(Shown):
    """Result of `copy`.

    Attributes:
        copied: Versions that were copied, or would be in a dry run. Their addresses are those at the destination.
        unchanged: Versions that the destination had already.
        dry_run: Whether this was a dry run: nothing was copied.
    """

    copied: tuple[ModelVersion, ...] = ()
    unchanged: tuple[ModelVersion, ...] = ()
    dry_run: bool = False


@attrs.frozen(kw_only=True, repr=False)
class AbortedUploads(Shown):
    """Result of `abort_uploads`.

    Attributes:
        keys: S3 keys whose multipart uploads were aborted, or would be in a dry run.
        files: S3 keys of files that registrations with `compressed=False` left and that were deleted, or would be in a
            dry run.
        dry_run: Whether this was a dry run: nothing was aborted.
    """

    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    dry_run: bool = False
