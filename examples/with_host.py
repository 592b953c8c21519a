"""Run a program beside an embedded SageMaker: `python examples/with_host.py python examples/web/call_handler.py`.

The host has a multi-model endpoint `scoring` with two models. `shop` says whether an amount is suspicious, `writer`
completes a text. Each has the alias `live`. The single-model endpoint `chat` serves `writer` alone. The program gets
the environment variables of the host, and the host ends with the program. On AWS, run the program by itself.
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
from mme_sdk.local import ControlSettings, LocalSageMaker

SHOP = """
import json


def model_fn(model_dir):
    return 50


def input_fn(body, content_type):
    if content_type == "text/csv":
        return [{"amount": float(line.split(",")[0])} for line in body.splitlines()]
    return json.loads(body)


def predict_fn(data, limit):
    if isinstance(data, list):
        return [row["amount"] > limit for row in data]
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
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"


@contextmanager
def started() -> Iterator[LocalSageMaker]:
    """Start the host with its models and endpoints."""
    with (
        LocalSageMaker(control=ControlSettings(provisioning=0.05, deletion=0.02)) as host,
        host.client() as client,
        tempfile.TemporaryDirectory(prefix="mme-example-") as folder,
    ):
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="ml-models")
        s3.close()
        models = client.models("s3://ml-models/prod/")
        for name, script in (("shop", SHOP), ("writer", WRITER)):
            code = Path(folder, name, "code")
            code.mkdir(parents=True)
            code.joinpath("inference.py").write_text(script)
            models.register(name, code.parent, version="v1")
            models.alias(name, "live", "v1")
        common: dict[str, Any] = {"image": IMAGE, "role": ROLE, "instance_type": "ml.m5.large"}
        client.endpoints.create(EndpointSpec.multi_model(name="scoring", models=models, **common))
        writer = models.get("writer", "v1")
        client.endpoints.create(EndpointSpec.single_model(name="chat", artifact=writer, **common))
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
