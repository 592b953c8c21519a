"""Download the files of an uncompressed model from S3 onto the volume of an instance.

Source of the rules: the documentation of S3ModelDataSource in the service model of SageMaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from mme_sdk.errors import LayoutError, StorageError
from mme_sdk.local.hosting.downloads.archives import cleared, deny_if_faulty
from mme_sdk.local.hosting.downloads.objects import ObjectNotFoundError, StoredFile, split
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.storage.disk import make_folder

__all__ = ["fetch_files"]

_WIDTH = 8  # files at a time
_LONGEST = 255  # bytes of a file name


async def fetch_files(
    shared: Shared, uri: str, directory: Path, *, max_bytes: int, endpoint: str, role: str | None = None
) -> int:
    """Download an uncompressed model: every object below a prefix, or one object.

    Args:
        shared: Settings, S3 client and threads.
        uri: `s3://bucket/prefix/` or `s3://bucket/key`.
        directory: Folder for the files; must not exist.
        max_bytes: Largest size of all files together, in bytes.
        endpoint: EndpointName, for fault injection.
        role: ARN of the execution role that reads the files.

    Returns:
        Size of the files, in bytes.

    Raises:
        ArchiveError: The download failed. The files are removed.
    """
    bucket, key = split(uri)
    began = shared.clock.monotonic()
    async with cleared(shared, directory, uri):
        deny_if_faulty(shared, endpoint, None)
        if key.endswith("/") or not key:
            objects = await shared.store.list(bucket, key, role=role)
            files = {one.key[len(key) :]: one for one in objects}
        else:
            files = {key.rpartition("/")[2]: StoredFile(key, await shared.store.size(bucket, key, role=role))}
        if not files:
            raise ObjectNotFoundError
        _check_names(list(files))
        size = sum(one.size for one in files.values())
        if size > max_bytes:
            raise StorageError(f"the files have {size} bytes; at most {max_bytes} fit on the volume")
        for path in files:
            make_folder((directory / path).parent)
        limit = asyncio.Semaphore(_WIDTH)

        async def download(path: str, one: StoredFile) -> None:
            async with limit:
                await shared.store.download(bucket, one.key, directory / path, role=role)

        async with asyncio.TaskGroup() as group:
            for path, one in files.items():
                group.create_task(download(path, one))
        if shared.settings.download_bandwidth is not None:
            took = shared.clock.monotonic() - began
            await shared.clock.sleep(max(0.0, size / shared.settings.download_bandwidth - took))
    return size


def _check_names(paths: Sequence[str]) -> None:
    """Raise LayoutError for keys that are not file names, and for a name of both a file and a folder."""
    known = set(paths)
    for path in paths:
        *folders, name = path.split("/")
        for part in (*folders, name):
            if not part.strip() or part in (".", "..") or "\0" in part or len(part.encode()) > _LONGEST:
                raise LayoutError(
                    f"the key {path!r} below the prefix cannot be a file: a part of it is empty, '.', '..', or longer "
                    f"than {_LONGEST} bytes"
                )
        for end in range(1, len(folders) + 1):
            if (parent := "/".join(folders[:end])) in known:
                raise LayoutError(f"{parent!r} would be a file and a folder")
