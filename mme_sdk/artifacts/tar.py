"""Reads a tar strictly, from front to back, with work and memory in proportion to what it reads.

`tarfile` is not used: its cost for hostile headers is not bounded (CVE-2024-6232), and it takes a damaged header in the
middle of an archive for the end of the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from mme_sdk.artifacts.tree import Tree, shown
from mme_sdk.errors import LayoutError

__all__ = ["BLOCK", "MAX_HEADER", "ByteSource", "Member", "too_large", "unsound", "walk"]

BLOCK = 512
MAX_HEADER = 128 << 10  # bytes of one extended header; Linux and macOS write extended attributes into them
_MAX_RECORDS = 256  # of one pax header
_MAX_GLOBAL = 8  # global pax headers between two entries
_MAX_PADDING = 1 << 20  # zero bytes behind the end mark; the largest record of tar programs is half of it
_MAX_DIGITS = 19  # of a decimal size: less than 2**64
_ZEROS = bytes(BLOCK)
_FILES = b"0\x007"  # regular, regular in old tars, contiguous
_EXTENDED = b"xXgLK"  # pax, Solaris' pax, global pax, GNU long name, GNU long link
_OF_ENTRIES = (b"path", b"linkpath", b"size")  # pax keywords that make no sense for all entries at once
_LINKS = {b"1": "hard link", b"2": "symbolic link"}


class ByteSource(Protocol):
    """What a tar is read from."""

    def take(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        ...

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next bytes in pieces, fewer only at the end."""
        ...


class Member(NamedTuple):
    """A file or directory of an archive.

    Attributes:
        path: Relative to the root, `/` between parts, checked.
        size: Bytes; 0 of a directory.
        executable: Whether the owner may run it.
        is_folder: Whether it is a directory.
        new_folders: Directories that come into being with it, parents first; itself the last where it is one.
        again: Whether a file of this path came before; this one replaces it.
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


def unsound(archive: str, reason: str) -> LayoutError:
    """The error for a file that is not a complete, well-formed tar.gz."""
    return LayoutError(
        f"{archive} is no sound tar.gz archive: {reason}",
        hint="a model archive is a gzip-compressed tar; pack the model's directory with register() or pack()",
    )


def walk(
    source: ByteSource, archive: str, *, max_bytes: int | None, max_entries: int
) -> Iterator[tuple[Member, Iterator[memoryview]]]:
    """The files and directories of a tar; the root itself is left out.

    Args:
        source: The uncompressed tar.
        archive: The archive's name for messages.
        max_bytes: Largest size of the tar; a larger file is refused by its header.
        max_entries: Most files and directories, directories that only a path implies included.

    Yields:
        A member, and its content, which may be left unread.

    Raises:
        LayoutError: Something is malformed, unsafe to unpack, or over a limit.
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
            raise unsound(archive, f"it ends inside {shown(name)}")


def too_large(archive: str, max_bytes: int) -> LayoutError:
    """The error for an archive that unpacks to more than allowed."""
    return LayoutError(
        f"{archive} unpacks to more than the {max_bytes:,} bytes allowed",
        hint="raise the limit if the model is really that large",
    )


