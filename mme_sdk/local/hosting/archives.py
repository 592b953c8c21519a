"""From an archive in S3 to a directory on an instance's volume, with what AWS says when that fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs

from mme_sdk.artifacts import extract
from mme_sdk.errors import InvalidInputError, LayoutError, MMEError, StorageError
from mme_sdk.local.disk import cannot_write, free_space, make_folder, make_private
from mme_sdk.local.hosting.objects import Absent, StoreTrouble, split
from mme_sdk.local.hosting.shared import Shared

__all__ = ["ArchiveTrouble", "fetch"]


@attrs.frozen
class ArchiveTrouble(Exception):
    """An archive that did not come.

    Attributes:
        kind: `absent`, `denied` (any refusal of S3), `archive` (not sound or unsafe), `volume` (no room).
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
    try:
        if shared.context.faults.strike("s3_denied", endpoint=endpoint, model=model) is not None:
            raise StoreTrouble("S3 answered 403 Forbidden")
        make_folder(archive.parent)
        size = await shared.store.download(bucket, key, archive)
        if shared.settings.download_bandwidth is not None:
            took = shared.clock.monotonic() - began
            await shared.clock.sleep(max(0.0, size / shared.settings.download_bandwidth - took))
        extracted = await shared.offload(lambda: extract(archive, directory, max_bytes=max_bytes))
        await shared.offload(lambda: make_private(directory))
    except BaseException as error:
        await shared.offload(lambda: shutil.rmtree(archive.parent, ignore_errors=True))
        match error:
            case Absent():
                raise ArchiveTrouble("absent", "the object does not exist") from error
            case StoreTrouble():
                raise ArchiveTrouble("denied", str(error)) from error
            case LayoutError() | InvalidInputError():
                raise ArchiveTrouble("archive", error.message) from error
            case StorageError():
                raise ArchiveTrouble("volume", f"{error.message}; {free_space(directory)} there") from error
            case OSError():
                raise ArchiveTrouble("volume", cannot_write(archive, error).message) from error
            case MMEError():
                raise ArchiveTrouble("volume", str(error)) from error
        raise
    archive.unlink(missing_ok=True)
    return extracted.size
