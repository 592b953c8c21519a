"""Flows of endpoints: a pipeline with a multi-model container, A/B variants, a queue, direct containers, a stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from tests.soak.examples_aws.test_boosting import XGBOOST, booster, predicted
from tests.soak.examples_aws.test_sklearn import HOMES, SCRIPT, saved
from tests.soak.examples_aws.test_sklearn import IMAGE as SKLEARN
from tests.soak.examples_aws.ways import CSV, JSON, Served, Way, csv_of, need

pytestmark = pytest.mark.slow
OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com/writer:1"
PREPARE = """
import io, os
import joblib
import numpy as np

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))

def input_fn(request_body, content_type):
    return np.loadtxt(io.StringIO(request_body), delimiter=",", ndmin=2)

def predict_fn(rows, scaler):
    return scaler.transform(rows)

def output_fn(rows, accept):
    return "\\n".join(",".join(map(repr, row)) for row in rows.tolist()), "text/csv"
"""
WRITE = """
import json, os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "successors.json")) as file:
        return json.load(file)

def input_fn(request_body, content_type):
    return json.loads(request_body)

def predict_fn(prompt, successors):
    word = prompt["inputs"].split()[-1]
    for _ in range(prompt["parameters"]["max_new_tokens"]):
        word = successors[word]
        yield json.dumps({"outputs": [" " + word]}) + "\\n"

def output_fn(prediction, accept):
    return prediction, "application/jsonlines"
"""
ROWS = np.random.default_rng(8).uniform(0, 10, (4, 3)).round(3)


def regression(seed: int) -> LinearRegression:
    random = np.random.default_rng(seed)
    rows = random.uniform(0, 10, (30, 3))
    return LinearRegression().fit(rows, rows @ random.uniform(1, 5, 3) + seed)


def test_a_pipeline_of_sklearn_and_a_multi_model_xgboost(way: Way, tmp_path: Path) -> None:
    need("pipeline of scikit-learn and XGBoost", "xgboost")
    scaler = StandardScaler().fit(np.random.default_rng(0).uniform(0, 10, (50, 3)))
    models, folders = {f"region-{seed}": booster(seed) for seed in (1, 2)}, {}
    for name, model in models.items():
        folders[name] = tmp_path / name
        folders[name].mkdir()
        model.save_model(folders[name] / "model.ubj")
        (folders[name] / "model.ubj").rename(folders[name] / "xgboost-model")
    way.deploy(
        "pipeline", Served(SKLEARN, saved(tmp_path / "scaler", scaler, PREPARE), SCRIPT), Served(XGBOOST, folders)
    )
    for name, model in models.items():
        answer = way.ask("pipeline", csv_of(ROWS), CSV, JSON, model=name)
        assert answer.value == predicted(model, scaler.transform(ROWS))


def test_a_b_variants(way: Way, tmp_path: Path) -> None:
    models = {name: regression(seed) for seed, name in enumerate("AB")}
    served = {name: Served(SKLEARN, saved(tmp_path / name, model, HOMES), SCRIPT) for name, model in models.items()}
    way.deploy_variants("ab", {name: (one, 1.0) for name, one in served.items()})
    own = {name: model.predict(ROWS).tolist() for name, model in models.items()}
    assert own["A"] != own["B"]
    for name in "AB":
        answer = way.ask("ab", csv_of(ROWS), CSV, JSON, variant=name)
        assert (answer.variant, answer.value) == (name, own[name])
    drawn = [way.ask("ab", csv_of(ROWS), CSV, JSON) for _ in range(60)]
    assert {one.variant for one in drawn} == {"A", "B"}  # one of 2**59 runs draws one variant only
    assert all(one.value == own[one.variant] for one in drawn)
    way.weights("ab", {"A": 0, "B": 1})
    shifted = [way.ask("ab", csv_of(ROWS), CSV, JSON) for _ in range(20)]
    assert [(one.variant, one.value) for one in shifted] == [("B", own["B"])] * 20


def test_an_asynchronous_endpoint_starts_from_zero(way: Way, tmp_path: Path) -> None:
    model = regression(3)
    way.deploy("queue", Served(SKLEARN, saved(tmp_path / "m", model, HOMES), SCRIPT), queue=True)
    assert way.ask_later("queue", csv_of(ROWS), CSV) == model.predict(ROWS).tolist()
    way.scale_from_zero("queue")
    assert way.instances("queue") == 0
    assert way.ask_later("queue", csv_of(ROWS[:2]), CSV) == model.predict(ROWS[:2]).tolist()


def test_direct_containers(way: Way, tmp_path: Path) -> None:
    need("Direct containers", "xgboost")
    linear, trees = regression(4), booster(5)
    (tmp_path / "trees").mkdir()
    trees.save_model(tmp_path / "trees" / "model.ubj")
    (tmp_path / "trees" / "model.ubj").rename(tmp_path / "trees" / "xgboost-model")
    way.deploy(
        "direct",
        Served(SKLEARN, saved(tmp_path / "linear", linear, HOMES), SCRIPT, "linear"),
        Served(XGBOOST, tmp_path / "trees", {}, "trees"),
        direct=True,
    )
    answer = way.ask("direct", csv_of(ROWS), CSV, JSON, container="linear")
    assert answer.value == linear.predict(ROWS).tolist()
    answer = way.ask("direct", csv_of(ROWS), CSV, JSON, container="trees")
    assert [one["score"] for one in answer.value["predictions"]] == predicted(trees, ROWS)


def test_a_response_stream(way: Way, tmp_path: Path) -> None:
    successors = {"the": "model", "model": "answers", "answers": "grüßend", "grüßend": "the"}
    (tmp_path / "m" / "code").mkdir(parents=True)
    (tmp_path / "m" / "successors.json").write_text(json.dumps(successors))
    (tmp_path / "m" / "code" / "inference.py").write_text(WRITE)
    way.deploy("writer", Served(OWN, tmp_path / "m"))
    word, own = "the", []
    for _ in range(9):
        word = successors[word]
        own.append({"outputs": [f" {word}"]})
    prompt = json.dumps({"inputs": "now the", "parameters": {"max_new_tokens": 9}})
    assert way.stream("writer", prompt, JSON) == own
