"""The plugin of mme_sdk, a model for the tests, and an endpoint that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the plugin is imported by its name below, so that pytest sees it first
    from mme_sdk import Endpoint
    from mme_sdk.testing import MakeEndpoint

pytest_plugins = ["mme_sdk.testing"]
SCRIPT = """
import json


def model_fn(model_dir):
    return 0.1


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(data, discount):
    return {"discount": discount if data["amount"] >= 100 else 0.0}


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


@pytest.fixture
def shops(mme_endpoint: MakeEndpoint, tmp_path: Path) -> Endpoint:
    """An endpoint with the model `books`. It is deleted after the test."""
    folder = tmp_path / "books"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(SCRIPT)
    return mme_endpoint(models={"books": folder})
