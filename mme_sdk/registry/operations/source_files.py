"""The files of an uncompressed model on disk: found, digested, opened for upload."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.artifacts import Archive, extract, is_archive, is_estimator, save
from mme_sdk.artifacts.packing import scan
from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.errors import InvalidInputError, StorageError
from mme_sdk.registry.operations.package import LayoutCheck, source_path, temporary_file_error
from mme_sdk.registry.operations.upload import Package, stamp_of

__all__ = ["SourceFile", "SourceFiles", "open_file", "prepare_files"]


@attrs.frozen
class SourceFile:
    """A file of a model.

    Attributes:
        path: Path relative to the model, with `/` between parts.
        place: The file on disk.
        size: Size in bytes.
        sha256: Hex SHA-256.
    """

    path: str
    place: Path
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class SourceFiles:
    """The files of a model.

    Attributes:
        files: The files, by path.
        framework: The framework that was detected or given.
        close: Removes temporary copies.
    """

    files: tuple[SourceFile, ...]
    framework: str | None
    close: Callable[[], None]

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(one.size for one in self.files)

    @property
    def archive(self) -> Archive:
        """Size, digest and framework in the form in which the registry keeps them for archives."""
        digest = hashlib.sha256(json.dumps([(one.path, one.sha256) for one in self.files]).encode()).hexdigest()
        return Archive(size=self.size, sha256=digest, content=digest, entries=(), framework=self.framework)


def prepare_files(source: Any, layout: LayoutCheck) -> SourceFiles:
    """Find and digest the files of a source. An archive is extracted into a temporary folder.

    Args:
        source: Path of a directory, a file or a tar.gz archive; or a fitted estimator.
        layout: What the layout must fit.

    Returns:
        The files. The caller closes them.

    Raises:
        InvalidInputError: The source does not exist, or contains something other than files and directories.
        LayoutError: The framework's container could not load the model.
        StorageError: The disk is full, or a file cannot be read.
    """
    with ExitStack() as stack:
        root = _root(source, stack)
        entries, framework = scan(
            root,
            framework=layout.framework,
            image=layout.image,
            multi_model=layout.multi_model,
            check_layout=layout.enabled,
        )
        whole = root.is_dir()
        files = [
            _digested(entry.path, root / entry.path if whole else root)
            for entry in entries
            if not entry.path.endswith("/")  # S3 has no directories
        ]
        if not files:
            raise InvalidInputError(f"{root} has no file", hint="save the model's files into it first")
        return SourceFiles(files=tuple(files), framework=framework, close=stack.pop_all().close)


def _root(source: Any, stack: ExitStack) -> Path:
    estimator = is_estimator(source)
    path = None if estimator else source_path(source)
    if path is not None and not (is_archive(path) and (path.is_file() or not path.exists())):
        return path
    try:
        scratch = TemporaryFolder("mme-sdk-model-")
    except OSError as error:
        raise temporary_file_error(error) from error
    folder = stack.enter_context(scratch)
    if path is None:
        save(source, folder)
        return folder
    extract(path, folder / "model")
    return folder / "model"


def _digested(path: str, place: Path) -> SourceFile:
    package = open_file(place, Archive(size=0, sha256="", content="", entries=()))
    try:
        digest, (size, _) = hashlib.sha256(), package.stamp
        package.slice(0, size).digest(digest.update)
        package.check_unchanged()
    finally:
        package.close()
    return SourceFile(path, place, size, digest.hexdigest())


def open_file(place: Path, archive: Archive) -> Package:
    """Open a file for upload.

    Args:
        place: The file.
        archive: Its size and digest.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        file = place.open("rb")
    except OSError as error:
        raise StorageError(f"cannot read {place}: {error.strerror or error}") from error
    handle = file.fileno()
    return Package(
        handle=handle,
        archive=archive,
        close=file.close,
        stamp=stamp_of(handle),
        content_type="application/octet-stream",
    )
