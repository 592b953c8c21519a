"""The log files of the containers as log groups, log streams and events.

A container writes plain lines. `LogStreams` observes how the files grow, and an event has the time at which its line
was first observed.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import attrs

__all__ = ["GROUP_PREFIX", "LogEvent", "LogStream", "LogStreams"]

GROUP_PREFIX = "/aws/sagemaker/Endpoints/"
"""Start of the names of log groups; the name of the endpoint follows."""

_BLOCK = 1 << 20  # bytes read at a time; a longer line becomes several events
_MAX_MARKS = 4096
_SUFFIX = ".log"


@attrs.frozen
class LogEvent:
    """A line of a container's output.

    Attributes:
        stream: Name of the log stream.
        start: Offset of the line in the file, in bytes.
        end: Offset of the next line.
        timestamp: Milliseconds since the epoch.
        message: The line without its end.
    """

    stream: str
    start: int
    end: int
    timestamp: int
    message: str


class LogStream:
    """The log file of one instance.

    Args:
        name: Name of the log stream: `<variant>/<instance>`.
        path: The file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._marks: list[tuple[int, int]] = []  # the size of the file, and the time in milliseconds when it had it

    def observe(self, size: int, at: int) -> None:
        """Record that the file has a size at a time in milliseconds."""
        if size < self.size:  # another file with the same name
            self._marks = []
        if size == self.size:
            return
        self._marks.append((size, at))
        if len(self._marks) > _MAX_MARKS:  # make the oldest times less precise
            half = _MAX_MARKS // 2
            self._marks[:half] = self._marks[1:half:2]

    @property
    def size(self) -> int:
        """Number of bytes that were observed."""
        return self._marks[-1][0] if self._marks else 0

    @property
    def first_time(self) -> int | None:
        """Time of the oldest event in milliseconds, or None if there is none."""
        return self._marks[0][1] if self._marks else None

    @property
    def last_time(self) -> int | None:
        """Time of the newest event in milliseconds, or None if there is none."""
        return self._marks[-1][1] if self._marks else None

    def span(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Return the offsets of the first byte of a time interval and of the first byte after it.

        Args:
            start: First millisecond of the interval; None for no limit.
            end: Last millisecond of the interval; None for no limit.
        """
        marks = self._marks
        first = 0 if start is None else bisect.bisect_left(marks, start, key=_time)
        last = len(marks) if end is None else bisect.bisect_right(marks, end, key=_time)
        return marks[first - 1][0] if first else 0, marks[last - 1][0] if last else 0

    def events(self, begin: int, end: int) -> Iterator[LogEvent]:
        """Yield the events whose lines end between two offsets, oldest first. An incomplete last line is omitted."""
        marks = list(self._marks)
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            at = _line_start(file, begin)
            while at < end:
                file.seek(at)
                block = file.read(_BLOCK)
                cut = block.rfind(b"\n") + 1 or (len(block) if len(block) == _BLOCK else 0)
                if not cut:
                    return
                for line in _lines(block[:cut]):
                    following = at + len(line)
                    if following > end:
                        return
                    mark = bisect.bisect_left(marks, following, key=_size)
                    text = line.decode(errors="replace").rstrip("\r\n")
                    yield LogEvent(self.name, at, following, marks[mark][1], text)
                    at = following

    def tail(self, begin: int, end: int, count: int) -> list[LogEvent]:
        """Return the last events between two offsets, oldest first, of about 1 MiB at most.

        Args:
            begin: Offset of the first event that may be returned.
            end: Offset after the last one.
            count: Largest number of events.
        """
        return list(self.events(max(begin, end - _BLOCK), end))[-count:]


def _size(mark: tuple[int, int]) -> int:
    return mark[0]


def _time(mark: tuple[int, int]) -> int:
    return mark[1]


def _line_start(file: BinaryIO, offset: int) -> int:
    """Return the offset of the line that has the byte at an offset; of its part if the line is longer than a block."""
    first = max(0, offset - _BLOCK)
    file.seek(first)
    found = file.read(offset - first).rfind(b"\n")
    return first + found + 1 if found >= 0 else 0 if offset < _BLOCK else offset


def _lines(data: bytes) -> list[bytes]:
    """Split bytes at line feeds only. `bytes.splitlines` splits at carriage returns too."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


class LogStreams:
    """All log streams of a host.

    Args:
        folder: Folder with the files `<endpoint>/<variant>/<instance>.log`; None if there are none.
        now: Function that returns the current time.
    """

    def __init__(self, folder: Path | None, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now
        self._streams: dict[Path, LogStream] = {}
        self._started = False

    def observe(self) -> dict[str, dict[str, LogStream]]:
        """Observe the files. Return the streams by group and name."""
        at = int(self._now().timestamp() * 1000)
        groups: dict[str, dict[str, LogStream]] = {}
        for endpoint in sorted(self._folder.glob("*") if self._folder is not None else ()):
            group = groups.setdefault(f"{GROUP_PREFIX}{endpoint.name}", {})
            for path in sorted(endpoint.glob(f"*/*{_SUFFIX}")):
                stream = self._streams.get(path)
                if stream is None:
                    name = f"{path.parent.name}/{path.name.removesuffix(_SUFFIX)}"
                    stream = self._streams[path] = LogStream(name, path)
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                # The lines of an earlier host are not newer than the last change of the file.
                changed = min(at, int(status.st_mtime * 1000))
                stream.observe(status.st_size, at if self._started else changed)
                group[stream.name] = stream
        self._started = True
        return groups
