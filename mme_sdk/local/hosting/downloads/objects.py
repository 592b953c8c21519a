"""An asynchronous S3 client that reads archives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree

import aiohttp
import attrs

from mme_sdk.local.hosting_interface import HostContext
from mme_sdk.local.storage import disk
from mme_sdk.local.wire.service_model import partition_of

__all__ = ["ObjectNotFoundError", "ObjectStore", "S3Error", "StoredFile", "split"]

_CHUNK = 1 << 18


class ObjectNotFoundError(Exception):
    """The object or bucket does not exist."""


class S3Error(Exception):
    """S3 rejected the request, or its response is missing or incomplete."""


@attrs.frozen
class StoredFile:
    """An object in S3.

    Attributes:
        key: Its key.
        size: Its size in bytes.
    """

    key: str
    size: int


def split(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class ObjectStore:
    """An S3 client that reads objects.

    Args:
        context: Address, region and credentials of S3.
        session: The HTTP client.
    """

    def __init__(self, context: HostContext, session: aiohttp.ClientSession) -> None:
        self.address = context.archives_url.rstrip("/")
        self._region = context.region
        self._keys = (context.access_key, context.secret_key)
        self._session = session
        self._role_allows = context.role_allows
        self._partition = partition_of(context.region)

    async def size(self, bucket: str, key: str, *, role: str | None = None) -> int:
        """Return the size of an object, in bytes.

        Args:
            bucket: Bucket of the object.
            key: Key of the object.
            role: ARN of the execution role that reads the object.

        Raises:
            ObjectNotFoundError: The object does not exist.
            S3Error: S3 rejected the request or did not respond.
        """
        self._check_role(role, bucket, key)
        try:
            async with self._request("HEAD", bucket, key) as answer:
                self._check(answer, role, bucket, key)
                return int(answer.headers.get("Content-Length", "0"))
        except (aiohttp.ClientError, OSError) as error:
            raise S3Error(f"S3 did not respond: {error}") from error

    async def list(self, bucket: str, prefix: str, *, role: str | None = None) -> list[StoredFile]:
        """Return the objects whose key begins with a prefix.

        Args:
            bucket: Bucket of the objects.
            prefix: Begin of their keys.
            role: ARN of the execution role that lists the bucket.

        Raises:
            ObjectNotFoundError: The bucket does not exist.
            S3Error: S3 rejected the request or did not respond.
        """
        found: list[StoredFile] = []
        resource = f"arn:{self._partition}:s3:::{bucket}"
        if role is not None and not self._role_allows(role, "s3:ListBucket", resource, {"s3:prefix": [prefix]}):
            raise S3Error(f"S3 answered 403 Forbidden: no policy of {role} allows s3:ListBucket on {resource}")
        query = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
        try:
            while True:
                async with self._request("GET", bucket, "", query) as answer:
                    self._check(answer, None, bucket, prefix)
                    # The answer comes from the S3 of this host.
                    page = ElementTree.fromstring(await answer.read())  # noqa: S314
                for item in page.iterfind("{*}Contents"):
                    key = unquote_plus(item.findtext("{*}Key", ""))
                    found.append(StoredFile(key, int(item.findtext("{*}Size", "0"))))
                token = page.findtext("{*}NextContinuationToken")
                if not token:
                    return found
                query["continuation-token"] = token
        except (aiohttp.ClientError, OSError, ElementTree.ParseError) as error:
            raise S3Error(f"S3 did not list the objects: {error}") from error

    async def download(self, bucket: str, key: str, path: Path, *, role: str | None = None) -> int:
        """Copy an object into a file.

        Args:
            bucket: Bucket of the object.
            key: Key of the object.
            path: The file; an existing file is replaced.
            role: ARN of the execution role that reads the object.

        Returns:
            Number of bytes written.

        Raises:
            ObjectNotFoundError: The object does not exist.
            S3Error: S3 rejected the request, or its response is incomplete.
            OSError: The file cannot be written.
        """
        size = 0
        self._check_role(role, bucket, key)
        try:
            async with self._request("GET", bucket, key) as answer:
                self._check(answer, role, bucket, key)
                chunks = answer.content.iter_chunked(_CHUNK)
                with disk.open_private(path) as file:
                    while (chunk := await anext(chunks, None)) is not None:
                        size += file.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise S3Error(f"the download was interrupted: {error}") from error
        return size

    def _check_role(self, role: str | None, bucket: str, key: str) -> None:
        resource = f"arn:{self._partition}:s3:::{bucket}/{key}"
        if role is not None and not self._role_allows(role, "s3:GetObject", resource, {}):
            raise S3Error(f"S3 answered 403 Forbidden: no policy of {role} allows s3:GetObject on {resource}")

    def _check(self, answer: aiohttp.ClientResponse, role: str | None, bucket: str, key: str) -> None:
        if answer.status == 404:
            # S3 hides from a caller that may not list the bucket whether an object exists.
            resource = f"arn:{self._partition}:s3:::{bucket}"
            if role is None or self._role_allows(role, "s3:ListBucket", resource, {"s3:prefix": [key]}):
                raise ObjectNotFoundError
            text = (
                f"no policy of {role} allows s3:ListBucket on {resource}, so S3 does not say whether the object exists"
            )
            raise S3Error(f"S3 answered 403 Forbidden: {text}")
        if answer.status >= 300:
            raise S3Error(f"S3 answered {answer.status} {answer.reason or ''}".strip())

    def _request(self, method: str, bucket: str, key: str, query: Mapping[str, str] | None = None) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        from yarl import URL

        url = f"{self.address}/{bucket}/{quote(key, safe='/-_.~')}"
        if query:
            url = f"{url}?{urlencode(sorted(query.items()), quote_via=quote, safe='-_.~')}"
        request = AWSRequest(method=method, url=url)
        S3SigV4Auth(Credentials(*self._keys), "s3", self._region).add_auth(request)
        return self._session.request(
            method, URL(url, encoded=True), headers=dict(request.headers), allow_redirects=False
        )
