"""From an archive in S3 to a directory on an instance's volume, with what AWS says when that fails."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import IO, Any, cast

import attrs

from mme_sdk.artifacts import Extracted, extract
from mme_sdk.artifacts.temporary import remove_tree
from mme_sdk.errors import InvalidInputError, LayoutError, MMEError, StorageError
from mme_sdk.local.hosting.downloads.objects import Absent, StoreTrouble, split
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.storage.disk import free_space, make_folder, make_private, write_error

__all__ = ["ArchiveTrouble", "fetch"]


@attrs.frozen
class ArchiveTrouble(Exception):
    """An archive that did not come.

    Attributes:
        kind: `absent`, `denied` (any refusal of S3), `archive` (not sound or unsafe), `volume` (no room), `internal`
            (anything else).
        message: What happened.
    """

    kind: str
    message: str

    def __str__(self) -> str:
        return self.message


async def fetch(
    shared: Shared, uri: str, directory: Path, *, max_bytes: int, endpoint: str, model: str | None = None
) -> int:
    """Download and extract an archive.

    Args:
        shared: Settings, S3 and threads.
        uri: `s3://bucket/key` of the archive.
        directory: Where to; must not exist.
        max_bytes: Room on the volume.
        endpoint: For which endpoint.
        model: For which TargetModel.

    Returns:
        Bytes extracted.

    Raises:
        ArchiveTrouble: Why it did not come; nothing is left on the volume.
    """
    bucket, key = split(uri)
    archive = directory.with_name("archive.tar.gz")
    began = shared.clock.monotonic()
    given_up = threading.Event()
    unpacking: asyncio.Task[Extracted] | None = None
    try:
        if shared.context.faults.trigger("s3_denied", endpoint=endpoint, model=model) is not None:
            raise StoreTrouble("S3 answered 403 Forbidden")
        make_folder(archive.parent)
        size = await shared.store.download(bucket, key, archive)
        if shared.settings.download_bandwidth is not None:
            took = shared.clock.monotonic() - began
            await shared.clock.sleep(max(0.0, size / shared.settings.download_bandwidth - took))
        unpacking = asyncio.ensure_future(
            shared.offload(lambda: _unpack(archive, directory, max_bytes=max_bytes, given_up=given_up))
        )
        extracted = await asyncio.shield(unpacking)
    except BaseException as error:
        given_up.set()
        await asyncio.shield(asyncio.ensure_future(_clean(shared, archive.parent, unpacking)))
        trouble = _trouble(error, archive)
        if trouble is None:
            raise
        if trouble.kind == "internal":
            shared.note(f"{uri}: unexpected {trouble.message}", error)
        raise trouble from error
    archive.unlink(missing_ok=True)
    return extracted.size


def _trouble(error: BaseException, archive: Path) -> ArchiveTrouble | None:
    """What to raise for an error; None for cancellation and the end of the process, which pass as they are."""
    match error:
        case Absent():
            return ArchiveTrouble("absent", "the object does not exist")
        case StoreTrouble():
            return ArchiveTrouble("denied", str(error))
        case LayoutError() | InvalidInputError():
            return ArchiveTrouble("archive", error.message)
        case StorageError():
            return ArchiveTrouble("volume", f"{error.message}; {free_space(archive)} there")
        case OSError():
            return ArchiveTrouble("volume", write_error(archive, error).message)
        case MMEError():
            return ArchiveTrouble("volume", str(error))
        case Exception():
            return ArchiveTrouble("internal", f"{type(error).__name__}: {error}")
    return None


def _unpack(archive: Path, directory: Path, *, max_bytes: int, given_up: threading.Event) -> Extracted:
    with archive.open("rb") as file:
        extracted = extract(cast(IO[bytes], _Interruptible(file, given_up)), directory, max_bytes=max_bytes)
    make_private(directory)
    return extracted


async def _clean(shared: Shared, folder: Path, unpacking: asyncio.Task[Extracted] | None) -> None:
    """Wait until nothing writes there any more, then remove it."""
    if unpacking is not None:
        await asyncio.gather(unpacking, return_exceptions=True)
    await shared.offload(lambda: remove_tree(folder))


class _GivenUpError(Exception):
    """Nobody waits for the archive any more."""


class _Interruptible(io.RawIOBase):
    """A file whose next read fails once nobody waits for it.

    Args:
        file: The file.
        given_up: Set when nobody waits.
    """

    name = "the archive"

    def __init__(self, file: Any, given_up: threading.Event) -> None:
        super().__init__()
        self._file = file
        self._given_up = given_up

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if self._given_up.is_set():
            raise _GivenUpError
        data: bytes = self._file.read(size)
        return data
