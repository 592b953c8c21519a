"""Hostile archives: one reader decides for `extract`, `inspect`, `register` and `pack`, and its work is bounded."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import os
import random
import sys
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mme_sdk.artifacts import Archive, extract, inspect, pack
from mme_sdk.artifacts import reading as reading_module
from mme_sdk.artifacts import tree as tree_module
from mme_sdk.errors import LayoutError, MMEError
from tests.support.attack.rawtar import END, archive, block, extended, member, padded, pax, record

DIGITS = b"7" * 100_000
DEEP = b"/".join([b"d"] * 1600)

REFUSED: dict[str, tuple[bytes, str]] = {
    "1,600 levels": (archive(pax(path=DEEP), member()), "levels deep|a path of"),
    "1,600 levels, GNU": (archive(extended(DEEP + b"\0", b"L"), member()), "levels deep|a path of"),
    "101 levels": (archive(pax(path=b"/".join([b"d"] * 101)), member()), "101 levels deep"),
    "pax size of 10^20": (archive(pax(size=b"100000000000000000000"), member()), "has a size of 1000"),
    "pax size of digits": (archive(pax(size=DIGITS), member()), "has a size of 777"),
    "pax size of 2^60": (archive(pax(size=b"%d" % 2**60), member()), "unpacks to more than"),
    "pax size negative": (archive(pax(size=b"-500"), member()), "has a size of -500"),
    "pax size hexadecimal": (archive(pax(size=b"0x10"), member()), "has a size of 0x10"),
    "pax size underscore": (archive(pax(size=b"1_0"), member(content=b"0123456789")), "has a size of 1_0"),
    "pax header of digits": (archive(extended(DIGITS), member()), "pax header is malformed"),
    "pax record of 10^7 bytes": (archive(extended(b"9999999 a=b\n"), member()), "pax header is malformed"),
    "pax record of no bytes": (archive(extended(b"0 a=b\n"), member()), "pax header is malformed"),
    "pax record of -1 bytes": (archive(extended(b"-1 a=b\n"), member()), "pax header is malformed"),
    "pax record without =": (archive(extended(b"6 abc\n"), member()), "pax header is malformed"),
    "pax record without a line feed": (archive(extended(b"6 a=b "), member()), "pax header is malformed"),
    "1,000 pax records": (archive(extended(record(b"a", b"b") * 1000), member()), "more than 256 records"),
    "pax header of 1 MiB": (archive(extended(b"7" * (1 << 20)), member()), "tar header of 1,048,576 bytes"),
    "pax header of 4 GiB": (archive(block(size=4 << 30, kind=b"x")), "tar header of 4,294,967,296 bytes"),
    "GNU name of 1 MiB": (archive(extended(b"n" * (1 << 20), b"L"), member()), "tar header of"),
    "300-character name": (archive(pax(path=b"n" * 300), member()), "name in its path of 300 bytes"),
    "86 characters of 3 bytes": (archive(pax(path="€".encode() * 86), member()), "name in its path of 258 bytes"),
    "path of 1,025 bytes": (archive(pax(path=b"/".join([b"n" * 204] * 5) + b"n"), member()), "a path of 1,025 bytes"),
    "3,000 chained pax headers": (archive(pax(comment=b"c") * 3000, member()), "follow one another"),
    "3,000 chained Solaris headers": (archive(pax(b"X", comment=b"c") * 3000, member()), "follow one another"),
    "3,000 chained global headers": (archive(pax(b"g", comment=b"c") * 3000, member()), "follow one another"),
    "3,000 chained GNU names": (archive(extended(b"n\0", b"L") * 3000, member()), "follow one another"),
    "3,000 chained GNU links": (archive(extended(b"n\0", b"K") * 3000, member()), "follow one another"),
    "two different long names": (archive(extended(b"n\0", b"L"), pax(path=b"p"), member()), "two different long names"),
    "a global name": (archive(pax(b"g", path=b"p"), member()), "to all entries"),
    "a global size": (archive(pax(b"g", size=b"0"), member()), "to all entries"),
    "an extended header last": (archive(pax(path=b"p")), "ends after an extended header"),
    "sparse 0.0": (archive(pax(GNU__sparse__size=b"9"), member()), "sparse file"),
    "sparse 0.1": (archive(pax(GNU__sparse__map=b"0,1" * 9), member()), "sparse file"),
    "sparse 1.0": (archive(pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0"), member()), "sparse file"),
    "sparse, GNU": (archive(block(kind=b"S")), "sparse file"),
    "hard link": (archive(member(), block(b"l", kind=b"1", link=b"m")), "hard link to 'm'"),
    "symbolic link": (archive(block(b"l", kind=b"2", link=b"/etc")), "symbolic link to '/etc'"),
    "symbolic link, GNU": (archive(extended(b"/etc/p\0", b"K"), block(b"l", kind=b"2")), "symbolic link to '/etc/p'"),
    "a link, then through it": (archive(block(b"l", kind=b"2", link=b".."), member(b"l/x", b"1")), "symbolic link"),
    "character device": (archive(block(kind=b"3")), "device or pipe"),
    "block device": (archive(block(kind=b"4")), "device or pipe"),
    "pipe": (archive(block(kind=b"6")), "device or pipe"),
    "volume header": (archive(block(kind=b"V")), "special entry"),
    "continuation": (archive(block(kind=b"M")), "special entry"),
    "type 0xff": (archive(block(kind=b"\xff")), "special entry"),
    "absolute": (archive(member(b"/etc/passwd")), "outside its directory"),
    "absolute by prefix": (archive(member(b"passwd", prefix=b"/etc")), "outside its directory"),
    "absolute by pax": (archive(pax(path=b"/etc/passwd"), member()), "outside its directory"),
    "..": (archive(member(b"a/../../b")), "outside its directory"),
    ".. by prefix": (archive(member(b"b", prefix=b"..")), "outside its directory"),
    "backslash": (archive(member(b"..\\b")), "outside its directory"),
    "drive": (archive(member(b"C:b")), "outside its directory"),
    "no name": (archive(member(b"")), "without a name"),
    "the root as file": (archive(member(b".", b"1")), "without a name"),
    "NUL in a pax name": (archive(pax(path=b"a\0b"), member()), "a NUL byte in it"),
    "empty pax name": (archive(pax(path=b""), member()), "empty path"),
    "empty pax size": (archive(pax(size=b""), member()), "empty size"),
    "empty GNU name": (archive(extended(b"\0", b"L"), member()), "a long name is empty"),
    "reserved gzip flags": (archive(member())[:3] + b"\x20" + archive(member())[4:], r"not a valid tar\.gz"),
    "reserved gzip flags later": (archive(member(), end=b"") + b"\x1f\x8b\x08\x80" + bytes(30), r"not a valid tar\.gz"),
    "NUL in a GNU name": (archive(extended(b"a\0b\0", b"L"), member()), "NUL byte"),
    "Latin-1": (archive(member(b"caf\xe9")), "not UTF-8"),
    "surrogate": (archive(pax(path=b"\xed\xa0\x80"), member()), "not UTF-8"),
    "overlong /": (archive(pax(path=b"a\xc0\xafb"), member()), "not UTF-8"),
    "file, then directory": (archive(member(b"a"), member(b"a/b")), "'a' is both a file and a directory"),
    "directory, then file": (archive(member(b"a/b"), member(b"a")), "'a' is both a file and a directory"),
    "file, then empty directory": (archive(member(b"a"), block(b"a", kind=b"5")), "'a' is both"),
    "file far above": (archive(member(b"a"), member(b"a/b/c/d")), "'a' is both a file and a directory"),
    "directory with content": (archive(member(b"a", b"1", kind=b"5")), "has a size of 1"),
    "file with a slash and content": (archive(member(b"a/", b"1")), "ends in a slash"),
    "file with a slash": (archive(member(b"a/")), "ends in a slash"),
    "file with a slash in pax": (archive(pax(path=b"a/"), member(kind=b"\0")), "ends in a slash"),
    "V7 directory with content": (archive(member(b"a/", b"1", kind=b"\0")), "has a size of 1"),
    "size negative": (archive(block(size=b"\xff" * 12)), "negative size"),
    "size of 2^88": (archive(block(size=b"\x80" + b"\xff" * 11)), "unpacks to more than"),
    "size of words": (archive(block(size=b"many")), "the size in a header is not a number"),
    "size with 8": (archive(block(size=b"0000008")), "the size in a header is not a number"),
    "size signed": (archive(block(size=b"-000001")), "the size in a header is not a number"),
    "mode of words": (archive(block(mode=b"rwxr-x")), "the mode in a header is not a number"),
    "checksum wrong": (archive(block(checksum=b"000001")), "wrong checksum"),
    "checksum wrong later": (archive(member(content=b"1"), block(b"n", checksum=b"000001")), "wrong checksum"),
    "garbage later": (archive(member(content=b"1"), b"garbage" * 100), "checksum in a header|wrong checksum"),
    "size beyond the end": (archive(block(size=100_000), end=b""), "ends inside 'm'"),
    "padding beyond the end": (archive(block(size=1), b"1", end=b""), "ends inside 'm'"),
    "half a header": (archive(member(content=b"1"), block(b"n")[:300], end=b""), "ends inside a header"),
    "half an extended header": (archive(block(size=600, kind=b"x"), bytes(512), end=b""), "inside an extended header"),
    "more behind the end": (archive(member(), end=END + member(b"n", b"hidden")), "data after its end"),
    "2 MiB of zeros behind the end": (archive(member(), end=bytes(2 << 20)), "data after its end"),
    "nothing": (b"", "it is empty"),
    "an empty gzip": (gzip.compress(b""), "it is empty"),
    "no gzip": (b"this is no archive", r"not a valid tar\.gz"),
    "a plain tar": (member(content=b"1") + END, r"not a valid tar\.gz"),
    "garbage behind gzip": (archive(member()) + b"garbage", r"not a valid tar\.gz"),
    "gzip cut": (archive(member(content=bytes(range(256))))[:-60], "cut off"),
    "gzip without its trailer": (archive(member())[:-8], "cut off"),
    "a second gzip cut": (archive(member(), end=b"") + archive(member(b"n"))[:-9], "cut off"),
    "gzip checksum": (archive(member())[:-8] + b"\0\0\0\0" + archive(member())[-4:], r"not a valid tar\.gz"),
    "gzip length": (archive(member())[:-4] + b"\0\0\0\1", r"not a valid tar\.gz"),
}

TAKEN: dict[str, tuple[bytes, dict[str, int]]] = {
    "a member twice": (archive(member(b"a", b"123", mode=b"0000755\0"), member(b"a", b"1")), {"a": 1}),
    "concatenated gzip": (archive(member(b"a", b"123"), end=b"") + archive(member(b"b", b"1")), {"a": 3, "b": 1}),
    "zeros between gzip members": (
        archive(member(b"a", b"123"), end=b"") + bytes(5000) + archive(member(b"b", b"1")) + bytes(700_000),
        {"a": 3, "b": 1},
    ),
    "no end mark": (archive(member(b"a", b"123"), end=b""), {"a": 3}),
    "V7": (
        archive(member(b"a", b"123", kind=b"\0", magic=b""), block(b"b/", kind=b"\0", magic=b"")),
        {"a": 3, "b/": 0},
    ),
    "GNU": (archive(extended(b"l" * 200 + b"\0", b"L"), member(b"l" * 100, b"1", magic=b"ustar  \0")), {"l" * 200: 1}),
    "prefix": (archive(member(b"b", b"1", prefix=b"a")), {"a/b": 1}),
    "pax": (archive(pax(b"g", comment=b"c"), pax(path="é/ü".encode(), mtime=b"1.5"), member(content=b"1")), {"é/ü": 1}),
    "pax size": (archive(pax(size=b"3"), block(b"a", size=0) + padded(b"123")), {"a": 3}),
    "binary size": (archive(member(b"a", b"123", size=b"\x80" + bytes(10) + b"\3")), {"a": 3}),
    "signed checksum": (
        archive(member("é".encode(), checksum=b"%o" % (sum(block("é".encode(), checksum=b" " * 8)) - 512))),
        {"é": 0},
    ),
    "dots and slashes": (archive(block(b"./", kind=b"5"), member(b".//a/./b", b"1")), {"a/b": 1}),
    "100 levels": (archive(pax(path=b"/".join([b"d"] * 100)), member()), {"/".join(["d"] * 100): 0}),
    "255 bytes": (archive(pax(path=b"n" * 255), member()), {"n" * 255: 0}),
    "control characters": (archive(member(b"a\n\x1b[31mb", b"1")), {"a\n\x1b[31mb": 1}),
    "directories in any order": (
        archive(member(b"a/b/c", b"1"), block(b"a", kind=b"5"), block(b"a/e", kind=b"5"), block(b"a/b", kind=b"5")),
        {"a/b/c": 1, "a/e/": 0},
    ),
}


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except LayoutError as error:
        return str(error)


def on_disk(folder: Path) -> list[tuple[str, int, bool]]:
    found = []
    for where, folders, files in os.walk(folder):
        base = Path(where)
        for name in files:
            info = (base / name).lstat()
            found.append((str((base / name).relative_to(folder)), info.st_size, bool(info.st_mode & 0o100)))
        if not folders and not files and base != folder:
            found.append((f"{base.relative_to(folder)}/", 0, False))
    return sorted(found)


def judge(data: bytes, folder: Path, **limits: int) -> Archive | str:
    """What both readers say, having checked that it is the same."""
    folder.mkdir()
    read = outcome(lambda: inspect(io.BytesIO(data), **limits))
    unpacked = outcome(lambda: extract(io.BytesIO(data), folder / "out", **limits))
    if isinstance(read, Archive):
        assert not isinstance(unpacked, str), unpacked
        assert [(one.path, one.size, one.executable) for one in read.entries] == on_disk(folder / "out")
        assert unpacked.size == read.unpacked
        assert unpacked.files == sum(not one.path.endswith("/") for one in read.entries)
        assert [one.name for one in folder.iterdir()] == ["out"]
    else:
        assert read == unpacked
        assert list(folder.iterdir()) == []
    return read


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "zlib":
        monkeypatch.setattr(reading_module, "_decompressor", zlib.decompressobj)
    return str(request.param)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_refused_by_both_with_the_same_words(case: str, tmp_path: Path, library: str) -> None:
    data, says = REFUSED[case]
    said = judge(data, tmp_path / "x")
    assert isinstance(said, str)
    assert __import__("re").search(says, said), said
    assert len(said) < 600
    assert said.isprintable() or "\n" in said


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken_is_read_alike_by_both(case: str, tmp_path: Path, library: str) -> None:
    data, holds = TAKEN[case]
    read = judge(data, tmp_path / "x")
    assert isinstance(read, Archive), read
    assert {one.path: one.size for one in read.entries} == holds


def test_names_that_a_platform_takes_for_one_are_refused_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(b"a", b"A"), ("é".encode(), "e\u0301".encode()), (b"d/x", b"D/y"), ("ß".encode(), b"SS")]
    for number, (one, other) in enumerate(pairs):
        data = archive(member(one), member(other))
        monkeypatch.setattr(tree_module, "_CASE_INSENSITIVE", False)
        assert isinstance(judge(data, tmp_path / f"{number}"), Archive)
        monkeypatch.setattr(tree_module, "_CASE_INSENSITIVE", True)
        said = judge(data, tmp_path / f"{number}-folded")
        assert isinstance(said, str)
        assert "the same file on this platform" in said


# -- any archive ------------------------------------------------------------------------------------------------------

_names = st.sampled_from(
    ["a", "a/b", "a/b/c", "b", "A", "./a", "a//b", "a/", "", ".", "..", "/x", "x\\y", "c:", "é", "e\u0301", "n" * 99]
).map(str.encode) | st.binary(max_size=100)
_contents = st.sampled_from([b"", b"1", b"x" * 511, b"x" * 512, b"x" * 513]) | st.binary(max_size=600)
_numbers = st.sampled_from(
    [
        b"",
        b"0",
        b"1",
        b"1000",
        b"8",
        b"-1",
        b"+1",
        b" 1 ",
        b"1\0garbage",
        b"\x80\0\0\0\1",
        b"\xff" * 12,
        b"7" * 12,
        b"1_0",
    ]
)
_kinds = st.sampled_from(
    [b"0", b"0", b"0", b"\0", b"5", b"5", b"1", b"2", b"3", b"7", b"S", b"L", b"K", b"x", b"g", b"X"]
)
_lies = st.fixed_dictionaries(
    {},
    optional={
        "size": _numbers,
        "mode": _numbers | st.just(b"0000755\0"),
        "kind": _kinds | st.binary(min_size=1, max_size=1),
        "link": _names,
        "magic": st.sampled_from([b"", b"ustar  \0", b"ustar\x0000", b"nonsense"]),
        "prefix": _names,
        "checksum": _numbers,
    },
)
_keys = st.sampled_from([b"path", b"size", b"linkpath", b"mtime", b"comment", b"GNU.sparse.map", b"hdrcharset"])
_records = st.tuples(_keys, _names | _numbers).map(lambda pair: record(*pair))
_broken = st.sampled_from([b"", b"\0", b"9", b"99 a=b\n", b"6 a=b\n", b"0 a=b\n", b" 6 a=b\n", b"7 a=b\n", b"\xff"])
_parts = st.one_of(
    st.builds(member, _names, _contents),
    st.builds(member, _names, _contents),
    st.builds(lambda name, content, lies: member(name, content, **lies), _names, _contents, _lies),
    st.builds(lambda rows, kind: extended(b"".join(rows), kind), st.lists(_records | _broken, max_size=4), _kinds),
    st.builds(lambda name: extended(name + b"\0", b"L"), _names),
    st.binary(max_size=600),
    st.just(bytes(512)),
)


@st.composite
def _archives(draw: st.DrawFn) -> bytes:
    data = b"".join(draw(st.lists(_parts, max_size=5))) + draw(st.sampled_from([END, END, END, b"", bytes(512)]))
    if draw(st.integers(0, 5)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    cut = draw(st.integers(0, len(data))) if draw(st.booleans()) else 0
    packed = (gzip.compress(data[:cut], 1, mtime=0) if cut else b"") + gzip.compress(data[cut:], 1, mtime=0)
    match draw(st.integers(0, 9)):
        case 0:
            packed = packed[: draw(st.integers(0, len(packed)))]
        case 1:
            packed += draw(st.binary(max_size=30) | st.just(bytes(30)))
        case 2:
            at = draw(st.integers(0, len(packed) - 1))
            packed = packed[:at] + bytes([packed[at] ^ (1 << draw(st.integers(0, 7)))]) + packed[at + 1 :]
    return packed


def agree(data: bytes, folder: Path) -> bool:
    """Both readers, both decompressors, and where the archive is taken `tarfile`, agree; whether it is taken."""
    read = judge(data, folder)
    fast, reading_module._decompressor = reading_module._decompressor, zlib.decompressobj
    try:
        plain = outcome(lambda: inspect(io.BytesIO(data)))
    finally:
        reading_module._decompressor = fast
    if isinstance(read, str):
        assert isinstance(plain, str)
        return False
    assert read == plain
    with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(data)) as other:
        # Where both read it, they read the same.
        sizes = {os.path.normpath(one.name): one.size for one in other if one.isreg() and one.name.strip("./")}
        assert sizes == {one.path: one.size for one in read.entries if not one.path.endswith("/")}
    return True


def fuzz(examples: int, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, int]:
    counts = {True: 0, False: 0}
    base, numbers = tmp_path_factory.mktemp("fuzz"), itertools.count()

    @settings(max_examples=examples)
    @given(_archives())
    @example(archive(member(b"a", b"1", mode=b"0000755\0"), member(b"a", b"2")))
    def run(data: bytes) -> None:
        counts[agree(data, base / str(next(numbers)))] += 1

    run()
    return counts


def test_any_archive_is_read_alike_by_both(tmp_path_factory: pytest.TempPathFactory) -> None:
    counts = fuzz(250, tmp_path_factory)
    assert counts[True] > 10
    assert counts[False] > 10


@pytest.mark.slow
def test_many_archives_are_read_alike_by_both(tmp_path_factory: pytest.TempPathFactory) -> None:
    counts = fuzz(2_000, tmp_path_factory)
    assert min(counts[True], counts[False]) > 80


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_anywhere_ends_in_a_verdict(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    names = [b"%d" % i * rng.randrange(1, 20) for i in range(20)]
    plain = b"".join(member(name, rng.randbytes(rng.randrange(2000))) for name in names) + END
    for number in range(500):
        data = bytearray(plain)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        judge(gzip.compress(bytes(data), 1), tmp_path / str(number))


# -- work and memory --------------------------------------------------------------------------------------------------


def work_of(action: Callable[[], Any]) -> int:
    """How many calls of Python and C functions an action makes."""
    count = 0

    def tick(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(tick)
    try:
        with contextlib.suppress(MMEError):
            action()
    finally:
        sys.setprofile(None)
    return count


GROWING: dict[str, Callable[[int], bytes]] = {
    "members": lambda n: archive(*(block(b"d%d/n%d" % (i % 30, i)) for i in range(n))),
    "deep members": lambda n: archive(*(pax(path=b"d/" * 90 + b"%d" % i) + block() for i in range(n))),
    "directories": lambda n: archive(*(block(b"d%d" % i, kind=b"5") for i in range(n))),
    "members twice": lambda n: archive(*(block(b"d%d" % (i % 30)) for i in range(n))),
    "model configurations": lambda n: archive(*(block(b"d%d/config.pbtxt" % i) for i in range(n))),
    "empty gzip members": lambda n: archive(member(), end=b"") + gzip.compress(b"") * n,
    "gzip members with zeros": lambda n: archive(member(), end=b"") + (gzip.compress(b"") + b"\0") * n,
    "pax records": lambda n: archive(*(extended(record(b"a", b"b") * 200) + block(b"%d" % i) for i in range(n // 10))),
}


@pytest.mark.parametrize("what", GROWING)
def test_work_grows_with_the_archive_and_no_faster(what: str) -> None:
    small, large = (work_of(lambda n=n: inspect(io.BytesIO(GROWING[what](n)))) for n in (500, 2000))  # type: ignore[misc]
    making = [work_of(lambda n=n: GROWING[what](n)) for n in (500, 2000)]  # type: ignore[misc]
    assert large - making[1] < 4.4 * (small - making[0])


def test_100_000_members_take_a_bounded_number_of_calls() -> None:
    count = 3_000
    data = archive(*(block(b"d%d/n%d" % (i % 300, i)) for i in range(count)))
    assert work_of(lambda: inspect(io.BytesIO(data))) < 110 * count


@pytest.mark.parametrize(
    "data",
    [
        archive(extended(b"7" * (100 << 10)) + member()),
        archive(block(size=1 << 40), end=bytes(32 << 20)),
        archive(member(), end=bytes(64 << 20)),
        archive(*(extended(b"n" * 1000 + b"\0", b"L") + member(b"%d" % i) for i in range(2000))),
        gzip.compress(b"")[:3] + b"\x08" + gzip.compress(b"")[4:10] + b"n" * (8 << 20),
    ],
    ids=["digits", "size", "zeros", "names", "gzip name"],
)
def test_memory_is_bounded(data: bytes, library: str) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(LayoutError):
            inspect(io.BytesIO(data), max_bytes=16 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20


class Counted(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    bomb = Counted(archive(block(size=4 << 30), end=b"") + bytes(4 << 20))
    with pytest.raises(LayoutError, match="more than the 1,000,000 bytes"):
        extract(bomb, tmp_path / "out", max_bytes=1_000_000)
    assert bomb.taken < 1 << 20


def test_directories_that_paths_imply_count(tmp_path: Path) -> None:
    parts = [pax(path=b"%04d/%s" % (i, b"/".join([b"d"] * 98))) + member() for i in range(11)]
    said = judge(archive(*parts), tmp_path / "x", max_entries=1000)
    assert isinstance(said, str)
    assert "more than the 1,000 entries" in said
    assert isinstance(judge(archive(*parts), tmp_path / "y", max_entries=1100), Archive)


def test_long_names_in_total_are_bounded() -> None:
    parts = [pax(path=b"%05d" % i + b"/".join([b"n" * 200] * 5)) + block() for i in range(1200)]
    with pytest.raises(LayoutError, match="longer than 256 bytes on average"):
        inspect(io.BytesIO(archive(*parts)), max_entries=4000)


# -- what is packed ---------------------------------------------------------------------------------------------------


def test_pack_refuses_what_extract_would_refuse(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    here = Path.cwd()
    os.chdir(deep)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("model").write_text("1")
    finally:
        os.chdir(here)
    try:
        with pytest.raises(LayoutError, match="levels deep"):
            pack(deep, io.BytesIO())
    finally:
        os.system(f"rm -rf '{deep}'")
    named = tmp_path / "named"
    named.mkdir()
    Path(os.fsdecode(bytes(named) + b"/caf\xe9")).write_text("1")
    with pytest.raises(LayoutError, match="not UTF-8"):
        pack(named, io.BytesIO())
