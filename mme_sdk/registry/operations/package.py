"""Make an archive on disk from a directory, a file, an archive or an estimator."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.artifacts import check, is_archive, is_estimator, pack, save
from mme_sdk.artifacts.archive import inspect_with_texts
from mme_sdk.artifacts.packing import check_pointers
from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.errors import InvalidInputError, StorageError
from mme_sdk.registry.operations.upload import Package, stamp_of

_SMALL = 1 << 18  # bytes; a smaller archive is read once, and checked and sent from memory

__all__ = ["LayoutCheck", "prepare", "source_path", "temporary_file_error"]


@attrs.frozen
class LayoutCheck:
    """Requirements for the layout of a source.

    Attributes:
        framework: Framework whose layout is checked; None for the one that the file names indicate.
        image: Name of the image that will load the model; None if it is not known.
        multi_model: Whether a multi-model endpoint will load it. Default: True.
        enabled: Whether the layout is checked. Default: True.
    """

    framework: str | None = None
    image: str | None = None
    multi_model: bool = True
    enabled: bool = True


def prepare(source: Any, layout: LayoutCheck) -> Package:
    """Pack a source. An archive is used as it is.

    Args:
        source: Path of a directory, a file or a tar.gz archive; or a fitted estimator.
        layout: What the layout must fit.

    Returns:
        The archive. The caller closes it.

    Raises:
        InvalidInputError: The source does not exist, or cannot be packed.
        LayoutError: The container could not load the model.
        StorageError: The disk is full, or a file cannot be read.
    """
    if is_estimator(source):
        try:
            scratch = TemporaryFolder("mme-sdk-model-")
        except OSError as error:
            raise temporary_file_error(error) from error
        with scratch as folder:
            save(source, folder)
            return _pack(folder, layout)
    path = source_path(source)
    if is_archive(path) and (path.is_file() or not path.exists()):
        return _open_archive(path, layout)
    return _pack(path, layout)


def source_path(source: Any) -> Path:
    """Return the path of a source that is not an estimator.

    Raises:
        InvalidInputError: It is not a path.
    """
    if not isinstance(source, (str, Path)):
        raise InvalidInputError(
            f"an object of the type {type(source).__name__} cannot be registered as a model",
            hint="give a directory, a file, a tar.gz archive, or a fitted estimator of scikit-learn, XGBoost, "
            "LightGBM, CatBoost or ONNX",
        )
    if source == "":
        raise InvalidInputError("the path of the model is empty", hint="use '.' for the current directory")
    return Path(source)


def temporary_file_error(error: OSError) -> StorageError:
    """Return the error for a temporary file or folder that cannot be created."""
    return StorageError(
        f"cannot create a temporary file: {error.strerror or error}",
        hint="free disk space, or set TMPDIR to another directory",
    )


def _pack(path: Path, layout: LayoutCheck) -> Package:
    try:
        # An unnamed file: nothing remains on disk if this process is killed.
        file = tempfile.TemporaryFile(prefix="mme-")  # noqa: SIM115 - the package closes it
    except OSError as error:
        raise temporary_file_error(error) from error
    try:
        archive = pack(
            path,
            file,
            framework=layout.framework,
            image=layout.image,
            multi_model=layout.multi_model,
            check_layout=layout.enabled,
        )
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


def _open_archive(path: Path, layout: LayoutCheck) -> Package:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InvalidInputError(f"the archive {path} does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL
        raise StorageError(f"cannot read {path}: {error}") from error
    try:
        stamp = stamp_of(file.fileno())
        source: Any = file
        if stamp[0] <= _SMALL:
            source = _Read(file.read(_SMALL + 1))
            source.name = str(path)
        archive, texts = inspect_with_texts(source)
        framework = layout.framework
        if layout.enabled:
            check_pointers((one for one in archive.entries if one.path in texts), texts.get)
            framework = check(
                archive.paths, framework, image=layout.image, multi_model=layout.multi_model, read=texts.get
            )
        if stamp != stamp_of(file.fileno()) or stamp[0] != archive.size:
            raise InvalidInputError(
                f"{path} changed while it was read", hint="register it when no program writes to it"
            )
        archive = attrs.evolve(archive, framework=framework or archive.framework)
        if source is file:
            return Package(handle=file.fileno(), archive=archive, close=file.close, stamp=stamp)
        file.close()
        return Package(data=source.getvalue(), archive=archive, stamp=stamp)
    except BaseException:
        file.close()
        raise


class _Read(io.BytesIO):
    """An archive that was read completely.

    Attributes:
        name: Its path, for error messages.
    """

    name = ""
