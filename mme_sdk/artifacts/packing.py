"""Pack files into a tar.gz that depends only on their names, bytes and executable bits."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.artifacts.archive import POINTER, POINTER_SIZE, Archive, Entry
from mme_sdk.artifacts.compression import compressor
from mme_sdk.artifacts.layout import check
from mme_sdk.artifacts.tree import MAX_BYTES, MAX_ENTRIES, Tree
from mme_sdk.errors import InvalidInputError, LayoutError, StorageError

__all__ = ["check_pointers", "fingerprint", "is_archive", "pack", "scan"]

_CHUNK = 1 << 18
_BLOCK = 512
# Files that programs leave behind, and that no container reads. They would change the version of a model.
_LITTER = frozenset(
    {".DS_Store", ".git", ".hg", ".ipynb_checkpoints", ".svn", "Thumbs.db", "__MACOSX", "__pycache__", "desktop.ini"}
)
_SCRIPT_SIZE = 1 << 20  # bytes of a script that is checked


def is_archive(path: Path) -> bool:
    """Tell whether a file has the name of a model archive.

    Args:
        path: Path of the file.

    Returns:
        True if the name ends in `.tar.gz` or `.tgz`. The content is not checked.
    """
    return path.name.endswith((".tar.gz", ".tgz"))


@short_tracebacks
def pack(
    source: str | Path,
    target: IO[bytes],
    *,
    framework: str | None = None,
    image: str | None = None,
    multi_model: bool = True,
    check_layout: bool = True,
) -> Archive:
    """Pack a directory or one file. The same files always give the same bytes, on every machine.

    The archive does not contain owners, times and permissions, except for the executable bit. Links are followed. The
    model is read in chunks of 256 KiB. Left out are `.DS_Store` and `._*` of macOS, `Thumbs.db` and `desktop.ini` of
    Windows, `__pycache__`, `.ipynb_checkpoints`, and the directories of Git, Mercurial and Subversion.

    Args:
        source: A directory, whose content becomes the root of the archive, or one file.
        target: Binary stream to which the tar.gz is written, at its current position.
        framework: Framework whose layout is checked. If None, it is detected from the names.
        image: Name of the image that will load the archive, whose requirements are checked. If None, it is not known.
        multi_model: Whether a multi-model endpoint will load it. True by default. It counts with an image only.
        check_layout: Whether to check the layout. True by default.

    Returns:
        Description of the archive.

    Raises:
        InvalidInputError: `source` does not exist, contains something other than files and directories, or changed
            while it was packed.
        LayoutError: No container would load the model, a file is a pointer of Git LFS, or `extract` would reject a
            name, the depth or the number of files.
        StorageError: A file cannot be read or written, for example because the disk is full.

    Example:
        >>> with open("fraud.tar.gz", "wb") as file:  # doctest: +SKIP
        ...     pack("build/fraud/", file)
    """
    root = Path(source)
    entries, framework = scan(
        root, framework=framework, image=image, multi_model=multi_model, check_layout=check_layout
    )
    squeeze = compressor()
    content, archive, size = hashlib.sha256(), hashlib.sha256(), 0

    def put(data: bytes) -> None:
        nonlocal size
        if data:
            archive.update(data)
            size += len(data)
            try:
                target.write(data)
            except OSError as error:
                raise StorageError(
                    f"cannot write the archive of {root}: {error.strerror or error}",
                    hint="check the free space of the temporary directory (TMPDIR)",
                ) from error

    for chunk in _tar(root, entries):
        content.update(chunk)
        put(squeeze.compress(chunk))
    put(squeeze.flush())
    return Archive(
        size=size,
        sha256=archive.hexdigest(),
        content=content.hexdigest(),
        entries=entries,
        framework=framework,
    )


def scan(
    source: Path,
    *,
    framework: str | None = None,
    image: str | None = None,
    multi_model: bool = True,
    check_layout: bool = True,
) -> tuple[tuple[Entry, ...], str | None]:
    """Return what `pack` would pack, and the framework. The arguments and errors are those of `pack`."""
    entries = _entries(source)
    if check_layout:
        check_pointers((entry for entry in entries if entry.size <= POINTER_SIZE), lambda path: _read(source, path))
        framework = check(
            [entry.path for entry in entries],
            framework,
            image=image,
            multi_model=multi_model,
            read=lambda path: _read(source, path, _SCRIPT_SIZE),
        )
    return entries, framework


def fingerprint(source: str | Path) -> str:
    """Return the digest of the tar that `pack` would write, without compressing it.

    Args:
        source: A directory, or one file.

    Returns:
        The hex SHA-256, equal to `Archive.content`.

    Raises:
        InvalidInputError: `source` does not exist, or changed while it was read.
        StorageError: A file cannot be read.

    Example:
        >>> fingerprint("build/fraud") == inspect("fraud.tar.gz").content  # doctest: +SKIP
        True
    """
    content = hashlib.sha256()
    root = Path(source)
    for chunk in _tar(root, _entries(root)):
        content.update(chunk)
    return content.hexdigest()


def _entries(root: Path) -> tuple[Entry, ...]:
    try:
        info = root.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(f"there is no model at {root}", hint="pass the path of a directory or file") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {root}: {error}") from error
    tree = Tree(str(root), MAX_ENTRIES)  # reject what extract() would reject
    if stat.S_ISREG(info.st_mode):
        tree.add(root.name, is_folder=False)
        return (_entry(root.name, info),)
    if not stat.S_ISDIR(info.st_mode):
        raise InvalidInputError(
            f"{root} is neither a file nor a directory", hint="pass the path of a directory or file"
        )
    found = sorted(_walk(root, "", (), tree), key=lambda entry: entry.path)
    if not found:
        raise InvalidInputError(f"{root} is an empty directory", hint="save the model's files into it first")
    if sum(entry.size for entry in found) > MAX_BYTES:
        raise LayoutError(
            f"{root} has more than the {MAX_BYTES:,} bytes that a model may have",
            hint="remove files that the model does not need",
        )
    return tuple(found)


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], tree: Tree) -> Iterator[Entry]:
    try:
        info = folder.stat()
        identity = (info.st_dev, info.st_ino)
        if identity in above:
            raise InvalidInputError(f"{folder} is a link to a directory above it", hint="remove the link")
        with os.scandir(folder) as scan:
            children = [one for one in scan if one.name not in _LITTER and not one.name.startswith("._")]
        if not children and prefix:
            yield Entry(prefix, 0)
        for child in children:
            path = prefix + child.name
            is_folder = child.is_dir()
            tree.add(path, is_folder=is_folder)
            if is_folder:
                yield from _walk(folder / child.name, f"{path}/", (*above, identity), tree)
            else:
                yield _entry(path, child.stat())
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{error.filename} does not exist",
            hint="remove the broken link, or pack when no program changes the directory",
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error


def check_pointers(entries: Iterable[Entry], read: Callable[[str], bytes | None]) -> None:
    """Raise LayoutError if a file is a pointer of Git LFS, which stands for a file that was not downloaded.

    Args:
        entries: The files that can be pointers.
        read: Returns the content of a file.

    Raises:
        LayoutError: A file is a pointer.
    """
    for entry in entries:
        if not entry.path.endswith("/") and (read(entry.path) or b"").startswith(POINTER):
            raise LayoutError(
                f"{entry.path} is a pointer of Git LFS of {entry.size} bytes, not the file itself",
                hint="download the file with 'git lfs pull'",
            )


def _read(root: Path, name: str, limit: int = POINTER_SIZE) -> bytes | None:
    path = root / name if root.is_dir() else root
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return data if len(data) <= limit else None


def _entry(path: str, info: os.stat_result) -> Entry:
    if not stat.S_ISREG(info.st_mode):
        raise InvalidInputError(
            f"{path} is neither a file nor a directory, and a model archive cannot contain it", hint="remove it"
        )
    return Entry(path, info.st_size, bool(info.st_mode & stat.S_IXUSR))


def _tar(root: Path, entries: tuple[Entry, ...]) -> Iterator[bytes]:
    total = 0
    is_folder = root.is_dir()
    for entry in entries:
        header = _header(entry)
        yield header
        total += len(header)
        if entry.path.endswith("/"):
            continue
        yield from _content(root / entry.path if is_folder else root, entry.size)
        padding = -entry.size % _BLOCK
        if padding:
            yield bytes(padding)
        total += entry.size + padding
    # A tar ends with two empty blocks and is padded to a full record, as tar programs expect.
    yield bytes(-(total + 2 * _BLOCK) % tarfile.RECORDSIZE + 2 * _BLOCK)


def _header(entry: Entry) -> bytes:
    folder = entry.path.endswith("/")
    info = tarfile.TarInfo(entry.path)
    info.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    info.mode = 0o755 if folder or entry.executable else 0o644
    info.size = entry.size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb", buffering=0) as file:
            while left and (chunk := file.read(min(_CHUNK, left))):
                yield chunk
                left -= len(chunk)
            grew = bool(file.read(1))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if left or grew:
        raise InvalidInputError(f"{path} changed while it was being packed", hint="pack when no program changes it")
