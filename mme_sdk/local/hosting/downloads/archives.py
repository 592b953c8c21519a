"""Download a model archive from S3 and extract it on the volume of an instance."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, Any, cast

import attrs

from mme_sdk.artifacts import Extracted, extract
from mme_sdk.artifacts.temporary import remove_tree
from mme_sdk.errors import InvalidInputError, LayoutError, MMEError, StorageError
from mme_sdk.local.hosting.downloads.objects import ObjectNotFoundError, S3Error, split
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.storage.disk import free_space, make_folder, make_private, write_error

__all__ = ["ArchiveError", "cleared", "deny_if_faulty", "fetch"]


@attrs.frozen
class ArchiveError(Exception):
    """The download or extraction of an archive failed.

    Attributes:
        kind: `absent` (the object does not exist), `denied` (S3 rejected the request or failed), `archive` (the archive
            is invalid or unsafe), `volume` (the volume is full or cannot be written), `internal` (anything else).
        message: The reason.
    """

    kind: str
    message: str

    def __str__(self) -> str:
        return self.message


async def fetch(
    shared: Shared,
    uri: str,
    directory: Path,
    *,
    max_bytes: int,
    endpoint: str,
    model: str | None = None,
    role: str | None = None,
) -> int:
    """Download and extract an archive.

    Args:
        shared: Settings, S3 client and threads.
        uri: `s3://bucket/key` of the archive.
        directory: Folder to extract into; must not exist.
        max_bytes: Largest extracted size, in bytes.
        endpoint: EndpointName, for fault injection.
        model: TargetModel, for fault injection.
        role: ARN of the execution role that reads the archive.

    Returns:
        Number of extracted bytes.

    Raises:
        ArchiveError: The download or extraction failed. The files are removed.
    """
    bucket, key = split(uri)
    archive = directory.with_name("archive.tar.gz")
    began = shared.clock.monotonic()
    cancelled = threading.Event()
    unpacking: asyncio.Task[Extracted] | None = None

    async def end_unpacking() -> None:
        cancelled.set()
        if unpacking is not None:
            await asyncio.gather(unpacking, return_exceptions=True)

    async with cleared(shared, directory, uri, end_unpacking):
        deny_if_faulty(shared, endpoint, model)
        size = await shared.store.download(bucket, key, archive, role=role)
        if shared.settings.download_bandwidth is not None:
            took = shared.clock.monotonic() - began
            await shared.clock.sleep(max(0.0, size / shared.settings.download_bandwidth - took))
        unpacking = asyncio.ensure_future(
            shared.offload(lambda: _unpack(archive, directory, max_bytes=max_bytes, cancelled=cancelled))
        )
        extracted = await asyncio.shield(unpacking)
    archive.unlink(missing_ok=True)
    return extracted.size


def deny_if_faulty(shared: Shared, endpoint: str, model: str | None) -> None:
    """Raise S3Error if the fault `s3_denied` is active."""
    if shared.context.faults.trigger("s3_denied", endpoint=endpoint, model=model) is not None:
        raise S3Error("S3 answered 403 Forbidden")


async def _nothing() -> None:
    return


@contextlib.asynccontextmanager
async def cleared(
    shared: Shared, directory: Path, uri: str, stop: Callable[[], Awaitable[None]] = _nothing
) -> AsyncIterator[None]:
    """Create the parent of a folder for a download. Remove it with all its files if the download fails.

    Args:
        shared: Threads and the log of the host.
        directory: The folder.
        uri: What is downloaded, for the log.
        stop: Ends what still writes into the folder.

    Raises:
        ArchiveError: The download failed.
    """
    try:
        make_folder(directory.parent)
        yield
    except BaseException as error:
        await asyncio.shield(asyncio.ensure_future(_clean(shared, directory.parent, stop)))
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        failure = _archive_error(error, directory)
        if failure is None:
            raise
        if failure.kind == "internal":
            shared.note(f"{uri}: unexpected {failure.message}", error)
        raise failure from error


def _archive_error(error: BaseException, archive: Path) -> ArchiveError | None:
    """Return the error to raise instead of `error`; None for cancellation and process exit, which are re-raised."""
    match error:
        case ObjectNotFoundError():
            return ArchiveError("absent", "the object does not exist")
        case S3Error():
            return ArchiveError("denied", str(error))
        case LayoutError() | InvalidInputError():
            return ArchiveError("archive", error.message)
        case StorageError():
            return ArchiveError("volume", f"{error.message}; {free_space(archive)} there")
        case OSError():
            return ArchiveError("volume", write_error(archive, error).message)
        case MMEError():
            return ArchiveError("volume", str(error))
        case Exception():
            return ArchiveError("internal", f"{type(error).__name__}: {error}")
    return None


def _unpack(archive: Path, directory: Path, *, max_bytes: int, cancelled: threading.Event) -> Extracted:
    with archive.open("rb") as file:
        extracted = extract(cast(IO[bytes], _Interruptible(file, cancelled)), directory, max_bytes=max_bytes)
    make_private(directory)
    return extracted


async def _clean(shared: Shared, folder: Path, stop: Callable[[], Awaitable[None]]) -> None:
    """Wait until nothing writes into a folder, then remove it."""
    await stop()
    await shared.offload(lambda: remove_tree(folder))


class _ExtractionCancelledError(Exception):
    """The extraction was cancelled."""


class _Interruptible(io.RawIOBase):
    """A file that fails to read once an event is set, which ends the extraction in its thread.

    Args:
        file: The file.
        cancelled: The event.
    """

    name = "the archive"

    def __init__(self, file: Any, cancelled: threading.Event) -> None:
        super().__init__()
        self._file = file
        self._given_up = cancelled

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        if self._given_up.is_set():
            raise _ExtractionCancelledError
        data: bytes = self._file.read(size)
        return data
