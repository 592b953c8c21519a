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
        (["model.cbm"], "catboost"),
        (["model.safetensors", "config.json"], "pytorch"),
        (["pytorch_model.bin", "config.json", "optimizer.pt", "scheduler.pt"], "huggingface"),
        (["model.pkl"], None),
        (["model.json"], None),
        (["fraud"], None),
        (["weights.bin", "code/serve.py"], None),
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
        (["weights.bin"], None, "no container of AWS loads these files without a script; found\n    weights.bin"),
        (
            ["weights.bin", "config.json", "vocab.txt", "LICENSE", "Makefile"],
            None,
            "no container of AWS loads these files",
        ),
        (["fraud/model.pkl"], None, "no container of AWS loads these files"),
        (["a.pt", "b.pth"], None, r"several model files \(a.pt, b.pth\) and no script"),
        (["model.safetensors"], None, "needs config.json"),
        (["pytorch_model.bin"], None, "config.json is missing"),
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


def image(name: str) -> str:
    return f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{name}:1"


SKLEARN, XGBOOST, PYTORCH = image("sagemaker-scikit-learn"), image("sagemaker-xgboost"), image("pytorch-inference")
TENSORFLOW, TRITON = image("tensorflow-inference"), image("sagemaker-tritonserver")
HUGGINGFACE = image("huggingface-pytorch-inference")
LOADS = {"code/inference.py": "def model_fn(model_dir): pass"}
PLAIN = {"code/inference.py": "def predict_fn(data, model): pass"}
PAIR = {"code/inference.py": "def input_handler(d, c): pass\ndef output_handler(d, c): pass"}


@pytest.mark.parametrize(
    ("target", "files", "script", "problem", "problem_single"),
    [
        (SKLEARN, ["model.joblib"], {}, "loads no model without a script that defines model_fn", "loads no model"),
        (SKLEARN, ["model.joblib"], LOADS, None, None),
        (SKLEARN, ["anything"], LOADS, None, None),
        (SKLEARN, ["model.joblib"], PLAIN, "requires that code/inference.py defines model_fn", "defines model_fn"),
        (SKLEARN, ["model.joblib"], {"inference.py": "from mine import *"}, None, None),
        (SKLEARN, ["model.joblib"], {"inference.py": "from mine import load as model_fn"}, None, None),
        (
            SKLEARN,
            ["m"],
            {"inference.py": "class A:\n    def model_fn(d): pass"},
            "defines model_fn",
            "defines model_fn",
        ),
        (SKLEARN, ["m"], {"inference.py": "if 1:\n    model_fn = print"}, None, None),
        (SKLEARN, ["m"], {"code/inference.py": "def model_fn(d:"}, "is not valid Python: .* in line 1", "valid Python"),
        (SKLEARN, ["m", "code/serve.py"], {}, None, None),
        (XGBOOST, ["weights.bin"], {}, None, None),
        (XGBOOST, ["xgboost-model-0", "xgboost-model-1"], {}, None, None),
        (XGBOOST, ["xgboost-model", "README.md"], {}, "loads every file .* README.md too", "README.md too"),
        (XGBOOST, ["model.skops"], {}, "a model of XGBoost, model.skops too", "model.skops too"),
        (XGBOOST, ["model.lgb"], {}, "model.lgb too", "model.lgb too"),
        (XGBOOST, ["model.skops"], LOADS, None, None),
        (XGBOOST, ["model/xgboost-model"], {}, "finds no model to load", "finds no model to load"),
        (XGBOOST, ["weights.bin"], PLAIN, "defines model_fn", "defines model_fn"),
        (PYTORCH, ["model.pth"], {}, None, None),
        (PYTORCH, ["a.pt", "b.pt"], {}, "there are several: a.pt, b.pt", "there are several"),
        (PYTORCH, ["a.pt", "model.pt"], {}, None, None),
        (PYTORCH, ["weights.bin"], PLAIN, "finds no model to load", "finds no model to load"),
        (PYTORCH, ["weights.bin"], LOADS, None, None),
        (TENSORFLOW, ["1/saved_model.pb"], {}, None, None),
        (TENSORFLOW, ["net/1/saved_model.pb"], {}, "no model to load on a multi-model endpoint", None),
        (TENSORFLOW, ["saved_model.pb"], {}, "finds no model to load", "no model to load on a single-model endpoint"),
        (TENSORFLOW, ["1/saved_model.pb"], PAIR, "does not run code/inference.py on a multi-model endpoint", None),
        (
            TENSORFLOW,
            ["1/saved_model.pb"],
            {"code/inference.py": "def input_handler(d, c): pass"},
            "does not run",
            "defines handler or input_handler and output_handler",
        ),
        (TENSORFLOW, ["weights.bin"], PAIR, "does not run", "finds no model to load"),
        (HUGGINGFACE, ["config.json", "model.safetensors"], {}, None, None),
        (HUGGINGFACE, ["model.safetensors"], {}, "finds no model to load", "finds no model to load"),
        (HUGGINGFACE, ["weights.bin"], LOADS, None, None),
        (TRITON, ["net/config.pbtxt", "net/1/model.onnx"], {}, None, None),
        (TRITON, ["config.pbtxt", "1/model.onnx"], {}, None, "no model to load on a single-model endpoint"),
        (SKLEARN.replace(":1", "@sha256:0a1b"), ["model.joblib"], {}, "loads no model", "loads no model"),
        ("sagemaker-scikit-learn", ["model.joblib"], {}, "loads no model", "loads no model"),
        ("pytorch-inference:2.6.0", ["weights.bin"], {}, "finds no model", "finds no model"),
        ("mine/pytorch-inference-mine/server:1", ["weights.bin"], {}, None, None),
        ("own/server:1", ["weights.bin"], {}, None, None),
    ],
)
def test_what_an_image_loads(
    target: str, files: list[str], script: dict[str, str], problem: str | None, problem_single: str | None
) -> None:
    def read(path: str) -> bytes | None:
        return script[path].encode() if path in script else None

    for multi_model, says in ((True, problem), (False, problem_single)):
        if says is None:
            check([*files, *script], image=target, multi_model=multi_model, read=read)
            continue
        with pytest.raises(LayoutError, match=says) as refused:
            check([*files, *script], image=target, multi_model=multi_model, read=read)
        assert "expected\n    " in str(refused.value)


def test_an_image_does_not_replace_the_other_checks() -> None:
    with pytest.raises(LayoutError, match="contains no model"):
        check(["README.md"], image="own/server:1")
    with pytest.raises(LayoutError, match="an XGBoost model is missing"):
        check(["weights.bin"], "xgboost", image="own/server:1")


def test_long_trees_are_shortened_and_unknown_frameworks_rejected() -> None:
    with pytest.raises(LayoutError, match="… and 80 more"):
        check([f"{number:03}.md" for number in range(100)])
    with pytest.raises(InvalidInputError, match="'caffe' is not a known framework"):
        check(["model.bin"], "caffe")