def _is_folder(header: _Header, name: str, size: int, archive: str) -> bool:
    """Whether a member is a directory.

    Raises:
        LayoutError: It is neither file nor directory, or a directory with content.
    """
    kind = header.kind
    is_folder = kind == b"5" or (kind == b"\0" and header.name.endswith(b"/"))  # the latter in V7 archives
    if is_folder and size:
        raise unsound(archive, f"the directory {shown(name)} has a size of {size}")
    if kind in _FILES and not is_folder and name.endswith("/"):  # a file for some programs, a directory for others
        raise unsound(archive, f"{shown(name)} is a file whose name ends in a slash")
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
    """Reads headers, the extended ones included.

    Args:
        source: The tar.
        archive: The archive's name for messages.
        budget: Bytes that all extended headers together may have.
    """

    def __init__(self, source: ByteSource, archive: str, *, budget: int) -> None:
        self._source = source
        self._archive = archive
        self._budget = budget
        self._is_first = True

    def next(self) -> tuple[_Header, str, int] | None:
        """The next member's header, name and size; None at the end of the tar.

        Raises:
            LayoutError: A header is malformed.
        """
        extended = _Extended()
        while True:
            block = self._source.take(BLOCK)
            if block == _ZEROS or not (block or self._is_first):
                if extended.kinds:
                    raise self._unsound("it ends after an extended header")
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
                raise self._unsound(f"several extended headers of type {kind!r} follow one another")
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
                    raise self._unsound("a global pax header gives a name or a size to all entries")

    def _resolved(self, header: _Header, extended: _Extended) -> tuple[_Header, str, int]:
        """A member's header with what its extended headers say."""
        records = extended.records
        name = records.get(b"path") or extended.name or header.name
        if extended.name and name != extended.name:
            raise self._unsound("an entry has two different long names")
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
                raise self._unsound(f"{shown(text)} has a size of {given[:30].decode(errors='backslashreplace')}")
            size = int(given)
        return header._replace(link=records.get(b"linkpath") or extended.link or header.link), text, size

    def _parsed(self, block: bytes) -> _Header:
        """The fields of a header block."""
        if len(block) < BLOCK:
            raise self._unsound("it ends inside a header" if block else "it is empty")
        stated = self._number(block[148:156], "checksum")
        # The checksum counts its own eight bytes as spaces. Some old programs summed signed bytes.
        unsigned = sum(block) - sum(block[148:156]) + 8 * 32
        if stated != unsigned and stated != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
            raise self._unsound("a header has a wrong checksum")
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
        """A number of a header: octal digits, or binary with the first bit set."""
        if field[0] & 0x80:
            if field[0] & 0x40:
                raise self._unsound(f"a header has a negative {what}")
            return int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
        digits = field.strip(b" \0")
        if digits.strip(b"01234567"):  # int() would take signs and underscores
            raise self._unsound(f"a header has no number as its {what}: {field!r}")
        return int(digits, 8) if digits else 0  # an empty field is zero, as in V7 archives

    def _content(self, size: int) -> bytes:
        """What an extended header holds."""
        if size > MAX_HEADER:
            raise LayoutError(
                f"{self._archive} holds a tar header of {size:,} bytes, more than the {MAX_HEADER:,} allowed",
                hint="pack without extended attributes (`tar --no-xattrs`), or let register() pack the directory",
            )
        self._budget -= size
        if self._budget < 0:
            raise LayoutError(
                f"{self._archive} holds more extended tar headers than its number of entries explains",
                hint="pack without extended attributes (`tar --no-xattrs`), or let register() pack the directory",
            )
        content = self._source.take(size)
        padding = -size % BLOCK
        if len(content) < size or len(self._source.take(padding)) < padding:
            raise self._unsound("it ends inside an extended header")
        return content

    def _terminated(self, content: bytes) -> bytes:
        """The text of a GNU header, which ends at a NUL byte."""
        text = content.rstrip(b"\0")
        if b"\0" in text or not text:
            raise self._unsound("a long name is empty or holds a NUL byte")
        return text

    def _records(self, content: bytes) -> dict[bytes, bytes]:
        """The records of a pax header, each `LENGTH KEY=VALUE` and a line feed."""
        records: dict[bytes, bytes] = {}
        at = count = 0
        while at < len(content) and content[at]:
            space = content.find(b" ", at, at + 8)
            digits = content[at:space] if space > 0 else b""
            end = at + int(digits) if digits.isdigit() else 0
            key, equals, value = content[space + 1 : end - 1].partition(b"=")
            if not (space < end <= len(content) and content[end - 1] == 0x0A and key and equals):
                raise self._unsound("a pax header is malformed")
            count += 1
            if count > _MAX_RECORDS:
                raise self._unsound(f"a pax header has more than {_MAX_RECORDS} records")
            if key in _OF_ENTRIES and (b"\0" in value or not value):
                raise self._unsound(f"a pax header has an empty {key.decode()}, or a NUL byte in it")
            records[key] = value
            at = end
        return records

    def _check_padding(self) -> None:
        """Behind the end mark there are zeros, and not many of them."""
        left = _MAX_PADDING
        while piece := self._source.take(BLOCK << 7):
            left -= len(piece)
            if left < 0 or piece.count(0) < len(piece):
                raise self._unsound("there is more behind its end")

    def _unsound(self, reason: str) -> LayoutError:
        return unsound(self._archive, reason)


class _Extended:
    """What the extended headers before a member say."""

    __slots__ = ("kinds", "link", "name", "records")

    def __init__(self) -> None:
        self.kinds = ""
        self.name = self.link = b""
        self.records: dict[bytes, bytes] = {}
