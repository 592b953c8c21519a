"""The folder of an MLflow model, on this machine or in an artifact store. Only the files that are needed are read."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

import attrs

from mme_sdk.errors import InvalidInputError, StorageError

__all__ = ["LocalFolder", "ModelFolder", "RemoteFolder", "checked_path"]


class ModelFolder(Protocol):
    """The folder of an MLflow model."""

    @property
    def uri(self) -> str:
        """Its address, for messages."""
        ...

    def file(self, path: str) -> Path:
        """Return a file of the folder as a file on this machine.

        Args:
            path: Path relative to the folder.

        Returns:
            The path of a regular file.

        Raises:
            InvalidInputError: The path leaves the folder, does not exist, or is a link or a folder.
            MMEError: The file cannot be read.
        """
        ...


def checked_path(uri: str, path: object) -> str:
    """Return a path that an MLmodel or ONNX file names, if it stays inside the folder.

    Args:
        uri: Address of the folder, for the message.
        path: The path.

    Returns:
        The path relative to the folder, with `/`.

    Raises:
        InvalidInputError: It is not text, is absolute, or contains `..`, a control character, or a character that has
            a meaning in addresses.
    """
    if isinstance(path, str) and path.isprintable() and not set(path) & set("\\:?#%"):
        parts = PurePosixPath(path).parts
        if parts and ".." not in parts and parts[0] != "/":
            return "/".join(parts)
    raise InvalidInputError(
        f"{uri}: the path {str(path)[:80]!r} is not the path of a file inside the model's folder",
        hint="log the model again with MLflow",
    )


@attrs.frozen
class LocalFolder:
    """A folder on this machine. Its files are used where they are.

    Attributes:
        uri: Its address, for messages.
        root: The folder.
    """

    uri: str
    root: Path

    def file(self, path: str) -> Path:
        """Return a file of the folder. A link is refused, because it can lead to any file of this user."""
        found = self.root
        try:
            if not found.is_dir():
                raise InvalidInputError(f"{self.uri}: the folder {found} does not exist", hint="check the URI")
            for part in PurePosixPath(checked_path(self.uri, path)).parts:
                found = found / part
                if found.is_symlink():
                    raise InvalidInputError(
                        f"{self.uri}: {path} is a link, or is below one", hint="replace the link by the file"
                    )
            mode = found.lstat().st_mode
        except FileNotFoundError:
            raise InvalidInputError(
                f"{self.uri}: the file {path} does not exist", hint="log the model again with MLflow"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot read {found}: {error.strerror or error}") from error
        if not stat.S_ISREG(mode):
            raise InvalidInputError(f"{self.uri}: {path} is not a file", hint="log the model again with MLflow")
        return found


@attrs.frozen
class RemoteFolder:
    """A folder in an artifact store.

    Attributes:
        uri: Its address, for messages.
        scratch: A folder of this call, for the downloads.
        download: Downloads a file of the folder into a local folder, and returns its path.
    """

    uri: str
    scratch: Path
    download: Callable[[str, Path], str]

    def file(self, path: str) -> Path:
        """Download a file of the folder."""
        wanted = checked_path(self.uri, path)
        target = self.scratch / f"{len(list(self.scratch.iterdir()))}"
        try:
            target.mkdir()
        except OSError as error:
            raise StorageError(f"cannot create {target}: {error.strerror or error}") from error
        found, target = Path(self.download(wanted, target)).resolve(), target.resolve()
        if not found.is_relative_to(target) or found == target:
            raise InvalidInputError(f"{self.uri}: MLflow downloaded {path} to {found}, which is outside {target}")
        return LocalFolder(self.uri, target).file(found.relative_to(target).as_posix())
