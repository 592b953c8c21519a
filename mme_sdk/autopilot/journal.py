"""The journal: every decision as a line of JSON, in a directory or under an S3 prefix."""

from __future__ import annotations

import itertools
import json
import logging
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
_OBJECT = re.compile(r"\d{4}-\d\d-\d\d/\d{6}-\d{6}\.(?P<endpoint>[0-9A-Za-z-]+)\.(?P<variant>[0-9A-Za-z-]+)\.jsonl")
_MOST = 64 << 20  # bytes of a decision; one about 500 models has 17 kB
_log = logging.getLogger(__name__)


@attrs.frozen
class _Line:
    """A line of the journal: where it is, and what it says; None if it is too long to be read."""

    where: str
    text: bytes | None


class _Place(Protocol):
    def add(self, decision: Decision, line: bytes) -> None: ...

    def lines(self, chosen: _Chosen, *, newest_first: bool = False) -> Iterator[_Line]: ...

    def close(self) -> None: ...


class _Folder:
    """A file for each day of UTC; a decision is appended by one write."""

    def __init__(self, address: str) -> None:
        self._root = Path(address)

    def add(self, decision: Decision, line: bytes) -> None:
        path = self._root / f"{decision.at.astimezone(UTC):%Y-%m-%d}.jsonl"
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

    def lines(self, chosen: _Chosen, *, newest_first: bool = False) -> Iterator[_Line]:
        first, last = chosen.names()
        try:
            paths = sorted(self._root.iterdir(), reverse=newest_first)
        except FileNotFoundError:
            return  # nothing was written yet
        except OSError as error:
            raise StorageError(f"{self._root} cannot be read: {error.strerror or error}") from error
        for path in paths:
            if _DAY.fullmatch(path.name) and first[:10] <= path.stem <= last[:10]:
                found = self._of(path)
                yield from reversed(list(found)) if newest_first else found

    @staticmethod
    def _of(path: Path) -> Iterator[_Line]:
        try:
            with path.open("rb") as file:
                for number in itertools.count(1):
                    text = file.readline(_MOST + 1)
                    if not text:
                        return
                    long = len(text) > _MOST
                    yield _Line(f"{path}, line {number}", None if long else text)
                    while long and not text.endswith(b"\n"):
                        long = bool(text := file.readline(_MOST))
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error

    def close(self) -> None:
        pass


