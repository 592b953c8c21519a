"""Score a table of many models in two processes, on a laptop: `python examples/scale/score_table.py`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.local import LocalSageMaker
from mme_sdk.scale import Scorer, score

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


@contextmanager
def ten_models() -> Iterator[tuple[MMEClient, pd.DataFrame]]:
    """Create an endpoint with ten models; yield the client and 1000 rows for them."""
    with LocalSageMaker() as host, host.client() as client, tempfile.TemporaryDirectory() as folder:
        os.environ |= host.environ()  # the workers find their credentials here: those of the client do not travel
        host.boto("s3").create_bucket(Bucket="ml-models")
        models = client.models("s3://ml-models/prod/")
        for number in range(10):
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
        frame = pd.DataFrame({"id": range(1000), "amount": [row / 10 for row in range(1000)]})
        frame["tenant"] = [f"tenant-{7 * row % 10}@live" for row in range(1000)]
        client.endpoints.create(spec, timeout=120)
        yield client, frame


def main() -> pd.DataFrame:
    """Score 1000 rows of ten models."""
    with ten_models() as (client, frame):
        scorer = Scorer(endpoint=client.endpoint("scoring"), model="tenant", ids=["id"])
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
            return score(frame, scorer, workers=workers)


if __name__ == "__main__":
    print(main())
