"""An archive contains what was packed, and the same files give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tarfile
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mme_sdk.artifacts import Archive, extract, inspect, pack
from mme_sdk.artifacts import reading as reading_module
from mme_sdk.errors import InvalidInputError, LayoutError, StorageError

_part = st.text(st.characters(exclude_characters="/\0\\", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda part: part[:2] not in (".", "..", "._") and part[1:2] != ":" and len(os.fsencode(part)) < 200
)
_trees = st.recursive(
    st.binary(max_size=3000) | st.sampled_from([b"x" * 512, b"y" * 300_000]),
    lambda below: st.dictionaries(_part, below, max_size=4),
    max_leaves=8,
)


def write(folder: Path, tree: dict[str, Any]) -> None:
    folder.mkdir()
    for name, below in tree.items():
        if isinstance(below, dict):
            write(folder / name, below)
        else:
            (folder / name).write_bytes(below)


def read(folder: Path) -> dict[str, Any]:
    return {one.name: read(one) if one.is_dir() else one.read_bytes() for one in folder.iterdir()}


def packed(source: Path, **more: Any) -> tuple[bytes, Archive]:
    out = io.BytesIO()
    archive = pack(source, out, check_layout=False, **more)
    return out.getvalue(), archive


@pytest.fixture(params=["isal", "zlib-ng", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each DEFLATE in turn, as if the better ones were not installed."""
    hidden = {"isal": [], "zlib-ng": ["isal"], "zlib": ["isal", "zlib_ng"]}[request.param]
    for name in hidden:
        monkeypatch.setitem(sys.modules, name, None)
    if hidden:
        monkeypatch.setattr(reading_module, "_decompressor", zlib.decompressobj)
    return str(request.param)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tree=st.dictionaries(_part, _trees, min_size=1, max_size=4))
def test_any_tree_packs_inspects_and_extracts_to_itself(
    tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    write(folder / "in", tree)
    data, archive = packed(folder / "in")
    assert inspect(io.BytesIO(data)) == Archive(
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content=hashlib.sha256(gzip.decompress(data)).hexdigest(),
        entries=archive.entries,
        framework=inspect(io.BytesIO(data)).framework,
    )
    extract(io.BytesIO(data), folder / "out")
    assert read(folder / "out") == tree
    (folder / "copy").mkdir()
    extract(io.BytesIO(data), folder / "copy")
    assert packed(folder / "copy")[0] == data


def test_each_library_gives_the_same_content_and_readable_bytes(tmp_path: Path, library: str) -> None:
    write(tmp_path / "in", {"model.bin": os.urandom(700_000), "code": {"inference.py": b"pass"}})
    data, archive = packed(tmp_path / "in")
    assert packed(tmp_path / "in")[0] == data
    assert archive.content == hashlib.sha256(gzip.decompress(data)).hexdigest()
    assert inspect(io.BytesIO(data)).sha256 == archive.sha256
    extract(io.BytesIO(data), tmp_path / "out")
    assert read(tmp_path / "out") == read(tmp_path / "in")
    with pytest.raises(LayoutError, match="not a valid"):
        inspect(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(LayoutError, match="not a valid"):
        inspect(io.BytesIO(data[:500_000] + b"damage" + data[500_006:]))


def test_times_owners_and_order_do_not_matter(tmp_path: Path) -> None:
    for name, order in (("one", "abc"), ("two", "cba")):
        (tmp_path / name).mkdir()
        for letter in order:
            (tmp_path / name / letter).write_text(letter)
            os.utime(tmp_path / name / letter, (len(name + letter), 1000 * ord(letter)))
    (tmp_path / "two/a").chmod(0o600)
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    (tmp_path / "two/a").chmod(0o700)
    assert packed(tmp_path / "one")[1].content != packed(tmp_path / "two")[1].content


def test_plain_tar_programs_read_it(tmp_path: Path) -> None:
    write(tmp_path / "in", {"model.bin": b"w" * 1000, "empty": {}})
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path / "in")[0])) as tar:
        assert tar.getnames() == ["empty", "model.bin"]
        assert {member.mtime for member in tar} == {0}


