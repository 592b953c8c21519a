"""What the examples of this folder score: a table, and five models on an embedded SageMaker."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mme_sdk import Endpoint, EndpointSpec
from mme_sdk.local import LocalSageMaker

SCRIPT = """
import json
from pathlib import Path


def model_fn(model_dir):
    return json.loads((Path(model_dir) / "model.json").read_text())["factor"]


def input_fn(body, content_type):
    return [float(line) for line in body.split()]


def predict_fn(rows, factor):
    return [row * factor for row in rows]


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def table(rows: int = 1000) -> pd.DataFrame:
    """Return rows of five models in no order. `id` identifies a row; the models get `amount`."""
    frame = pd.DataFrame({"id": range(rows), "amount": [row / 10 for row in range(rows)]})
    frame["tenant"] = [f"tenant-{7 * row % 5}@live" for row in range(rows)]
    return frame


@contextlib.contextmanager
def scoring() -> Iterator[Endpoint]:
    """Register five models and create an endpoint. On AWS, `MMEClient().endpoint("scoring")` is all that is needed."""
    with LocalSageMaker() as host, host.client() as client, tempfile.TemporaryDirectory() as folder:
        os.environ |= host.environ()  # the workers find their credentials here: those of the client do not travel
        host.boto("s3").create_bucket(Bucket="ml-models")
        models = client.models("s3://ml-models/prod/")
        for number in range(5):
            source = Path(folder, f"tenant-{number}")
            (source / "code").mkdir(parents=True)
            (source / "code" / "inference.py").write_text(SCRIPT)
            (source / "model.json").write_text(json.dumps({"factor": number}))
            models.register(f"tenant-{number}", source, version="v1")
            models.alias(f"tenant-{number}", "live", "v1")
        spec = EndpointSpec.multi_model(
            name="scoring",
            models=models.uri,
            image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
            role="arn:aws:iam::123456789012:role/sagemaker-execution",
            instance_type="ml.m5.large",
        )
        yield client.endpoints.create(spec, timeout=120)
