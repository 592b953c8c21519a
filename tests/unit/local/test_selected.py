"""Selectable inference answers what the image's documentation lists for each objective."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mme_sdk.local.containers.python.images.selected import answer
from mme_sdk.local.containers.python.payloads import PayloadError

ALL = "predicted_label,labels,probability,probabilities,raw_score,raw_scores,predicted_score"
NONE = math.nan


@pytest.mark.parametrize(
    ("objective", "value", "wanted"),
    [
        ("reg:squarederror", 2.5, [NONE] * 6 + [2.5]),
        ("binary:logistic", 0.75, [1, [0, 1], 0.75, [0.25, 0.75], 0.75, [0.25, 0.75], NONE]),
        ("binary:logistic", 0.5, [0, [0, 1], 0.5, [0.5, 0.5], 0.5, [0.5, 0.5], NONE]),
        ("binary:logitraw", -1.0, [0, [0, 1], NONE, NONE, -1.0, [2.0, -1.0], NONE]),
        ("binary:hinge", 1.0, [1.0, [0, 1], NONE, NONE, 1.0, [0.0, 1.0], NONE]),
        ("multi:softmax", 2.0, [2.0, [0, 1, 2], NONE, NONE, 2.0, [-1.0, 2.0], NONE]),
        ("multi:softprob", [0.2, 0.7, 0.1], [1, [0, 1, 2], 0.7, [0.2, 0.7, 0.1], 0.7, [0.2, 0.7, 0.1], NONE]),
    ],
)
def test_what_each_objective_has(objective: str, value: Any, wanted: list[Any]) -> None:
    said = json.loads(answer([value], ALL, objective, 3, "application/json"))
    (row,) = said["predictions"]
    assert repr([row[key] for key in ALL.split(",")]) == repr(wanted)  # NaN equals NaN in text only


def test_csv_has_the_order_of_the_variable() -> None:
    said = answer([0.75, 0.25], "Probabilities, predicted_label,none", "binary:logistic", 0, "text/csv")
    assert said == '"[0.25, 0.75]",1,nan\n"[0.75, 0.25]",0,nan'


def test_other_objectives_are_refused() -> None:
    with pytest.raises(PayloadError) as refused:
        answer([1.0], "predicted_label", "rank:pairwise", 0, "application/json")
    assert refused.value.status == 500
