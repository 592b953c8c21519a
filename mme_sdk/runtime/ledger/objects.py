"""Where the objects of a ledger are: below a prefix of S3, or in a local directory. All operations are flows."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Protocol

import attrs

from mme_sdk._flows.effects import Call, Do, Flow
from mme_sdk.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from mme_sdk.runtime.ledger.entries import damaged
from mme_sdk.types.s3uri import S3Uri

__all__ = ["DirectoryObjects", "Objects", "S3Objects", "is_ledger", "objects_at"]

MOST = 256 << 20  # bytes of an object: more than the answers of some hundred requests have
_PART = ".part"  # suffix of a file that is not complete


class Objects(Protocol):
    """Objects that are written once."""

    def address(self, name: str) -> str:
        """Return the address of an object, for messages."""
        ...

    def get(self, name: str) -> Flow[bytes | None]:
        """Return an object; None if it does not exist."""
        ...

    def create(self, name: str, body: bytes) -> Flow[bool]:
        """Write an object, unless it exists. Return whether this call wrote it."""
        ...

    def names(self, folder: str) -> Flow[list[str]]:
        """Return the names of the objects in a folder, which ends with a slash."""
        ...


@attrs.frozen
class S3Objects:
    """Objects below a prefix of S3.

    Attributes:
        prefix: The prefix.
    """

    prefix: S3Uri

    def address(self, name: str) -> str:
        """Return the address of an object."""
        return str(self.prefix.join(name))

    def get(self, name: str) -> Flow[bytes | None]:
        """Return an object; None if it does not exist."""
        try:
            answer = yield self._call("get_object", Key=self.prefix.join(name).key)
        except BucketNotFoundError:
            raise
        except NotFoundError:
            return None
        except AccessDeniedError as error:
            needs = (
                "a ledger needs s3:GetObject, s3:PutObject and s3:ListBucket, without which S3 hides what is missing"
            )
            error.hint = f"{error.hint}; {needs}" if error.hint else needs
            raise

        def read() -> bytes | None:
            from mme_sdk.aws.s3.bodies import read_body

            return read_body(answer, MOST)

        found: bytes | None = yield Do(read)
        if found is None:
            raise too_large(self.address(name))
        return found

    def create(self, name: str, body: bytes) -> Flow[bool]:
        """Write an object, unless it exists. Return whether this call wrote it."""
        try:
            yield self._call("put_object", Key=self.prefix.join(name).key, Body=body, IfNoneMatch="*")
        except ConflictError:
            return False
        return True

    def names(self, folder: str) -> Flow[list[str]]:
        """Return the names of the objects in a folder."""
        found: list[str] = []
        more: dict[str, str] = {}
        root = self.prefix.as_prefix().key
        while True:
            answer = yield self._call("list_objects_v2", Prefix=root + folder, **more)
            found += [str(one["Key"])[len(root) :] for one in answer.get("Contents", [])]
            if not answer.get("NextContinuationToken"):
                return [name for name in found if not name.endswith("/")]
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _call(self, operation: str, **params: object) -> Call:
        return Call(service="s3", operation=operation, params={"Bucket": self.prefix.bucket, **params})


@attrs.frozen
class DirectoryObjects:
    """Objects in a local directory. It is made when the first object is written.

    Attributes:
        directory: The directory.
    """

    directory: Path

    def address(self, name: str) -> str:
        """Return the path of an object."""
        return str(self.directory / name)

    def get(self, name: str) -> Flow[bytes | None]:
        """Return an object; None if it does not exist."""
        found: bytes | None = yield Do(lambda: self._get(name))
        return found

    def create(self, name: str, body: bytes) -> Flow[bool]:
        """Write an object, unless it exists. Return whether this call wrote it."""
        created: bool = yield Do(lambda: self._create(name, body))
        return created

    def names(self, folder: str) -> Flow[list[str]]:
        """Return the names of the objects in a folder."""
        found: list[str] = yield Do(lambda: self._names(folder))
        return found

    def _get(self, name: str) -> bytes | None:
        try:
            with (self.directory / name).open("rb") as file:
                found = file.read(MOST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.address(name)} cannot be read: {error.strerror or error}") from error
        if len(found) > MOST:
            raise too_large(self.address(name))
        return found

    def _create(self, name: str, body: bytes) -> bool:
        path = self.directory / name
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(body)
            os.link(part, path)  # unlike a rename, it fails if the object exists
        except FileExistsError:
            if not path.exists():  # it is the name of the directory that is taken
                raise StorageError(f"{self.directory} is not a directory") from None
            return False
        except OSError as error:
            raise StorageError(f"{self.address(name)} cannot be written: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        return True

    def _names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.directory / folder) as scan:
                return sorted(f"{folder}{one.name}" for one in scan if not one.name.endswith(_PART))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.address(folder)} cannot be read: {error.strerror or error}") from error


def too_large(address: str) -> IntegrityError:
    """Return the error of an object that a ledger cannot have written, because it is too large."""
    return damaged(address, f"it has more than {MOST:,} bytes")


def is_ledger(address: object) -> bool:
    """Tell whether an address is one of a ledger: an S3 address, a path that ends with a slash, or a directory.

    What cannot be the path of a file is one too, so that `objects_at` refuses it.

    Args:
        address: The address.
    """
    if not isinstance(address, (str, os.PathLike)):
        return True
    path = os.fspath(address)
    if not isinstance(path, str) or not path or "://" in path or path.endswith(("/", os.sep)):
        return True
    return Path(path).is_dir()


def objects_at(address: str | os.PathLike[str]) -> Objects:
    """Return the objects of a ledger.

    Args:
        address: An S3 address, or a local directory.

    Raises:
        InvalidInputError: It is neither.
    """
    if isinstance(address, os.PathLike):
        address = os.fspath(address)
        if isinstance(address, str) and address:
            return _directory(address)
    if not isinstance(address, str) or not address:
        raise InvalidInputError(
            f"a ledger is an S3 address or a local directory, not {address!r:.80}", hint="write s3://bucket/jobs/42/"
        )
    if "://" not in address:
        return _directory(address)
    uri = S3Uri.parse(address)
    if not uri.key.strip("/"):
        raise InvalidInputError(
            f"{address}: a ledger needs a prefix of its own in the bucket", hint=f"write s3://{uri.bucket}/jobs/42/"
        )
    return S3Objects(uri.as_prefix())


def _directory(path: str) -> DirectoryObjects:
    try:
        valid = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise InvalidInputError(f"a directory of a ledger cannot have the name {path!r:.80}")
    return DirectoryObjects(Path(path))
