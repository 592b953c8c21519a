"""Archives in S3, read over signed HTTP without a thread per download."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from mme_sdk.local.hosting_interface import HostContext
from mme_sdk.local.storage import disk

__all__ = ["Absent", "ObjectStore", "StoreTrouble", "split"]

_CHUNK = 1 << 18


class Absent(Exception):
    """No such object or bucket."""


class StoreTrouble(Exception):
    """S3 refused, or gave no whole answer; the text says why."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class ObjectStore:
    """Reads objects.

    Args:
        context: Where S3 is and how to sign.
        session: The HTTP client.
    """

    def __init__(self, context: HostContext, session: aiohttp.ClientSession) -> None:
        self.address = context.s3_endpoint_url.rstrip("/")
        self._region = context.region
        self._keys = (context.access_key, context.secret_key)
        self._session = session

    async def size(self, bucket: str, key: str) -> int:
        """Bytes of an object.

        Raises:
            Absent: It does not exist.
            StoreTrouble: S3 refused.
        """
        try:
            async with self._request("HEAD", bucket, key) as answer:
                _check(answer)
                return int(answer.headers.get("Content-Length", "0"))
        except (aiohttp.ClientError, OSError) as error:
            raise StoreTrouble(f"S3 gave no answer: {error}") from error

    async def download(self, bucket: str, key: str, path: Path) -> int:
        """Copy an object into a file.

        Args:
            bucket: Its bucket.
            key: Its key.
            path: The file; replaced if it exists.

        Returns:
            Bytes written.

        Raises:
            Absent: It does not exist.
            StoreTrouble: S3 refused, or the answer broke off.
            OSError: The file cannot be written.
        """
        size = 0
        try:
            async with self._request("GET", bucket, key) as answer:
                _check(answer)
                chunks = answer.content.iter_chunked(_CHUNK)
                with disk.open_private(path) as file:
                    while (chunk := await anext(chunks, None)) is not None:
                        size += file.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreTrouble(f"the download broke off: {error}") from error
        return size

    def _request(self, method: str, bucket: str, key: str) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        from yarl import URL

        url = f"{self.address}/{bucket}/{quote(key, safe='/-_.~')}"
        request = AWSRequest(method=method, url=url)
        S3SigV4Auth(Credentials(*self._keys), "s3", self._region).add_auth(request)
        return self._session.request(
            method, URL(url, encoded=True), headers=dict(request.headers), allow_redirects=False
        )


def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status == 404:
        raise Absent
    if answer.status >= 300:
        raise StoreTrouble(f"S3 answered {answer.status} {answer.reason or ''}".strip())
