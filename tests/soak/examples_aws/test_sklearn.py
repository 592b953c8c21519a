"""scikit-learn: home values by city on a multi-model endpoint, and a pipeline on an endpoint of its own."""

from __future__ import annotations

import io
import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.soak.examples_aws.ways import CSV, JSON, NPY, Served, Way, csv_of

pytestmark = pytest.mark.slow
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
SCRIPT = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
HOMES = """
import os
import joblib

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""
FLOWERS = """
import io, json, os
import joblib
import numpy as np

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))

def input_fn(request_body, request_content_type):
    if request_content_type != "text/csv":
        raise ValueError("this model reads text/csv only")
    return np.loadtxt(io.StringIO(request_body), delimiter=",", ndmin=2)

def predict_fn(rows, model):
    return {"labels": model.predict(rows), "odds": model.predict_proba(rows)}

def output_fn(prediction, accept):
    return json.dumps({name: value.tolist() for name, value in prediction.items()})
"""


def saved(folder: Path, model: object, script: str) -> Path:
    (folder / "code").mkdir(parents=True)
    joblib.dump(model, folder / "model.joblib")
    (folder / "code" / "inference.py").write_text(script)
    return folder


def test_sklearn_home_values_of_several_cities(way: Way, tmp_path: Path) -> None:
    cities = {}
    for seed, city in enumerate(("Houston_TX", "LosAngeles_CA", "NewYork_NY")):
        random = np.random.default_rng(seed)
        homes = random.uniform(0, 10, (60, 4))
        cities[city] = RandomForestRegressor(5, random_state=seed).fit(homes, homes @ random.uniform(1, 9, 4))
    rows = np.random.default_rng(9).uniform(0, 10, (3, 4))
    way.deploy("homes", Served(IMAGE, {one: saved(tmp_path / one, cities[one], HOMES) for one in cities}, SCRIPT))
    packed = io.BytesIO()
    np.save(packed, rows)
    bodies = ((csv_of(rows), CSV), (json.dumps(rows.tolist()), JSON), (packed.getvalue(), NPY))
    for city, model in cities.items():
        for body, content_type in bodies:
            for accept in (JSON, CSV, NPY):
                answer = way.ask("homes", body, content_type, accept, model=city)
                assert answer.content_type == accept
                assert np.ravel(answer.value).tolist() == model.predict(rows).tolist()


def test_sklearn_in_script_mode(way: Way, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    flowers, kinds = random.normal(size=(80, 3)), random.integers(0, 3, 80)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(flowers, kinds)
    way.deploy("flowers", Served(IMAGE, saved(tmp_path / "flowers", model, FLOWERS), SCRIPT))
    answer = way.ask("flowers", csv_of(flowers[:5]), CSV, JSON)
    assert answer.value["labels"] == model.predict(flowers[:5]).tolist()
    np.testing.assert_allclose(answer.value["odds"], model.predict_proba(flowers[:5]), rtol=1e-12)
