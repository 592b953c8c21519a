"""Recordings as Parquet files: one for each hour of each process, in S3 or in a directory."""

from __future__ import annotations

import io
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mme_sdk.errors import InvalidInputError, MissingExtraError, ModelNotFoundError
from mme_sdk.recording.histogram import Histogram
from mme_sdk.recording.minutes import RecordedMinute, merge
from mme_sdk.types.s3uri import S3Uri

__all__ = ["HourFiles", "hour_of", "read_recordings"]

_NUMBERS = ("calls", "cold", "throttles", "attempts", "sent_bytes", "received_bytes")
_SECONDS = ("cold_seconds", "warm_seconds")
_TEXTS = ("endpoint", "model", "tenant", "variant")
_FORMAT = b"1"
_MOST = 1 << 30  # bytes of a file; an hour in which each of 500 models is called in each minute has 1.5 MB


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("files of recordings need pyarrow", hint="pip install 'mme-sdk[pandas]'") from error
    return pyarrow


class HourFiles:
    """The files of one process. A file is replaced as a whole, so that a reader never meets half of one.

    Args:
        address: An `s3://` prefix or a local directory.
        session: boto3 session that writes to S3; the default session if None.
        endpoint_url: Address of S3; AWS if None.
    """

    def __init__(self, address: str, *, session: Any = None, endpoint_url: str | None = None) -> None:
        _arrow()
        self._place = _place(address, session=session, endpoint_url=endpoint_url)
        self.begin()

    def begin(self) -> None:
        """Start with new files."""
        self._hours: dict[str, tuple[str, Any]] = {}  # name and content of each file that may grow

    def write(self, records: list[RecordedMinute]) -> None:
        """Add records of one hour to its file.

        Args:
            records: The records. Those of several hours need a call for each hour: a call is all or nothing.
        """
        arrow, hour = _arrow(), hour_of(records[0])
        table = _table(arrow, records)
        # A file that is no longer known is never written again: a late record gets a file of its own.
        name, known = self._hours.get(hour, (f"{hour}/{os.getpid()}-{secrets.token_hex(6)}.parquet", None))
        table = table if known is None else arrow.concat_tables([known, table])
        out = io.BytesIO()
        arrow.parquet.write_table(table, out, compression="zstd")
        self._place.put(name, out.getvalue())
        self._hours[hour] = (name, table)
        for old in sorted(self._hours)[:-2]:
            del self._hours[old]  # nothing is added to it any more

    def close(self) -> None:
        """Close the connections."""
        self._place.close()


def hour_of(record: RecordedMinute) -> str:
    """Return the folder of a record: the day and the hour in UTC."""
    return f"{record.at:%Y-%m-%d/%H}"


class _S3:
    """Objects under an S3 prefix."""

    def __init__(self, address: str, session: Any, endpoint_url: str | None) -> None:
        from mme_sdk.aws import Aws

        self._uri = S3Uri.parse(address).as_prefix()
        self._aws = Aws(session=session, endpoint_url=None if endpoint_url is None else {"s3": endpoint_url})

    def _call(self, operation: str, **params: Any) -> Any:
        from mme_sdk._flows.effects import Call

        return self._aws.call(Call(service="s3", operation=operation, params={"Bucket": self._uri.bucket, **params}))

    def put(self, name: str, body: bytes) -> None:
        self._call("put_object", Key=self._uri.key + name, Body=body)

    def names(self, first: str, last: str) -> Iterator[str]:
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._uri.key, **more)
            for one in page.get("Contents", ()):
                name = one["Key"].removeprefix(self._uri.key)
                if name > last:
                    return
                if name >= first:
                    yield name
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, name: str) -> bytes | None:
        from mme_sdk.aws.s3.bodies import read_body

        try:
            answer = self._call("get_object", Key=self._uri.key + name)
        except ModelNotFoundError:
            return None  # it was deleted since it was listed
        return _limited(read_body(answer, _MOST), name)

    def close(self) -> None:
        self._aws.close()


