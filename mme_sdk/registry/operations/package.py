"""From whatever a caller has (directory, file, archive, estimator) to an archive on disk."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.artifacts import check, inspect, is_archive, is_estimator, pack, save
from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.errors import InvalidInputError, StorageError
from mme_sdk.registry.operations.upload import Package, stamp_of

__all__ = ["prepare"]


def prepare(source: Any, *, framework: str | None, check_layout: bool) -> Package:
    """Pack a source, or take an archive as it is.

    Args:
        source: Path of a directory, a file or a tar.gz; or a fitted estimator.
        framework: Framework whose layout is checked.
        check_layout: Whether it is.

    Returns:
        The archive; the caller closes it.

    Raises:
        InvalidInputError: There is nothing, or nothing that can be packed.
        LayoutError: No container would load it.
        StorageError: The disk is full, or a file cannot be read.
    """
    if is_estimator(source):
        try:
            scratch = TemporaryFolder("mme-sdk-model-")
        except OSError as error:
            raise _no_room(error) from error
        with scratch as folder:
            save(source, folder)
            return _packed(folder, framework, check_layout)
    if not isinstance(source, (str, Path)):
        raise InvalidInputError(
            f"cannot register a {type(source).__name__}",
            hint="give a directory, a file, a tar.gz, or a fitted estimator of scikit-learn, XGBoost, LightGBM or ONNX",
        )
    if source == "":
        raise InvalidInputError("an empty path names no model", hint="'.' means the current directory")
    path = Path(source)
    if is_archive(path) and (path.is_file() or not path.exists()):
        return _ready(path, framework, check_layout)
    return _packed(path, framework, check_layout)


def _no_room(error: OSError) -> StorageError:
    return StorageError(f"cannot make a temporary file: {error.strerror or error}", hint="see TMPDIR")


def _packed(path: Path, framework: str | None, check_layout: bool) -> Package:
    try:
        # Without a name from the start, so that nothing stays behind however this process ends.
        file = tempfile.TemporaryFile(prefix="mme-")  # noqa: SIM115 - the package closes it
    except OSError as error:
        raise _no_room(error) from error
    try:
        archive = pack(path, file, framework=framework, check_layout=check_layout)
        try:
            file.flush()
        except OSError as error:
            raise StorageError(f"cannot write the archive of {path}: {error.strerror or error}") from error
        handle = file.fileno()
        return Package(handle=handle, archive=archive, close=file.close, stamp=stamp_of(handle))
    except BaseException:
        with suppress(OSError):  # with the disk full it fails once more to write what it holds
            file.close()
        raise


def _ready(path: Path, framework: str | None, check_layout: bool) -> Package:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InvalidInputError(f"there is no archive at {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise StorageError(f"cannot read {path}: {error}") from error
    try:
        stamp = stamp_of(file.fileno())
        archive = inspect(file)
        if check_layout:
            framework = check(archive.paths, framework)
        if stamp != stamp_of(file.fileno()) or os.fstat(file.fileno()).st_size != archive.size:
            raise InvalidInputError(f"{path} changed while it was read", hint="register when nobody writes it")
        archive = attrs.evolve(archive, framework=framework or archive.framework)
        return Package(handle=file.fileno(), archive=archive, close=file.close, stamp=stamp)
    except BaseException:
        file.close()
        raise
