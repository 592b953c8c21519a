"""An embedded SageMaker whose models load as slowly as a test sets, and say what they did."""

from __future__ import annotations

import json
from pathlib import Path

from mme_sdk import EndpointSpec
from mme_sdk.local import LocalSageMaker
from tests.support.gates import PASS_GATE, Gate

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
CODE = (
    PASS_GATE
    + """
import json, os, time

def model_fn(directory):
    facts = json.load(open(os.path.join(directory, "facts.json")))
    with open(facts["log"], "a") as log:
        log.write(facts["name"] + "\\n")
    if facts["gate"]:
        pass_gate(facts["gate"])
    time.sleep(facts["load"])
    return facts

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(data, model):
    if isinstance(data, dict) and "id" in data:
        with open(model["log"] + ".calls", "a") as log:
            log.write(data["id"] + "\\n")
    if data == "slow":
        time.sleep(1.0)
    if data == "bad":
        raise ValueError("no such feature")
    return {"model": model["name"], "data": data}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""
)


class World:
    """One host with a two-instance multi-model endpoint; models are made on demand."""

    def __init__(self, host: LocalSageMaker, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self.log = folder / "loads.log"
        self.client = host.client()
        host.boto("s3").create_bucket(Bucket="models")
        self.models = self.client.models("s3://models/prod/")
        self.make("first", 0.0)
        spec = EndpointSpec.multi_model(
            name="scoring",
            models=self.models.uri,
            image=IMAGE,
            role=ROLE,
            instance_type="ml.m5.large",
            instance_count=2,
        )
        self.client.endpoints.create(spec, timeout=60)

    def make(self, name: str, load: float, gate: Gate | None = None) -> str:
        """Register a model whose load waits for a gate, then takes so many seconds."""
        source = self.folder / name
        (source / "code").mkdir(parents=True)
        (source / "code" / "inference.py").write_text(CODE)
        facts = {"name": name, "load": load, "gate": str(gate or ""), "log": str(self.log)}
        (source / "facts.json").write_text(json.dumps(facts))
        return self.models.register(name, source, version="v1").target_model

    def loads(self, name: str) -> int:
        """How often the container loaded a model."""
        return self.log.read_text().split().count(name) if self.log.exists() else 0

    def calls(self) -> list[str]:
        """The ids that models were called with, as often as they were."""
        path = Path(f"{self.log}.calls")
        return path.read_text().split() if path.exists() else []