class _Folder:
    """Files under a directory."""

    def __init__(self, address: str) -> None:
        self._root = Path(address)

    def put(self, name: str, body: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def names(self, first: str, last: str) -> Iterator[str]:
        if not self._root.is_dir():
            raise InvalidInputError(f"{self._root} is not a directory of recordings")
        for path in sorted(self._root.glob("*/*/[!.]*.parquet")):
            name = path.relative_to(self._root).as_posix()
            if first <= name <= last:
                yield name

    def read(self, name: str) -> bytes | None:
        try:
            with (self._root / name).open("rb") as file:
                body = file.read(_MOST + 1)
        except FileNotFoundError:
            return None
        return _limited(body if len(body) <= _MOST else None, name)

    def close(self) -> None:
        pass


def _limited(body: bytes | None, name: str) -> bytes:
    """Return the bytes of a file; raise InvalidInputError if there are too many to be read."""
    if body is None:
        raise InvalidInputError(f"{name} is longer than {_MOST:,} bytes, and is not a recording")
    return body


def _place(address: str, *, session: Any, endpoint_url: str | None) -> _S3 | _Folder:
    if address.startswith("s3://"):
        return _S3(address, session, endpoint_url)
    if "://" in address:
        raise InvalidInputError(f"{address!r} is neither an s3:// prefix nor a directory")
    return _Folder(address)


def _schema(arrow: Any) -> Any:
    counts = arrow.map_(arrow.int32(), arrow.int64())
    fields = [("at", arrow.timestamp("s", tz="UTC"))]
    fields += [(name, arrow.string()) for name in _TEXTS]
    fields += [(name, arrow.int64()) for name in _NUMBERS]
    fields += [(name, arrow.float64()) for name in _SECONDS]
    fields += [("errors", arrow.map_(arrow.string(), arrow.int64())), ("latency", counts), ("waits", counts)]
    return arrow.schema(fields, metadata={b"mme_sdk.recording": _FORMAT})


def _table(arrow: Any, records: list[RecordedMinute]) -> Any:
    columns: dict[str, list[Any]] = {
        name: [getattr(one, name) for one in records] for name in ("at", *_TEXTS, *_NUMBERS, *_SECONDS)
    }
    columns["errors"] = [list(one.errors.items()) for one in records]
    columns["latency"] = [list(one.latency.counts.items()) for one in records]
    columns["waits"] = [list(one.waits.counts.items()) for one in records]
    return arrow.table(columns, schema=_schema(arrow))


def _records(arrow: Any, body: bytes, name: str) -> Iterator[RecordedMinute]:
    try:
        file = arrow.parquet.ParquetFile(io.BytesIO(body))
        if (file.schema_arrow.metadata or {}).get(b"mme_sdk.recording") != _FORMAT:
            raise InvalidInputError(f"{name} is not a recording that this version reads")
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                for field in ("latency", "waits"):
                    row[field] = Histogram(dict(row[field]))
                yield RecordedMinute(**{**row, "errors": dict(row["errors"]), "at": row["at"].astimezone(UTC)})
    except (arrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{name} is not a Parquet file: {error}") from error


def read_recordings(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    endpoint: str | None = None,
    session: Any = None,
    endpoint_url: str | None = None,
) -> list[RecordedMinute]:
    """Read the recordings of all processes, and merge them.

    Args:
        source: What recorders were given as `files`: an `s3://` prefix or a local directory; or several of them.
        start: Time from which to read, with a time zone. Default: None, from the first.
        end: Time before which to read, with a time zone. Default: None, to the last.
        endpoint: Name of the endpoint. Default: None, all endpoints.
        session: boto3 session that reads from S3. Default: the default session.
        endpoint_url: Address of S3. Default: None, AWS.

    Returns:
        One record for each minute, endpoint, model, tenant and variant, in order of time.

    Raises:
        InvalidInputError: An address or a time is not valid, or a file is not a recording.
        MissingExtraError: pyarrow is not installed.
        MMEError: S3 cannot be read.

    Example:
        ```python
        minutes = read_recordings("s3://ml-logs/recordings/", endpoint="scoring")
        print(sum(one.calls for one in minutes))
        ```
    """
    arrow = _arrow()
    for name, moment in (("start", start), ("end", end)):
        if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
            raise InvalidInputError(f"{name} must be a datetime with a time zone, not {moment!r}")
    first = "" if start is None else f"{start.astimezone(UTC):%Y-%m-%d/%H}"
    last = "\U0010ffff" if end is None else f"{end.astimezone(UTC):%Y-%m-%d/%H}/\U0010ffff"
    found: list[RecordedMinute] = []
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    for one in sources:
        place = _place(os.fspath(one), session=session, endpoint_url=endpoint_url)
        try:
            for name in place.names(first, last):
                body = place.read(name) if name.endswith(".parquet") else None
                if body is not None:
                    found += _records(arrow, body, name)
        finally:
            place.close()
    return merge(
        one
        for one in found
        if (start is None or one.at >= start)
        and (end is None or one.at < end)
        and (endpoint is None or one.endpoint == endpoint)
    )
