"""The journal: every decision as a line of JSON, in a directory or under an S3 prefix."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import attrs

from mme_sdk._validation import check_instance
from mme_sdk.autopilot.checks import check_moment
from mme_sdk.autopilot.decision import Decision
from mme_sdk.errors import InvalidInputError, ModelNotFoundError, StorageError
from mme_sdk.types.s3uri import S3Uri

__all__ = ["Journal"]


_DAY = re.compile(r"\d{4}-\d\d-\d\d\.jsonl")


class _Place(Protocol):
    def add(self, at: datetime, line: bytes) -> None: ...

    def texts(self, first: str, last: str, *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]: ...

    def close(self) -> None: ...


class _Folder:
    """A file for each day of UTC; a decision is appended by one write."""

    def __init__(self, address: str) -> None:
        self._root = Path(address)

    def add(self, at: datetime, line: bytes) -> None:
        path = self._root / f"{at:%Y-%m-%d}.jsonl"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":  # a process was stopped while it wrote; that stays a line of its own
                        line = b"\n" + line
                file.write(line)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error

    def texts(self, first: str, last: str, *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        try:
            paths = sorted(self._root.iterdir(), reverse=newest_first)
        except FileNotFoundError:
            return  # nothing was written yet
        except OSError as error:
            raise StorageError(f"{self._root} cannot be read: {error.strerror or error}") from error
        for path in paths:
            if _DAY.fullmatch(path.name) and first[:10] <= path.stem <= last[:10]:
                try:
                    body = path.read_bytes()
                except OSError as error:
                    raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error
                yield str(path), body

    def close(self) -> None:
        pass


class _S3:
    """An object for each decision: `2026-03-04/101500-123456.jsonl`."""

    def __init__(self, address: str, session: Any, endpoint_url: str | None) -> None:
        from mme_sdk.aws import Aws

        self._uri = S3Uri.parse(address).as_prefix()
        self._aws = Aws(session=session, endpoint_url=None if endpoint_url is None else {"s3": endpoint_url})

    def _call(self, operation: str, **params: Any) -> Any:
        from mme_sdk.aws import Call

        return self._aws.call(Call(service="s3", operation=operation, params={"Bucket": self._uri.bucket, **params}))

    def add(self, at: datetime, line: bytes) -> None:
        self._call("put_object", Key=f"{self._uri.key}{at:%Y-%m-%d/%H%M%S-%f}.jsonl", Body=line)

    def texts(self, first: str, last: str, *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        from mme_sdk.aws.error_translation import translating

        keys = self._keys(first, last)
        for key in reversed(list(keys)) if newest_first else keys:
            try:
                answer = self._call("get_object", Key=key)
            except ModelNotFoundError:
                continue  # it was deleted since it was listed
            with answer["Body"] as stream, translating(service="s3", operation="get_object"):
                body = bytes(stream.read())
            yield f"s3://{self._uri.bucket}/{key}", body

    def _keys(self, first: str, last: str) -> Iterator[str]:
        more: dict[str, str] = {"StartAfter": self._uri.key + first}
        while True:
            page = self._call("list_objects_v2", Prefix=self._uri.key, **more)
            for one in page.get("Contents", ()):
                name = one["Key"].removeprefix(self._uri.key)
                if name > last:
                    return
                if name.endswith(".jsonl"):
                    yield one["Key"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        self._aws.close()


class Journal:
    """The decisions of autopilots, in order of time.

    Args:
        address: An `s3://` prefix or a local directory.
        session: boto3 session for S3. Default: None, the default session.
        endpoint_url: Address of S3. Default: None, AWS.

    Example:
        ```python
        for decision in Journal("s3://ml-logs/autopilot/").read(endpoint="scoring"):
            print(decision)
        ```
    """

    def __init__(
        self, address: str | os.PathLike[str], *, session: Any = None, endpoint_url: str | None = None
    ) -> None:
        if not isinstance(address, (str, os.PathLike)) or not isinstance(where := os.fspath(address), str) or not where:
            raise InvalidInputError(f"a journal is an s3:// prefix or a directory, not {address!r:.80}")
        if "\0" in where or ("://" in where and not where.startswith("s3://")):
            raise InvalidInputError(f"{where!r:.200} is neither an s3:// prefix nor a directory")
        self._place: _Place = _S3(where, session, endpoint_url) if where.startswith("s3://") else _Folder(where)

    def add(self, decision: Decision) -> None:
        """Write a decision.

        Args:
            decision: The decision.

        Raises:
            StorageError: The file cannot be written.
        """
        check_instance("decision", decision, Decision)
        line = json.dumps(decision.to_dict(), separators=(",", ":"), allow_nan=False)
        self._place.add(decision.at.astimezone(UTC), line.encode() + b"\n")

    def read(
        self,
        *,
        endpoint: str | None = None,
        variant: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> list[Decision]:
        """Read decisions, oldest first.

        A last line without an end, which a process left that was stopped while it wrote, is left out.

        Args:
            endpoint: Name of the endpoint. Default: None, all.
            variant: Name of the production variant. Default: None, all.
            start: Time from which to read, with a time zone. Default: None, from the first.
            end: Time before which to read, with a time zone. Default: None, to the last.

        Returns:
            The decisions.

        Raises:
            InvalidInputError: A line is not a decision.
            StorageError: A file cannot be read.
        """
        chosen = _Chosen(endpoint, variant, start, end)
        found = [one for name, body in self._place.texts(*chosen.names()) for one in chosen.of(name, body)]
        return sorted(found, key=lambda one: one.at)

    def last(self, *, endpoint: str, variant: str, start: datetime, end: datetime) -> Decision | None:
        """Read the newest decision of a variant, without those before it.

        Args:
            endpoint: Name of the endpoint.
            variant: Name of the production variant.
            start: Time from which to read, with a time zone.
            end: Time before which to read, with a time zone.

        Returns:
            The decision; None if there is none.

        Raises:
            InvalidInputError: A line is not a decision.
            StorageError: A file cannot be read.
        """
        chosen = _Chosen(endpoint, variant, start, end)
        for name, body in self._place.texts(*chosen.names(), newest_first=True):
            found = chosen.of(name, body)
            if found:
                return max(found, key=lambda one: one.at)
        return None

    def close(self) -> None:
        """Close the connections."""
        self._place.close()


@attrs.frozen
class _Chosen:
    """Which decisions to read."""

    endpoint: str | None
    variant: str | None
    start: datetime | None
    end: datetime | None

    def __attrs_post_init__(self) -> None:
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None:
                check_moment(name, moment)

    def names(self) -> tuple[str, str]:
        """Return the first and the last name of what has them."""
        first = "" if self.start is None else f"{self.start.astimezone(UTC):%Y-%m-%d/%H%M%S}"
        last = "\U0010ffff" if self.end is None else f"{self.end.astimezone(UTC):%Y-%m-%d/%H%M%S}\U0010ffff"
        return first, last

    def of(self, name: str, body: bytes) -> list[Decision]:
        """Return the chosen decisions of a text."""
        found: list[Decision] = []
        for number, line in enumerate(body.split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                if _is_torn(line):
                    continue
                raise InvalidInputError(f"{name}, line {number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise InvalidInputError(f"{name}, line {number} is not the record of a decision")
            try:
                found.append(Decision.from_dict(record))
            except InvalidInputError as error:
                raise InvalidInputError(f"{name}, line {number}: {error.message}") from error
        return [
            one
            for one in found
            if (self.endpoint is None or one.endpoint == self.endpoint)
            and (self.variant is None or one.variant == self.variant)
            and (self.start is None or one.at >= self.start)
            and (self.end is None or one.at < self.end)
        ]


def _is_torn(line: bytes) -> bool:
    """Return whether a line is the beginning of a record whose rest was not written."""
    return line.startswith(b'{"format":') and not line.endswith(b"}")
