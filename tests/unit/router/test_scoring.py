"""A scorer over a router."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest

from mme_sdk import MMEClient
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime import BatchSettings
from mme_sdk.scale import Scorer
from tests.support.router.fakes import new_cells, router

TARGETS = [f"m{number}/v1.tar.gz" for number in range(8)]
FRAME = pd.DataFrame({"id": range(24), "tenant": TARGETS * 3, "x": 1.0})


def test_rows_are_scored_in_the_cells_of_their_models_and_elsewhere_if_one_fails() -> None:
    cells = new_cells()
    made = router(cells)
    scorer = Scorer(endpoint=made, model="tenant", ids=["id"], settings=BatchSettings(ordered=False, max_concurrency=1))
    scored = scorer(FRAME)
    assert scored["prediction"].tolist() == [1.0] * 24
    assert {(made.placement(model)[0], model) for model in TARGETS} == set(cells.sent)
    cells.states[made.placement(TARGETS[0])[0]] = "deleted"
    assert scorer(FRAME)["error"].isna().all()


def test_aliases_are_pinned_from_the_models_of_a_cell() -> None:
    cells = new_cells()
    made = router(cells)

    class Registry:
        def resolve(self, alias: str) -> object:
            return type("Version", (), {"target_model": alias.replace("@live", "/v7.tar.gz")})()

    client = made._client
    asked: list[str] = []
    client.models = lambda uri: (asked.append(uri), Registry())[1]  # type: ignore[method-assign, assignment, misc]
    client._aws.run = lambda flow: "s3://models/p/"  # type: ignore[method-assign, assignment]
    pinned = Scorer(endpoint=made, model="tenant").pin(["m0@live", "m1/v1.tar.gz"])
    assert (pinned.pinned, asked) == ({"m0@live": "m0/v7.tar.gz"}, ["s3://models/p/"])


def test_it_travels() -> None:
    client = MMEClient(region="us-east-1")
    scorer = Scorer(endpoint=client.router("scoring", cells=["a", "b"]), model="tenant")
    again = pickle.loads(pickle.dumps(scorer))
    assert again.endpoint.placement("m0") == scorer.endpoint.placement("m0")  # type: ignore[union-attr]


def test_something_else_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="endpoint"):
        Scorer(endpoint="scoring")  # type: ignore[arg-type]
