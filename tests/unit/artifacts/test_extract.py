"""Extraction writes no file outside its directory, and leaves no file after an error."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from mme_sdk.artifacts import Extracted, extract
from mme_sdk.errors import InvalidInputError, LayoutError, StorageError


def archive(*entries: tuple[str, bytes] | tarfile.TarInfo) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    out.seek(0)
    return out


def special(kind: bytes, name: str = "x", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_tree_is_extracted_completely(tmp_path: Path) -> None:
    source = archive(("./model.bin", b"weights"), special(tarfile.DIRTYPE, "./code"), ("./code/inference.py", b"pass"))
    assert extract(source, tmp_path / "out") == Extracted(files=2, size=11)
    assert (tmp_path / "out/model.bin").read_bytes() == b"weights"
    assert (tmp_path / "out/code/inference.py").read_bytes() == b"pass"
    assert not source.closed


def test_a_path_and_an_existing_empty_directory_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(archive(("m", b"1")).getvalue())
    (tmp_path / "out").mkdir()
    extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert (tmp_path / "out/m").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (("/etc/passwd", b"x"), "outside"),
        (("../evil", b"x"), "outside"),
        (("a/../../evil", b"x"), "outside"),
        (("a\\..\\evil", b"x"), "outside"),
        (("C:evil", b"x"), "outside"),
        (special(tarfile.SYMTYPE, link="/etc"), "symbolic link to '/etc'"),
        (special(tarfile.LNKTYPE, link="m"), "hard link to 'm'"),
        (special(tarfile.CHRTYPE), "device"),
        (special(tarfile.BLKTYPE), "device"),
        (special(tarfile.FIFOTYPE), "device"),
        (special(tarfile.GNUTYPE_SPARSE), "sparse"),
    ],
)
def test_unsafe_entries_are_rejected_and_no_file_remains(tmp_path: Path, entry: object, says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        extract(archive(("m", b"1"), entry), tmp_path / "sub/out")  # type: ignore[arg-type]
    assert list((tmp_path / "sub").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_limits_apply_while_reading(tmp_path: Path) -> None:
    bomb = archive(("zeros", bytes(50_000_000)))
    with pytest.raises(LayoutError, match="more than the 1,000,000 bytes"):
        extract(bomb, tmp_path / "out", max_bytes=1_000_000)
    assert bomb.tell() < 200_000
    with pytest.raises(LayoutError, match="more than the 3 entries"):
        extract(archive(*((f"{i}", b"") for i in range(4))), tmp_path / "out", max_entries=3)
    assert list(tmp_path.iterdir()) == []


def test_a_giant_header_is_not_read_into_memory(tmp_path: Path) -> None:
    header = special(tarfile.XHDTYPE)
    header.size = 4 << 30
    with pytest.raises(LayoutError, match="tar header of"):
        extract(io.BytesIO(gzip.compress(header.tobuf())), tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "checksum", "text", "empty", "plain tar"])
def test_damaged_archives_and_disk_errors_differ(tmp_path: Path, damage: str) -> None:
    good = archive(("m", os.urandom(50_000))).getvalue()
    data = {
        "cut": good[:-30_000],
        "checksum": good[:-8] + b"\0\0\0\0" + good[-4:],
        "text": b"this is no archive",
        "empty": b"",
        "plain tar": gzip.decompress(good),
    }[damage]
    with pytest.raises(LayoutError, match=r"not a valid tar\.gz"):
        extract(io.BytesIO(data), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_is_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="both a file and a directory"):
        extract(archive(("a", b"1"), ("a/b", b"2")), tmp_path / "out")
    with pytest.raises(LayoutError, match="both a file and a directory"):
        extract(archive(("a/b", b"2"), ("a", b"1")), tmp_path / "out")


def test_a_directory_with_content_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("keep")
    with pytest.raises(InvalidInputError, match="not an empty directory"):
        extract(archive(("m", b"1")), tmp_path / "out")
    assert (tmp_path / "out/mine").read_text() == "keep"
    with pytest.raises(InvalidInputError, match="no archive at"):
        extract(tmp_path / "none", tmp_path / "new")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: str, flags: int, *args: int, **more: int) -> int:
        return real("/dev/full", os.O_WRONLY) if flags & os.O_CREAT else real(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageError, match="No space left"):
        extract(archive(("m", b"1" * 100_000)), tmp_path / "out")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_set_user_id_bits_do_not_survive(tmp_path: Path) -> None:
    info = tarfile.TarInfo("tool")
    info.mode = 0o4777
    extract(archive(info), tmp_path / "out")
    assert (tmp_path / "out/tool").stat().st_mode & 0o7022 == 0


def extended(kind: bytes, *fields: str) -> bytes:
    """A pax header, whatever it says."""
    body = b"".join(b"%d %s\n" % (len(field) + 4, field.encode()) for field in fields)
    info = tarfile.TarInfo("h")
    info.type, info.size = kind, len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


@pytest.mark.parametrize(
    "headers",
    [
        extended(b"x", "GNU.sparse.size=x"),
        extended(b"x", "GNU.sparse.map=a,b"),
        extended(b"x", "GNU.sparse.major=1", "GNU.sparse.minor=0"),
        extended(b"x", "comment=xyz") * 2000,
        extended(b"g", "comment=xyz") * 2000,
        extended(b"x", "size=-500"),
    ],
    ids=["sparse size", "sparse map", "sparse content", "chain", "global chain", "negative size"],
)
@pytest.mark.parametrize("first", [True, False])
def test_hostile_extended_headers_are_layout_errors(tmp_path: Path, headers: bytes, first: bool) -> None:
    info = tarfile.TarInfo("m")
    info.size = 1
    member = info.tobuf(tarfile.USTAR_FORMAT) + b"x" + bytes(511)
    data = gzip.compress((b"" if first else member) + headers + member + bytes(1024))
    with pytest.raises(LayoutError):
        extract(io.BytesIO(data), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_names_that_file_systems_do_not_support(tmp_path: Path) -> None:
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(StorageError, match="cannot"):
            extract(archive(("m", b"1")), tmp_path / name)
