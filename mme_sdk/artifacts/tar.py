"""Read a tar strictly, from start to end. Time and memory are proportional to the size of the tar.

`tarfile` is not used. Its cost for hostile headers is not bounded (CVE-2024-6232), and it treats a damaged header in
the middle of an archive as the end of the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from mme_sdk.artifacts.tree import Tree, shown
from mme_sdk.errors import LayoutError

__all__ = ["BLOCK", "MAX_HEADER", "ByteSource", "Member", "invalid_archive", "too_large", "walk"]

BLOCK = 512
MAX_HEADER = 128 << 10  # bytes of one extended header; it may contain extended attributes of Linux and macOS
_MAX_RECORDS = 256  # records of one pax header
_MAX_GLOBAL = 8  # global pax headers between two entries
_MAX_PADDING = 1 << 20  # zero bytes after the end mark; twice the largest record size of tar programs
_MAX_DIGITS = 19  # digits of a decimal size, less than 2**64
_ZEROS = bytes(BLOCK)
_FILES = b"0\x007"  # types: regular, regular in old tars, contiguous
_EXTENDED = b"xXgLK"  # pax, Solaris' pax, global pax, GNU long name, GNU long link
_OF_ENTRIES = (b"path", b"linkpath", b"size")  # pax keywords that are not valid for all entries at once
_LINKS = {b"1": "hard link", b"2": "symbolic link"}


class ByteSource(Protocol):
    """A stream of the uncompressed tar."""

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer only at the end."""
        ...

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next bytes in pieces; fewer only at the end."""
        ...


class Member(NamedTuple):
    """A file or directory of an archive.

    Attributes:
        path: Path relative to the root, with `/` between parts. It is safe to unpack.
        size: Size in bytes. 0 for a directory.
        executable: Whether the owner may execute it.
        is_folder: Whether it is a directory.
        new_folders: Directories to create for it, parents first. If it is a directory itself, it is the last one.
        again: Whether a previous file has the same path. This file replaces it.
    """

    path: str
    size: int
    executable: bool
    is_folder: bool
    new_folders: tuple[str, ...]
    again: bool


class _Header(NamedTuple):
    kind: bytes
    name: bytes
    size: int
    mode: int
    link: bytes


def invalid_archive(archive: str, reason: str) -> LayoutError:
    """Return the error for a file that is not a complete, valid tar.gz."""
    return LayoutError(
        f"{archive} is not a valid tar.gz archive: {reason}",
        hint="pack the directory of the model again, with register() or pack()",
    )


def walk(
    source: ByteSource, archive: str, *, max_bytes: int | None, max_entries: int
) -> Iterator[tuple[Member, Iterator[memoryview]]]:
    """Yield the files and directories of a tar, without its root.

    Args:
        source: The uncompressed tar.
        archive: Name of the archive in error messages.
        max_bytes: Largest size of the tar, in bytes. None for no limit.
        max_entries: Largest number of files and directories, including directories that only a path implies.

    Yields:
        A member and its content. The caller need not read the content.

    Raises:
        LayoutError: The tar is malformed, has an entry that is not safe to unpack, or exceeds a limit.
    """
    tree = Tree(archive, max_entries)
    reader = _Headers(source, archive, budget=max(MAX_HEADER, max_entries << 10))
    while (found := reader.next()) is not None:
        header, name, size = found
        if max_bytes is not None and size > max_bytes:
            raise too_large(archive, max_bytes)
        is_folder = _is_folder(header, name, size, archive)
        path, new_folders, again = tree.add(name, is_folder=is_folder)
        content = source.pieces(size)
        if path:
            yield Member(path, size, bool(header.mode & 0o100), is_folder, new_folders, again), content
        for _ in content:
            pass
        padding = -size % BLOCK
        if len(source.take(padding)) < padding:
            raise invalid_archive(archive, f"it ends inside {shown(name)}")


def too_large(archive: str, max_bytes: int) -> LayoutError:
    """Return the error for an archive whose content exceeds the size limit."""
    return LayoutError(
        f"{archive} unpacks to more than the {max_bytes:,} bytes allowed",
        hint="pass a larger max_bytes if the model has this size",
    )


def _is_folder(header: _Header, name: str, size: int, archive: str) -> bool:
    """Return whether a member is a directory.

    Raises:
        LayoutError: It is neither a file nor a directory, or it is a directory with content.
    """
    kind = header.kind
    is_folder = kind == b"5" or (kind == b"\0" and header.name.endswith(b"/"))  # the second form in V7 archives
    if is_folder and size:
        raise invalid_archive(archive, f"the directory {shown(name)} has a size of {size}")
    if kind in _FILES and not is_folder and name.endswith("/"):  # a directory for some programs
        raise invalid_archive(archive, f"{shown(name)} is a file whose name ends in a slash")
    if is_folder or kind in _FILES:
        return is_folder
    if kind in _LINKS:
        what = f"{_LINKS[kind]} to {shown(header.link.decode(errors='backslashreplace'))}"
    elif kind in b"346":
        what = "device or pipe"
    else:
        what = "sparse file" if kind == b"S" else f"special entry (type {kind!r})"
    raise LayoutError(
        f"{archive}: {shown(name)} is a {what}; only regular files and directories may be unpacked",
        hint="pack with `tar --dereference --hard-dereference`, or let register() pack the directory",
    )


class _Headers:
    """Reads headers, including extended headers.

    Args:
        source: The tar.
        archive: Name of the archive in error messages.
        budget: Largest size of all extended headers together, in bytes.
    """

    def __init__(self, source: ByteSource, archive: str, *, budget: int) -> None:
        self._source = source
        self._archive = archive
        self._budget = budget
        self._is_first = True

    def next(self) -> tuple[_Header, str, int] | None:
        """Return header, name and size of the next member; None at the end of the tar.

        Raises:
            LayoutError: A header is malformed.
        """
        extended = _Extended()
        while True:
            block = self._source.take(BLOCK)
            if block == _ZEROS or not (block or self._is_first):
                if extended.kinds:
                    raise self._invalid_archive("it ends after an extended header")
                if block:
                    self._check_padding()
                return None
            header = self._parsed(block)
            self._is_first = False
            if header.kind not in _EXTENDED:
                return self._resolved(header, extended)
            kind = "x" if header.kind == b"X" else header.kind.decode()
            extended.kinds += kind
            if extended.kinds.count(kind) > (_MAX_GLOBAL if kind == "g" else 1):
                raise self._invalid_archive(f"several extended headers of type {kind!r} follow one another")
            content = self._content(header.size)
            if kind == "L":
                extended.name = self._terminated(content)
            elif kind == "K":
                extended.link = self._terminated(content)
            else:
                records = self._records(content)
                if kind == "x":
                    extended.records = records
                elif any(key in _OF_ENTRIES or key.startswith(b"GNU.sparse.") for key in records):
                    raise self._invalid_archive("a global pax header gives a name or a size to all entries")

    def _resolved(self, header: _Header, extended: _Extended) -> tuple[_Header, str, int]:
        """Apply the extended headers to the header of a member."""
        records = extended.records
        name = records.get(b"path") or extended.name or header.name
        if extended.name and name != extended.name:
            raise self._invalid_archive("an entry has two different long names")
        try:
            text = name.decode()
        except UnicodeDecodeError as error:
            raise LayoutError(
                f"{self._archive}: the name of the entry {name[:100]!r} is not UTF-8",
                hint="rename the file, and pack again in a UTF-8 locale",
            ) from error
        if any(key.startswith(b"GNU.sparse.") for key in records):
            header = header._replace(kind=b"S")
        size = header.size
        if given := records.get(b"size"):
            if not given.isdigit() or len(given) > _MAX_DIGITS:
                raise self._invalid_archive(
                    f"{shown(text)} has a size of {given[:30].decode(errors='backslashreplace')}"
                )
            size = int(given)
        return header._replace(link=records.get(b"linkpath") or extended.link or header.link), text, size

    def _parsed(self, block: bytes) -> _Header:
        """Parse a header block."""
        if len(block) < BLOCK:
            raise self._invalid_archive("it ends inside a header" if block else "it is empty")
        stated = self._number(block[148:156], "checksum")
        # The checksum counts its own eight bytes as spaces. Some old programs add signed bytes.
        unsigned = sum(block) - sum(block[148:156]) + 8 * 32
        if stated != unsigned and stated != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
            raise self._invalid_archive("a header has a wrong checksum")
        name = block[:100].split(b"\0", 1)[0]
        if block[257:263] == b"ustar\0" and block[345] and block[156:157] not in _EXTENDED:
            name = block[345:500].split(b"\0", 1)[0] + b"/" + name
        return _Header(
            kind=block[156:157],
            name=name,
            size=self._number(block[124:136], "size"),
            mode=self._number(block[100:108], "mode"),
            link=block[157:257].split(b"\0", 1)[0],
        )

    def _number(self, field: bytes, what: str) -> int:
        """Parse a number of a header: octal digits, or binary if the first bit is set."""
        if field[0] & 0x80:
            if field[0] & 0x40:
                raise self._invalid_archive(f"a header has a negative {what}")
            return int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
        digits = field.strip(b" \0")
        if digits.strip(b"01234567"):  # int() accepts signs and underscores
            raise self._invalid_archive(f"the {what} in a header is not a number: {field!r}")
        return int(digits, 8) if digits else 0  # an empty field is zero, as in V7 archives

    def _content(self, size: int) -> bytes:
        """Read the content of an extended header."""
        if size > MAX_HEADER:
            raise LayoutError(
                f"{self._archive} has a tar header of {size:,} bytes, more than the {MAX_HEADER:,} allowed",
                hint="pack without extended attributes (`tar --no-xattrs`), or let register() pack the directory",
            )
        self._budget -= size
        if self._budget < 0:
            raise LayoutError(
                f"{self._archive} has extended tar headers that are too large for its number of entries",
                hint="pack without extended attributes (`tar --no-xattrs`), or let register() pack the directory",
            )
        content = self._source.take(size)
        padding = -size % BLOCK
        if len(content) < size or len(self._source.take(padding)) < padding:
            raise self._invalid_archive("it ends inside an extended header")
        return content

    def _terminated(self, content: bytes) -> bytes:
        """Return the text of a GNU header, without the NUL byte at its end."""
        text = content.rstrip(b"\0")
        if b"\0" in text or not text:
            raise self._invalid_archive("a long name is empty or contains a NUL byte")
        return text

    def _records(self, content: bytes) -> dict[bytes, bytes]:
        """Parse the records of a pax header. A record is `LENGTH KEY=VALUE` and a line feed."""
        records: dict[bytes, bytes] = {}
        at = count = 0
        while at < len(content) and content[at]:
            space = content.find(b" ", at, at + 8)
            digits = content[at:space] if space > 0 else b""
            end = at + int(digits) if digits.isdigit() else 0
            key, equals, value = content[space + 1 : end - 1].partition(b"=")
            if not (space < end <= len(content) and content[end - 1] == 0x0A and key and equals):
                raise self._invalid_archive("a pax header is malformed")
            count += 1
            if count > _MAX_RECORDS:
                raise self._invalid_archive(f"a pax header has more than {_MAX_RECORDS} records")
            if key in _OF_ENTRIES and (b"\0" in value or not value):
                raise self._invalid_archive(f"a pax header has an empty {key.decode()}, or a NUL byte in it")
            records[key] = value
            at = end
        return records

    def _check_padding(self) -> None:
        """Raise LayoutError if the data after the end mark is too long or is not zero."""
        left = _MAX_PADDING
        while piece := self._source.take(BLOCK << 7):
            left -= len(piece)
            if left < 0 or piece.count(0) < len(piece):
                raise self._invalid_archive("there is data after its end")

    def _invalid_archive(self, reason: str) -> LayoutError:
        return invalid_archive(self._archive, reason)


class _Extended:
    """Values of the extended headers before a member."""

    __slots__ = ("kinds", "link", "name", "records")

    def __init__(self) -> None:
        self.kinds = ""
        self.name = self.link = b""
        self.records: dict[bytes, bytes] = {}