class _S3:
    """An object for each decision: `2026-03-04/101500-123456.scoring.AllTraffic.jsonl`. Other objects are left out."""

    def __init__(self, address: str, session: Any, endpoint_url: str | None) -> None:
        from mme_sdk.aws import Aws

        self._uri = S3Uri.parse(address).as_prefix()
        self._aws = Aws(session=session, endpoint_url=None if endpoint_url is None else {"s3": endpoint_url})

    def _call(self, operation: str, **params: Any) -> Any:
        from mme_sdk.aws import Call

        return self._aws.call(Call(service="s3", operation=operation, params={"Bucket": self._uri.bucket, **params}))

    def add(self, decision: Decision, line: bytes) -> None:
        name = f"{decision.at.astimezone(UTC):%Y-%m-%d/%H%M%S-%f}.{decision.endpoint}.{decision.variant}.jsonl"
        self._call("put_object", Key=self._uri.key + name, Body=line)

    def lines(self, chosen: _Chosen, *, newest_first: bool = False) -> Iterator[_Line]:
        from mme_sdk.aws.s3.bodies import read_body

        keys = self._keys(chosen)
        for key in reversed(list(keys)) if newest_first else keys:
            try:
                answer = self._call("get_object", Key=key)
            except ModelNotFoundError:
                continue  # it was deleted since it was listed
            body, where = read_body(answer, _MOST), f"s3://{self._uri.bucket}/{key}"
            lines = [None] if body is None else body.split(b"\n")
            for number, text in enumerate(lines, 1):
                yield _Line(f"{where}, line {number}", text)

    def _keys(self, chosen: _Chosen) -> Iterator[str]:
        first, last = chosen.names()
        more: dict[str, str] = {"StartAfter": self._uri.key + first}
        while True:
            page = self._call("list_objects_v2", Prefix=self._uri.key, **more)
            for one in page.get("Contents", ()):
                name = one["Key"].removeprefix(self._uri.key)
                if name > last:
                    return
                found = _OBJECT.fullmatch(name)
                if (
                    found
                    and chosen.endpoint in (None, found["endpoint"])
                    and chosen.variant in (None, found["variant"])
                ):
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
        line = json.dumps(decision.to_dict(), separators=(",", ":"), allow_nan=False).encode() + b"\n"
        if len(line) > _MOST:
            raise InvalidInputError(
                f"the record of a decision about {len(decision.demand.models):,} models has {len(line):,} bytes; the "
                f"journal keeps at most {_MOST:,}"
            )
        self._place.add(decision, line)

    def read(
        self,
        *,
        endpoint: str | None = None,
        variant: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        skip_damaged: bool = False,
    ) -> list[Decision]:
        """Read decisions, oldest first.

        A last line without an end, which a process left that was stopped while it wrote, is left out.

        Args:
            endpoint: Name of the endpoint. Default: None, all.
            variant: Name of the production variant. Default: None, all.
            start: Time from which to read, with a time zone. Default: None, from the first.
            end: Time before which to read, with a time zone. Default: None, to the last.
            skip_damaged: Whether a line that is not a decision is logged and left out. Default False.

        Returns:
            The decisions.

        Raises:
            InvalidInputError: A line is not a decision, or is longer than 64 MiB.
            StorageError: A file cannot be read.
        """
        chosen = _Chosen(endpoint, variant, start, end, skip_damaged)
        found = [one for line in self._place.lines(chosen) if (one := chosen.of(line)) is not None]
        return sorted(found, key=lambda one: one.at)

    def last(
        self, *, endpoint: str, variant: str, start: datetime, end: datetime, skip_damaged: bool = False
    ) -> Decision | None:
        """Read the newest decision of a variant, without those before it.

        Args:
            endpoint: Name of the endpoint.
            variant: Name of the production variant.
            start: Time from which to read, with a time zone.
            end: Time before which to read, with a time zone.
            skip_damaged: Whether a line that is not a decision is logged and left out. Default False.

        Returns:
            The decision that was written last; None if there is none.

        Raises:
            InvalidInputError: A line is not a decision, or is longer than 64 MiB.
            StorageError: A file cannot be read.
        """
        chosen = _Chosen(endpoint, variant, start, end, skip_damaged)
        lines = self._place.lines(chosen, newest_first=True)
        return next((one for line in lines if (one := chosen.of(line)) is not None), None)

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
    skip_damaged: bool

    def __attrs_post_init__(self) -> None:
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None:
                check_moment(name, moment)
        check_instance("skip_damaged", self.skip_damaged, bool)

    def names(self) -> tuple[str, str]:
        """Return the first and the last name of what has them."""
        first = "" if self.start is None else f"{self.start.astimezone(UTC):%Y-%m-%d/%H%M%S}"
        last = "\U0010ffff" if self.end is None else f"{self.end.astimezone(UTC):%Y-%m-%d/%H%M%S}\U0010ffff"
        return first, last

    def of(self, line: _Line) -> Decision | None:
        """Return the decision of a line; None if it is not chosen."""
        if line.text is not None and not line.text.strip():
            return None
        try:
            found = _decision(line)
        except InvalidInputError as error:
            if not self.skip_damaged:
                raise
            _log.warning("it is left out of the journal: %s", error.message)
            return None
        if (
            found is None
            or self.endpoint not in (None, found.endpoint)
            or self.variant not in (None, found.variant)
            or (self.start is not None and found.at < self.start)
            or (self.end is not None and found.at >= self.end)
        ):
            return None
        return found


def _decision(line: _Line) -> Decision | None:
    """Return the decision of a line; None if a process was stopped while it wrote the line."""
    if line.text is None:
        raise InvalidInputError(f"{line.where} is longer than {_MOST:,} bytes, and is not the record of a decision")
    try:
        record = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        if line.text.startswith(b'{"format":') and not line.text.rstrip().endswith(b"}"):
            return None
        raise InvalidInputError(f"{line.where} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidInputError(f"{line.where} is not the record of a decision")
    try:
        return Decision.from_dict(record)
    except InvalidInputError as error:
        raise InvalidInputError(f"{line.where}: {error.message}") from error
