"""What the registry's verbs take and answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.types.model import ModelVersion

__all__ = ["Copied", "Deletion", "Progress", "Registration", "SyncReport", "Tidied"]


@attrs.frozen
class Registration:
    """One of many models to register.

    Attributes:
        name: The model's name.
        source: A directory, a file, a tar.gz, or a fitted estimator.
        version: The version; taken from the content where None.
        framework: Framework whose layout is checked; found where None.
        metadata: Text to travel with the archive.
    """

    name: str
    source: str | Path | Any
    version: str | None = None
    framework: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Progress:
    """How far many models are.

    Attributes:
        model: The name that this is about.
        models: How many are done, failed ones included.
        of: How many there are.
        size: Bytes that have arrived in all.
    """

    model: str
    models: int
    of: int
    size: int


@attrs.frozen(kw_only=True)
class Deletion:
    """What was deleted, or would be.

    Attributes:
        versions: The versions.
        breaks: Aliases that mean one of them, as `name@alias`.
        dry_run: Whether nothing was done.
    """

    versions: tuple[ModelVersion, ...] = ()
    breaks: tuple[str, ...] = ()
    dry_run: bool = False


@attrs.frozen(kw_only=True)
class SyncReport:
    """How a directory and a prefix were brought together, or would be.

    Attributes:
        registered: Versions that were missing, by name.
        unchanged: Versions that were there, by name.
        deleted: Versions of names that are not in the directory.
        dry_run: Whether nothing was done.
    """

    registered: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    unchanged: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    deleted: tuple[ModelVersion, ...] = ()
    dry_run: bool = False


@attrs.frozen(kw_only=True)
class Copied:
    """What was copied, or would be.

    Attributes:
        versions: Versions that were missing at the destination, as they are there.
        unchanged: Versions that were there already.
        dry_run: Whether nothing was done.
    """

    versions: tuple[ModelVersion, ...] = ()
    unchanged: tuple[ModelVersion, ...] = ()
    dry_run: bool = False


@attrs.frozen(kw_only=True)
class Tidied:
    """Uploads that nobody continued, and were or would be aborted.

    Attributes:
        uploads: Their keys.
        dry_run: Whether nothing was done.
    """

    uploads: tuple[str, ...] = ()
    dry_run: bool = False