def test_links_are_followed_and_circles_detected(tmp_path: Path) -> None:
    write(tmp_path / "blobs", {"w": b"weights"})
    write(tmp_path / "in", {})
    (tmp_path / "in/model.bin").symlink_to(tmp_path / "blobs/w")
    (tmp_path / "in/deep").symlink_to(tmp_path / "blobs")
    extract(io.BytesIO(packed(tmp_path / "in")[0]), tmp_path / "out")
    assert read(tmp_path / "out") == {"model.bin": b"weights", "deep": {"w": b"weights"}}
    (tmp_path / "in/circle").symlink_to(tmp_path / "in")
    with pytest.raises(InvalidInputError, match="link to a directory above"):
        packed(tmp_path / "in")
    (tmp_path / "in/circle").unlink()
    (tmp_path / "in/broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="does not exist"):
        packed(tmp_path / "in")


def test_sources_that_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no model at"):
        packed(tmp_path / "none")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/a\\b").write_text("x")
    with pytest.raises(LayoutError, match="outside its directory"):
        packed(tmp_path / "odd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="empty directory"):
        packed(tmp_path / "empty")
    os.mkfifo(tmp_path / "empty/pipe")
    with pytest.raises(InvalidInputError, match="neither a file nor a directory"):
        packed(tmp_path / "empty")


def test_a_file_that_changes_while_it_is_packed(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(os.urandom(1_000_000))

    class Meddler(io.BytesIO):
        def write(self, data: Any, /) -> int:
            os.truncate(tmp_path / "m", 10)
            return super().write(data)

    with pytest.raises(InvalidInputError, match="changed while"):
        pack(tmp_path / "m", Meddler())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(os.urandom(1_000_000))
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError, match="No space left"):
        pack(tmp_path / "m", full)


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    with (tmp_path / "m").open("wb") as file:
        file.truncate(80_000_000)
    tracemalloc.start()
    try:
        with (tmp_path / "out").open("wb") as out:
            pack(tmp_path / "m", out, check_layout=False)
        inspect(tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_litter_is_not_packed(tmp_path: Path) -> None:
    write(tmp_path / "in", {"w.bin": b"x", ".config": b"kept", "code": {"inference.py": b"pass"}})
    before = packed(tmp_path / "in")[0]
    litter: dict[str, Any] = {
        "._w.bin": b"\0\5\x16\7",
        ".DS_Store": b"",
        "Thumbs.db": b"",
        "__pycache__": {"a.pyc": b""},
        ".ipynb_checkpoints": {"a.py": b""},
        ".git": {"HEAD": b""},
        "__MACOSX": {"._w.bin": b""},
    }
    for folder in ("in", "in/code"):
        for name, below in litter.items():
            if isinstance(below, dict):
                write(tmp_path / folder / name, below)
            else:
                (tmp_path / folder / name).write_bytes(below)
    data, archive = packed(tmp_path / "in")
    assert data == before
    assert archive.paths == (".config", "code/inference.py", "w.bin")
    write(tmp_path / "only", {".DS_Store": b""})
    with pytest.raises(InvalidInputError, match="is an empty directory"):
        packed(tmp_path / "only")


def test_a_pointer_of_git_lfs_is_refused(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    write(tmp_path / "in", {"code": {"inference.py": b"pass"}, "weights": {"model.safetensors": pointer}})
    for place in (".", "weights", "weights/model.safetensors"):
        with pytest.raises(LayoutError, match=r"model\.safetensors is a pointer of Git LFS of 70 bytes") as refused:
            pack(tmp_path / "in" / place, io.BytesIO())
        assert "git lfs pull" in str(refused.value)
    pack(tmp_path / "in", io.BytesIO(), check_layout=False)
