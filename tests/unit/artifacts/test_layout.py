"""A directory tree that no container loads is an error that shows the tree found and the tree expected."""

from __future__ import annotations

import pytest

from mme_sdk.artifacts import check, detect
from mme_sdk.errors import InvalidInputError, LayoutError


@pytest.mark.parametrize(
    ("paths", "framework"),
    [
        (["resnet/config.pbtxt", "resnet/1/model.onnx"], "triton"),
        (["config.pbtxt", "1/model.py"], "triton"),
        (["pre/config.pbtxt", "pre/1/", "net/config.pbtxt", "net/2/model.plan"], "triton"),
        (["1/saved_model.pb", "1/variables/variables.index"], "tensorflow"),
        (["export/Servo/1/saved_model.pb"], "tensorflow"),
        (["model.joblib", "scaler.joblib"], "sklearn"),
        (["clf.joblib", "._clf.joblib", ".hidden.pkl"], "sklearn"),
        (["a.joblib", "b.joblib", "code/inference.py"], "sklearn"),
        (["a.joblib", "nested/b.joblib"], "sklearn"),
        (["xgboost-model"], "xgboost"),
        (["model.ubj", "README.md"], "xgboost"),
        (["model.joblib"], "sklearn"),
        (["model.skops", "code/inference.py"], "sklearn"),
        (["weights/model.skops", "code/inference.py"], "sklearn"),
        (["model.lgb"], "lightgbm"),
        (["model.onnx"], "onnx"),
        (["model.pth", "code/inference.py", "code/requirements.txt"], "pytorch"),
        (["unet/model.safetensors", "vae/model.safetensors", "model_index.json"], "pytorch"),
        (["anything.bin", "code/inference.py"], "python"),
        (["inference.py"], "python"),
        (["weights.bin"], None),
    ],
)
def test_good_trees(paths: list[str], framework: str | None) -> None:
    assert detect(paths) == framework
    assert check(paths) == framework
    assert check(paths, framework) == framework


@pytest.mark.parametrize(
    ("paths", "framework", "says"),
    [
        (["README.md", "LICENSE", ".gitignore"], None, r"contains no model; found\n    \.gitignore\n    LICENSE"),
        ([], None, "nothing"),
        (["empty/"], None, "no model"),
        (["resnet/config.pbtxt", "resnet/model.onnx"], None, r"resnet/ has no version directory such as resnet/1/"),
        (["a/resnet/config.pbtxt", "a/resnet/1/m.onnx"], None, r"a/resnet/config\.pbtxt is in too deep a directory"),
        (["resnet/1/model.onnx"], "triton", r"config\.pbtxt is missing"),
        (["model/saved_model.pb"], None, "not inside a directory named by a version"),
        (["a.joblib", "b.joblib"], None, r"several model files \(a.joblib, b.joblib\) and no script"),
        (["a.joblib", "b.pkl", "README.md"], None, r"several model files \(a.joblib, b.pkl\)"),
        (["a.onnx", "b.ubj"], None, "name one of them model"),
        (["fraud/model.joblib"], None, "all files are inside fraud/"),
        (["fraud/model.pth", "fraud/code/inference.py"], None, "does not find code/inference.py"),
        (["fraud/x.bin", "fraud/code/inference.py"], None, "does not find code/inference.py"),
        (
            ["weights.bin"],
            "xgboost",
            r"an XGBoost model is missing; found\n    weights.bin\n  expected\n    xgboost-model",
        ),
    ],
)
def test_bad_trees(paths: list[str], framework: str | None, says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        check(paths, framework)


def test_long_trees_are_shortened_and_unknown_frameworks_rejected() -> None:
    with pytest.raises(LayoutError, match="… and 80 more"):
        check([f"{number:03}.md" for number in range(100)])
    with pytest.raises(InvalidInputError, match="'caffe' is not a known framework"):
        check(["model.bin"], "caffe")
