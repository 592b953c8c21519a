"""Fitted models of four libraries are saved in the formats of these libraries, with the same bytes each time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mme_sdk.artifacts import check, is_estimator, save
from mme_sdk.errors import InvalidInputError, StorageError

X, Y = load_iris(return_X_y=True)


def scaled() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)


def test_sklearn_is_saved_with_skops(tmp_path: Path) -> None:
    from skops import io as skops

    (tmp_path / "again").mkdir()
    path = save(scaled(), tmp_path)
    assert path.name == "model.skops"
    assert check([path.name]) == "sklearn"
    assert save(scaled(), tmp_path / "again").read_bytes() == path.read_bytes()
    loaded = skops.load(path)
    assert np.array_equal(loaded.predict_proba(X), scaled().predict_proba(X))
    assert skops.get_untrusted_types(file=path) == []


def odd(x: Any) -> Any:
    return x + 1


@pytest.mark.filterwarnings("ignore")
def test_types_that_skops_does_not_trust_are_saved_with_joblib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import joblib

    model = make_pipeline(FunctionTransformer(odd), LogisticRegression(max_iter=500)).fit(X, Y)
    path = save(model, tmp_path)
    assert path.name == "model.joblib"
    assert np.array_equal(joblib.load(path).predict(X), model.predict(X))
    monkeypatch.setitem(sys.modules, "skops", None)
    assert save(scaled(), tmp_path).name == "model.joblib"


def same(x: Any) -> Any:
    return x


class Own(StandardScaler):
    pass


@pytest.mark.parametrize("part", [same, Own])
def test_what_a_notebook_defines_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Any) -> None:
    monkeypatch.setattr(sys.modules["__main__"], part.__name__, part, raising=False)
    monkeypatch.setattr(part, "__module__", "__main__")
    model = part() if part is Own else FunctionTransformer(part)
    model.fit(X)
    with pytest.raises(InvalidInputError, match=f"contains {part.__name__}, which this program or notebook") as caught:
        save(model, tmp_path)
    assert "code/inference.py" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())


def test_a_lambda_is_refused(tmp_path: Path) -> None:
    model = FunctionTransformer(lambda x: x).fit(X)
    with pytest.raises(InvalidInputError, match=r"cannot save the FunctionTransformer: .*lambda") as caught:
        save(model, tmp_path)
    assert "code/features.py" in (caught.value.hint or "")


def test_xgboost(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(X, Y)
    path = save(model, tmp_path)
    first = path.read_bytes()
    assert check([path.name]) == "xgboost"
    assert save(model.get_booster(), tmp_path).read_bytes() == first
    loaded = xgboost.Booster(model_file=path)
    assert np.allclose(loaded.predict(xgboost.DMatrix(X)), model.predict_proba(X))


def test_lightgbm(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    path = save(model, tmp_path)
    assert check([path.name]) == "lightgbm"
    loaded = lightgbm.Booster(model_file=str(path))
    assert np.allclose(loaded.predict(X), model.booster_.predict(X))
    assert save(model.booster_, tmp_path).read_bytes() == path.read_bytes()


def test_onnx(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = skl2onnx.to_onnx(scaled(), X[:1].astype(np.float32))
    path = save(model, tmp_path)
    assert check([path.name]) == "onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    labels = session.run(None, {session.get_inputs()[0].name: X.astype(np.float32)})[0]
    assert (labels == scaled().predict(X)).mean() > 0.98


def test_other_objects_are_not_models(tmp_path: Path) -> None:
    for thing in ({}, None, "path", 3, LogisticRegression, np.zeros(3)):
        assert not is_estimator(thing)
    with pytest.raises(InvalidInputError, match="cannot save a dict"):
        save({}, tmp_path)
    with pytest.raises(InvalidInputError, match="not fitted"):
        save(LogisticRegression(), tmp_path)
    xgboost = pytest.importorskip("xgboost")
    with pytest.raises(InvalidInputError, match="not fitted"):
        save(xgboost.XGBClassifier(), tmp_path)
    lightgbm = pytest.importorskip("lightgbm")
    with pytest.raises(InvalidInputError, match="not fitted"):
        save(lightgbm.LGBMClassifier(), tmp_path)
    with pytest.raises(StorageError):
        save(scaled(), tmp_path / "none")
