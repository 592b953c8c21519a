"""XGBoost as AWS's algorithm and in script mode, and LightGBM with a `transform_fn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.soak.examples_aws.ways import CSV, JSON, Served, Way, csv_of, need

pytestmark = pytest.mark.slow
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
LIGHTGBM = "123456789012.dkr.ecr.us-east-1.amazonaws.com/lightgbm-inference:1"
LIBSVM = "text/libsvm"
WITH_MATRIX = """
import os
import xgboost
from sagemaker_xgboost_container import encoder

def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.json"))
    return booster

def input_fn(request_body, content_type):
    if content_type == "text/libsvm":
        return encoder.libsvm_to_dmatrix(request_body)
    return encoder.csv_to_dmatrix(request_body)

def predict_fn(matrix, booster):
    assert isinstance(matrix, xgboost.DMatrix)
    contributions = booster.predict(matrix, pred_contribs=True, validate_features=False)
    return contributions

def output_fn(prediction, accept):
    if accept != "text/csv":
        raise ValueError("this model answers text/csv only")
    return "\\n".join(",".join(map(str, row)) for row in prediction.tolist())
"""
TRANSFORM = """
import io, json, os
import lightgbm
import numpy as np

def model_fn(model_dir):
    return lightgbm.Booster(model_file=os.path.join(model_dir, "model.txt"))

def transform_fn(model, request_body, content_type, accept):
    if content_type == "text/csv":
        rows = np.loadtxt(io.StringIO(request_body), delimiter=",", ndmin=2)
    else:
        rows = np.array(json.loads(request_body)["instances"])
    odds = model.predict(rows)
    return json.dumps({"probabilities": odds.tolist(), "labels": (odds > 0.5).astype(int).tolist()}), accept
"""
ROWS = np.random.default_rng(5).normal(size=(4, 3)).round(4)


def booster(seed: int) -> Any:
    import xgboost

    drawn = np.random.default_rng(seed)
    rows = drawn.normal(size=(100, 3))
    matrix = xgboost.DMatrix(rows, rows @ drawn.normal(size=3))
    return xgboost.train({"objective": "reg:squarederror", "max_depth": 3, "nthread": 1, "seed": seed}, matrix, 8)


def predicted(model: Any, rows: Any) -> Any:
    import xgboost

    return model.predict(xgboost.DMatrix(rows)).tolist()


def libsvm_of(rows: Any) -> str:
    """Return the rows with their fields numbered from 0, without the fields that are zero."""
    lines = [[f"{at}:{value!r}" for at, value in enumerate(row) if value] for row in np.asarray(rows).tolist()]
    return "\n".join(" ".join(["0", *fields]) for fields in lines)


def test_xgboost_algorithm_with_csv(way: Way, tmp_path: Path) -> None:
    need("XGBoost with CSV", "xgboost")
    models = {f"home-{seed}": booster(seed) for seed in range(2)}
    for name, model in models.items():
        (tmp_path / name).mkdir()
        model.save_model(tmp_path / name / "model.ubj")
        (tmp_path / name / "model.ubj").rename(tmp_path / name / "xgboost-model")
    folders = {name: tmp_path / name for name in models}
    way.deploy("homes", Served(XGBOOST, folders))
    way.deploy("home", Served(XGBOOST, folders["home-1"]))
    for name, model in models.items():
        for accept in (CSV, JSON):
            answer = way.ask("homes", csv_of(ROWS), CSV, accept, model=name)
            assert answer.content_type == accept
            assert np.ravel(answer.value) == pytest.approx(predicted(model, ROWS), rel=1e-6)
    single = way.ask("home", csv_of(ROWS), CSV, JSON)
    assert [one["score"] for one in single.value["predictions"]] == predicted(models["home-1"], ROWS)


def test_xgboost_algorithm_with_libsvm(way: Way, tmp_path: Path) -> None:
    need("XGBoost with libsvm", "xgboost")
    model, rows = booster(3), ROWS.copy()
    rows[0, 2] = rows[1, 0] = 0.0
    (tmp_path / "m").mkdir()
    model.save_model(tmp_path / "m" / "model.json")
    (tmp_path / "m" / "model.json").rename(tmp_path / "m" / "xgboost-model")
    way.deploy("abalone", Served(XGBOOST, tmp_path / "m"))
    answer = way.ask("abalone", libsvm_of(rows), LIBSVM, JSON)
    missing = np.where(rows == 0.0, np.nan, rows)  # a field that a line leaves out is missing
    assert [one["score"] for one in answer.value["predictions"]] == predicted(model, missing)
    assert predicted(model, missing) != predicted(model, ROWS)


def test_xgboost_in_script_mode_with_a_dmatrix(way: Way, tmp_path: Path) -> None:
    need("XGBoost in script mode", "xgboost")
    import xgboost

    model, folder = booster(4), tmp_path / "m"
    (folder / "code").mkdir(parents=True)
    model.save_model(folder / "model.json")
    (folder / "code" / "inference.py").write_text(WITH_MATRIX)
    way.deploy("explained", Served(XGBOOST, folder, {"SAGEMAKER_PROGRAM": "inference.py"}))
    own = model.predict(xgboost.DMatrix(ROWS), pred_contribs=True)
    for body, content_type in ((csv_of(ROWS), CSV), (libsvm_of(ROWS), LIBSVM)):
        answer = way.ask("explained", body, content_type, CSV)
        assert answer.content_type == CSV
        np.testing.assert_allclose(answer.value, own, rtol=1e-6)


def test_lightgbm_with_transform_fn(way: Way, tmp_path: Path) -> None:
    need("LightGBM with transform_fn", "lightgbm")
    import lightgbm

    rows = np.random.default_rng(6).normal(size=(120, 3))
    settings = {"objective": "binary", "num_leaves": 5, "verbose": -1, "num_threads": 1}
    model = lightgbm.train(settings, lightgbm.Dataset(rows, (rows.sum(axis=1) > 0).astype(int)), 10)
    (tmp_path / "m" / "code").mkdir(parents=True)
    model.save_model(tmp_path / "m" / "model.txt")
    (tmp_path / "m" / "code" / "inference.py").write_text(TRANSFORM)
    way.deploy("lightgbm", Served(LIGHTGBM, {"credit": tmp_path / "m"}))
    own = np.asarray(model.predict(ROWS)).tolist()
    expected = {"probabilities": own, "labels": [int(one > 0.5) for one in own]}
    assert way.ask("lightgbm", csv_of(ROWS), CSV, JSON, model="credit").value == expected
    body = f'{{"instances": {ROWS.tolist()}}}'
    assert way.ask("lightgbm", body, JSON, JSON, model="credit").value == expected
