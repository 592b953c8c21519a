"""S3 addresses."""

from __future__ import annotations

import re

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["S3Uri"]

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


@attrs.frozen(str=False)
class S3Uri:
    """A parsed S3 address, `s3://bucket/key`.

    Attributes:
        bucket: Name of the bucket.
        key: The key or prefix, without a leading slash; may be empty.

    Example:
        >>> S3Uri.parse("s3://ml-models/prod").as_prefix().key
        'prod/'
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> S3Uri:
        """Parse an S3 address.

        Args:
            uri: `s3://bucket` or `s3://bucket/key`.

        Returns:
            The parsed address.

        Raises:
            InvalidInputError: `uri` is not an S3 address, or the name of the bucket is not valid.
        """
        if not isinstance(uri, str) or not uri.startswith("s3://"):
            raise InvalidInputError(f"{uri!r} is not an S3 address", hint="write s3://bucket/prefix/")
        bucket, _, key = uri[5:].partition("/")
        if not bucket:
            raise InvalidInputError(f"{uri!r} does not contain a bucket", hint="write s3://bucket/prefix/")
        if not _BUCKET.fullmatch(bucket):
            raise InvalidInputError(
                f"{uri!r}: {bucket!r} is not a valid bucket name", hint="use 3 to 63 of a-z, 0-9, '-' and '.'"
            )
        return cls(bucket, key)

    def as_prefix(self) -> S3Uri:
        """Return the address with a trailing slash, so that it does not match siblings such as `prod-old/`.

        Returns:
            The address as a prefix. An empty key stays empty.
        """
        return self if not self.key or self.key.endswith("/") else S3Uri(self.bucket, self.key + "/")

    def join(self, relative: str) -> S3Uri:
        """Return the address of a key below this prefix.

        Args:
            relative: The key relative to this prefix.

        Returns:
            The address.
        """
        return S3Uri(self.bucket, self.as_prefix().key + relative)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
