"""Sources are checked before the upload, directories and archives alike."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.errors import LayoutError
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
