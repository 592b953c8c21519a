"""Small models for the examples; each multiplies its input by a factor."""

from __future__ import annotations

import json
from pathlib import Path

INFERENCE = """
import json
from pathlib import Path


def model_fn(model_dir):
    return json.loads((Path(model_dir) / "model.json").read_text())["factor"]


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(value, factor):
    return value * factor


def output_fn(value, accept):
    return json.dumps(value), "application/json"
"""


def write(folder: Path, factor: float) -> Path:
    """Write a model directory for SageMaker's inference toolkit."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(INFERENCE)
    (folder / "model.json").write_text(json.dumps({"factor": factor}))
    return folder
