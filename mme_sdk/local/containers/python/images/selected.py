"""Selectable inference of the XGBoost image: SAGEMAKER_INFERENCE_OUTPUT names what a single-model endpoint answers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from mme_sdk.local.containers.python.payloads import CSV, JSON, PayloadError

__all__ = ["LINES", "answer"]

LINES = "application/jsonlines"
_REGRESSION = ("predicted_score",)
_SCORES = ("predicted_label", "labels", "raw_score", "raw_scores")
_PROBABILITIES = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores")
_KEYS = {
    "reg:squarederror": _REGRESSION,
    "reg:logistic": _REGRESSION,
    "reg:gamma": _REGRESSION,
    "reg:absoluteerror": _REGRESSION,
    "reg:tweedie": _REGRESSION,
    "binary:logistic": _PROBABILITIES,
    "binary:logitraw": _SCORES,
    "binary:hinge": _SCORES,
    "multi:softmax": _SCORES,
    "multi:softprob": _PROBABILITIES,
}


def answer(values: Sequence[Any], wanted: str, objective: str, classes: int, media: str) -> str:
    """Encode the selected parts of predictions.

    Args:
        values: The prediction of each row: a number, or a list of numbers for `multi:softprob`.
        wanted: Names of the parts, separated by commas. A part that the objective does not have is NaN.
        objective: Objective function of the model.
        classes: Number of classes of the model; 0 for a model without classes.
        media: Media type of the answer: JSON, JSON lines or CSV.

    Returns:
        The body.

    Raises:
        PayloadError: The objective is not supported (500).
    """
    keys = wanted.replace(" ", "").lower().split(",")
    has = _KEYS.get(objective)
    if has is None:
        raise PayloadError(500, f"Objective `{objective}` unsupported for selectable inference predictions.")
    ordered = [key for key in has if key in keys] + [key for key in dict.fromkeys(keys) if key not in has]
    rows = []
    for value in values:
        parts = _parts(value, objective, classes)
        rows.append({key: parts[key] if key in has else math.nan for key in ordered})
    if media == JSON:
        return json.dumps({"predictions": rows})
    if media == LINES:
        return "".join(f"{json.dumps(row)}\n" for row in rows)
    assert media == CSV
    fields = [[f'"{row[key]}"' if isinstance(row[key], list) else str(row[key]) for key in keys] for row in rows]
    return "\n".join(",".join(line) for line in fields)


def _parts(value: Any, objective: str, classes: int) -> dict[str, Any]:
    if objective.startswith("reg:"):
        return {"predicted_score": value}
    if objective == "multi:softprob":
        best = max(value)
        return {
            "predicted_label": value.index(best),
            "labels": list(range(classes)),
            "probability": best,
            "probabilities": value,
            "raw_score": best,
            "raw_scores": value,
        }
    labels = [0, 1] if objective.startswith("binary:") else list(range(classes))
    threshold = {"binary:logistic": 0.5, "binary:logitraw": 0.0}.get(objective)
    label = value if threshold is None else int(value > threshold)
    both = [1.0 - value, value]  # for multi:softmax too
    return {
        "predicted_label": label,
        "labels": labels,
        "probability": value,
        "probabilities": both,
        "raw_score": value,
        "raw_scores": both,
    }
