"""Sources are checked before the upload, directories and archives alike."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.errors import InvalidInputError, LayoutError
from mme_sdk.registry.operations import package as package_module
from mme_sdk.registry.operations.package import LayoutCheck, prepare

SKLEARN = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
TENSORFLOW = "123456789012.dkr.ecr.us-east-1.amazonaws.com/tensorflow-inference:2.19.0-cpu"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
LOADS = b"def model_fn(model_dir): return 1\n"
PREDICTS = b"def predict_fn(data, model): return 1\n"


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def archive(root: Path, files: dict[str, bytes]) -> Path:
    path = root / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("make", [folder, archive])
@pytest.mark.parametrize(
    ("files", "more", "says"),
    [
        ({"weights.bin": b"x"}, {}, "no container of AWS loads these files"),
        ({"weights.bin": b"x"}, {"image": "own/server:1"}, None),
        ({"a.joblib": b"x", "b.joblib": b"x"}, {}, "several model files"),
        ({"model.joblib": b"x"}, {}, None),
        ({"model.joblib": b"x"}, {"image": SKLEARN}, "without a script that defines model_fn"),
        (
            {"model.joblib": b"x", "code/inference.py": PREDICTS},
            {"image": SKLEARN},
            "requires that .* defines model_fn",
        ),
        ({"model.joblib": b"x", "code/inference.py": LOADS}, {"image": SKLEARN}, None),
        ({"export/1/saved_model.pb": b"x"}, {"image": TENSORFLOW}, "on a multi-model endpoint"),
        ({"export/1/saved_model.pb": b"x"}, {"image": TENSORFLOW, "multi_model": False}, None),
        ({"model.joblib": POINTER}, {}, "model.joblib is a pointer of Git LFS of 70 bytes"),
        (
            {"w/model.bin": POINTER, "code/inference.py": LOADS},
            {"image": SKLEARN},
            "w/model.bin is a pointer of Git LFS",
        ),
        ({"model.joblib": POINTER}, {"enabled": False}, None),
    ],
)
def test_a_source_is_checked(
    tmp_path: Path, make: Any, files: dict[str, bytes], more: dict[str, Any], says: str | None
) -> None:
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in", files)
    if says is None:
        prepare(source, LayoutCheck(**more)).close()
        return
    with pytest.raises(LayoutError, match=says):
        prepare(source, LayoutCheck(**more))


def test_the_last_file_of_a_name_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    for first, last, refused in ((POINTER, b"x", False), (b"x", POINTER, True)):
        with tarfile.open(path, "w:gz") as tar:
            for data in (first, last):
                info = tarfile.TarInfo("model.joblib")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        if refused:
            with pytest.raises(LayoutError, match="pointer of Git LFS"):
                prepare(path, LayoutCheck())
        else:
            prepare(path, LayoutCheck()).close()


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_what_is_sent_of_an_archive_is_what_was_checked(tmp_path: Path, size: int) -> None:
    """A small one is read once, and sent from memory. A change of a large one is noticed: it is read again."""
    path = archive(tmp_path, {"model.joblib": os.urandom(size)})
    data = path.read_bytes()
    package = prepare(path, LayoutCheck())
    try:
        body = package.whole()
        assert (len(body), package.archive.size, package.archive.sha256) == (
            len(data),
            len(data),
            hashlib.sha256(data).hexdigest(),
        )
        assert b"".join(iter(lambda: body.read(1 << 20), b"")) == data
        path.write_bytes(bytes(len(data) + 1))
        os.utime(path, ns=(1, 1))
        if size < 1 << 18:
            body.seek(0)
            assert body.read() == data
            assert package.handle == -1
        else:
            with pytest.raises(InvalidInputError, match="changed during the upload"):
                package.check_unchanged()
    finally:
        package.close()


@pytest.mark.parametrize("size", [1000, 3_000_000])
@pytest.mark.parametrize("change", ["longer", "other bytes"])
def test_an_archive_that_is_written_while_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str
) -> None:
    path = archive(tmp_path, {"model.joblib": os.urandom(size)})
    read = package_module.inspect_with_texts

    def then_changed(source: Any) -> Any:
        found = read(source)
        path.write_bytes(path.read_bytes() + b"\0" if change == "longer" else bytes(path.stat().st_size))
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(package_module, "inspect_with_texts", then_changed)
    with pytest.raises(InvalidInputError, match=r"model\.tar\.gz changed while it was read"):
        prepare(path, LayoutCheck())


def test_a_small_archive_is_not_copied(tmp_path: Path) -> None:
    package = prepare(archive(tmp_path, {"model.joblib": os.urandom(200_000)}), LayoutCheck())
    body = package.whole()
    assert len(body) == package.archive.size
    assert body.read(1 << 20) is package.data


def test_the_error_of_a_small_archive_names_its_path(tmp_path: Path) -> None:
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(LayoutError, match=r"bad\.tar\.gz is not a valid tar\.gz archive"):
        prepare(path, LayoutCheck())
