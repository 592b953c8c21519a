"""Run a program beside an embedded SageMaker: `python examples/with_host.py python examples/web/call_handler.py`.

The host has a multi-model endpoint `scoring`. Its models `shop`, `fraud` and `spam` say whether an amount is
suspicious, `writer` completes a text. Each has the alias `live`. The single-model endpoint `chat` serves `writer`, and
`batch` serves `fraud` asynchronously. The program gets the environment variables of the host, and the host ends with
the program. On AWS, run the program by itself.

`python examples/with_host.py python` opens an interpreter in which the code of the documentation's pages runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mme_sdk import EndpointSpec
from mme_sdk.endpoints import AsyncInference
from mme_sdk.local import ControlSettings, HostingSettings, LocalSageMaker

SHOP = """
import json


def model_fn(model_dir):
    return 50


def input_fn(body, content_type):
    if content_type == "text/csv":
        return [{"amount": float(line.split(",")[0])} for line in body.splitlines()]
    return json.loads(body)


def amount_of(row):
    if isinstance(row, dict):
        return row["amount"]
    return row[0] if isinstance(row, list) else row


def predict_fn(data, limit):
    if isinstance(data, list):
        return [amount_of(row) > limit for row in data]
    return {"amount": data["amount"], "fraud": data["amount"] > limit}


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""
WRITER = """
import json


def model_fn(model_dir):
    return None


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(data, model):
    return [{"generated_text": "You wrote: " + data["inputs"]}]


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""
MODELS = {"shop/v1": SHOP, "fraud/v3": SHOP, "spam/v1": SHOP, "writer/v1": WRITER}
REGION = "eu-west-1"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/scoring:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"


@contextmanager
def started(
    control: ControlSettings | None = None, settings: HostingSettings | None = None
) -> Iterator[LocalSageMaker]:
    """Start the host with its models and endpoints."""
    control = control or ControlSettings(provisioning=0.05, deletion=0.02)
    with (
        LocalSageMaker(region=REGION, control=control, settings=settings) as host,
        host.client() as client,
        tempfile.TemporaryDirectory(prefix="mme-example-") as folder,
    ):
        s3 = host.boto("s3")
        for bucket in ("ml-models", "ml-logs"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.close()
        models = client.models("s3://ml-models/prod/")
        for model, script in MODELS.items():
            name, version = model.split("/")
            code = Path(folder, name, "code")
            code.mkdir(parents=True)
            code.joinpath("inference.py").write_text(script)
            models.register(name, code.parent, version=version)
            models.alias(name, "live", version)
        common: dict[str, Any] = {"image": IMAGE, "role": ROLE, "instance_type": "ml.m5.large"}
        client.endpoints.create(EndpointSpec.multi_model(name="scoring", models=models, **common))
        writer, fraud = models.get("writer", "v1"), models.get("fraud", "v3")
        client.endpoints.create(EndpointSpec.single_model(name="chat", artifact=writer, **common))
        answers = AsyncInference(output="s3://ml-models/answers/")
        client.endpoints.create(
            EndpointSpec.single_model(name="batch", artifact=fraud, async_inference=answers, **common)
        )
        yield host


def main(program: list[str]) -> int:
    """Run a program with the variables of the host; return its exit code."""
    if not program:
        raise SystemExit("name a program, such as: python examples/with_host.py python examples/web/call_handler.py")
    if shutil.which(program[0]) is None:
        raise SystemExit(f"{program[0]}: there is no such program; install it first: pip install {program[0]}")
    with started() as host:
        return subprocess.run(program, env={**os.environ, **host.environ()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
