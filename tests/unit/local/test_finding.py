"""Which model of an archive the Python container finds, and how it loads pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from mme_sdk.local.containers.python.formats import UnsupportedModelError, find

BERT = '{"architectures": ["BertForMaskedLM"]}'


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        ({"model.cbm": ""}, "catboost", "model.cbm"),
        ({"net.pth": "", "code/lib.py": ""}, "torchscript", "net.pth"),
        ({"config.json": BERT, "pytorch_model.bin": "", "optimizer.pt": "", "scheduler.pt": ""}, "pipeline", ""),
        ({"model_index.json": '{"_class_name": "P"}', "unet/config.json": BERT}, "pipeline", ""),
        ({"config.json": '{"rows": 1}', "model.pt": ""}, "torchscript", "model.pt"),
        ({"config.json": "not JSON", "model.pt": ""}, "torchscript", "model.pt"),
        ({"export/Servo/12/saved_model.pb": ""}, "savedmodel", ""),
        ({"export/last/saved_model.pb": ""}, None, ""),
        ({"weights.bin": ""}, None, ""),
    ],
)
def test_what_is_found(tmp_path: Path, files: dict[str, str], name: str | None, found: str) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    one = find(tmp_path)
    assert (None if one is None else (one[0].name, one[1])) == (None if name is None else (name, tmp_path / found))


@pytest.mark.parametrize("how", ["pickle", "joblib", "joblib, compressed"])
def test_a_file_called_pkl(tmp_path: Path, how: str) -> None:
    model = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    path = tmp_path / "model.pkl"
    if how == "pickle":
        path.write_bytes(pickle.dumps(model))
    else:
        joblib.dump(model, path, compress=3 if "compressed" in how else 0)
    found = find(tmp_path)
    assert found is not None
    assert found[0].load(found[1]).predict([[2.0]]).tolist() == pytest.approx([5.0])


def test_several_models(tmp_path: Path) -> None:
    for name in ("a.pt", "b.cbm"):
        (tmp_path / name).write_text("")
    with pytest.raises(UnsupportedModelError, match=r"several model files \(a.pt, b.cbm\)"):
        find(tmp_path)
