"""Two processes that keep one rate together, on a laptop: `python examples/scale/shared_rate.py`.

The endpoint throttles what exceeds 50 calls a second. The processes share a SQLite file; with Redis or Valkey, pass its
URL instead, for example `Shared("redis://cache.internal:6379", rate=50)`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mme_sdk import Endpoint, EndpointSpec
from mme_sdk.local import Fault, LocalSageMaker
from mme_sdk.runtime import Memory, Shared

SCRIPT = """
import json
from pathlib import Path


def model_fn(model_dir):
    return json.loads((Path(model_dir) / "model.json").read_text())["factor"]


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(row, factor):
    return row * factor


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def work(endpoint: Endpoint, rows: range) -> list[float]:
    """Score rows in a worker process. The endpoint arrives with the settings of the shared state."""
    results = endpoint.invoke_many(rows, model_of=lambda _: "tripled/v1.tar.gz")
    return [result.value for result in results]


def main() -> list[float]:
    """Register a model, create an endpoint that throttles, and score 200 rows."""
    with LocalSageMaker() as host, tempfile.TemporaryDirectory() as folder:
        os.environ |= host.environ()  # the workers find their credentials here: those of the client do not travel
        memory = Memory(shared=Shared(f"file:{folder}/shared.db", rate=50))
        with host.client() as plain, plain.with_options(memory=memory) as client:
            host.boto("s3").create_bucket(Bucket="ml-models")
            models = client.models("s3://ml-models/prod/")
            source = Path(folder, "tripled")
            (source / "code").mkdir(parents=True)
            (source / "code" / "inference.py").write_text(SCRIPT)
            (source / "model.json").write_text(json.dumps({"factor": 3}))
            models.register("tripled", source, version="v1")
            spec = EndpointSpec.multi_model(
                name="scoring",
                models=models.uri,
                image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
                role="arn:aws:iam::123456789012:role/sagemaker-execution",
                instance_type="ml.m5.large",
            )
            endpoint = client.endpoints.create(spec, timeout=120)
            fault = host.faults.add(Fault(kind="rate", operation="InvokeEndpoint", rate=50))
            began = time.monotonic()
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
                parts = list(workers.map(work, [endpoint, endpoint], [range(100), range(100, 200)]))
            took = time.monotonic() - began
            throttled = host.faults.list()[fault]["triggered"]
            print(f"200 rows in {took:.1f} s with the start of the processes, {throttled} calls throttled")
            return [answer for part in parts for answer in part]


if __name__ == "__main__":
    assert main() == [3 * row for row in range(200)]
