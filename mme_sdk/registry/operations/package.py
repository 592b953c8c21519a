"""Make an archive on disk from a directory, a file, an archive or an estimator."""

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
    """Pack a source. An archive is used as it is.

    Args:
        source: Path of a directory, a file or a tar.gz archive; or a fitted estimator.
        framework: Framework whose layout is checked.
        check_layout: Whether the layout is checked.

    Returns:
        The archive. The caller closes it.

    Raises:
        InvalidInputError: The source does not exist, or cannot be packed.
        LayoutError: The framework's container could not load the model.
        StorageError: The disk is full, or a file cannot be read.
    """
    if is_estimator(source):
        try:
            scratch = TemporaryFolder("mme-sdk-model-")
        except OSError as error:
            raise _temporary_file_error(error) from error
        with scratch as folder:
            save(source, folder)
            return _pack(folder, framework, check_layout)
    if not isinstance(source, (str, Path)):
        raise InvalidInputError(
            f"an object of the type {type(source).__name__} cannot be registered as a model",
            hint="give a directory, a file, a tar.gz archive, or a fitted estimator of scikit-learn, XGBoost, LightGBM "
            "or ONNX",
        )
    if source == "":
        raise InvalidInputError("the path of the model is empty", hint="use '.' for the current directory")
    path = Path(source)
    if is_archive(path) and (path.is_file() or not path.exists()):
        return _open_archive(path, framework, check_layout)
    return _pack(path, framework, check_layout)


def _temporary_file_error(error: OSError) -> StorageError:
    return StorageError(
        f"cannot create a temporary file: {error.strerror or error}",
        hint="free disk space, or set TMPDIR to another directory",
    )


def _pack(path: Path, framework: str | None, check_layout: bool) -> Package:
    try:
        # An unnamed file: nothing remains on disk if this process is killed.
        file = tempfile.TemporaryFile(prefix="mme-")  # noqa: SIM115 - the package closes it
    except OSError as error:
        raise _temporary_file_error(error) from error
    try:
        archive = pack(path, file, framework=framework, check_layout=check_layout)
        try:
            file.flush()
        except OSError as error:
            raise StorageError(f"cannot write the archive of {path}: {error.strerror or error}") from error
        handle = file.fileno()
        return Package(handle=handle, archive=archive, close=file.close, stamp=stamp_of(handle))
    except BaseException:
        with suppress(OSError):  # closing flushes, which fails again if the disk is full
            file.close()
        raise


def _open_archive(path: Path, framework: str | None, check_layout: bool) -> Package:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InvalidInputError(f"the archive {path} does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL
        raise StorageError(f"cannot read {path}: {error}") from error
    try:
        stamp = stamp_of(file.fileno())
        archive = inspect(file)
        if check_layout:
            framework = check(archive.paths, framework)
        if stamp != stamp_of(file.fileno()) or os.fstat(file.fileno()).st_size != archive.size:
            raise InvalidInputError(
                f"{path} changed while it was read", hint="register it when no program writes to it"
            )
        archive = attrs.evolve(archive, framework=framework or archive.framework)
        return Package(handle=file.fileno(), archive=archive, close=file.close, stamp=stamp)
    except BaseException:
        file.close()
        raise
