"""An embedded SageMaker with what a new user has after the first pages of the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.endpoints import AsyncInference
from mme_sdk.local import ControlSettings, HostingSettings, LocalSageMaker

__all__ = ["IMAGE", "ROLE", "FirstHour"]

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
SCRIPT = """
import json, os, time

def model_fn(directory):
    facts = json.load(open(os.path.join(directory, "facts.json")))
    time.sleep(facts["load"])
    if facts["fails"]:
        raise KeyError(facts["name"])
    return {"name": facts["name"], "loaded_at": time.time()}

def input_fn(body, content_type):
    if content_type != "application/json":
        raise ValueError(f"this model reads application/json, not {content_type}")
    return json.loads(body)

def predict_fn(data, model):
    if not isinstance(data, dict) or "amount" not in data:
        raise ValueError("no column 'amount'")
    print("amount", data["amount"])
    return model

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


class FirstHour:
    """A host, a client, a registry and two endpoints.

    Attributes:
        host: The embedded SageMaker. Its instances have memory for a few models, and it does not hold requests long.
        client: A client.
        models: The registry of `scoring`. `fraud` has two versions; `fraud@live` is the first one.
        broken: A version whose script fails while it loads.
        scoring: A multi-model endpoint.
        queue: An endpoint with asynchronous inference, without a failure path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        control = ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
        hosting = HostingSettings(answer_limit=0.25, memory_bytes=30 << 20)
        self.host = LocalSageMaker(control=control, settings=hosting)

    def __enter__(self) -> Self:
        self.host.__enter__()
        self.client: MMEClient = self.host.client()
        self.host.boto("s3").create_bucket(Bucket="models")
        self.models = self.client.models("s3://models/prod/")
        self.artifacts = self.client.models("s3://models/single/")
        self.models.register("fraud", self.source("fraud"), "v1")
        self.later_than("fraud/v1.tar.gz")
        self.models.register("fraud", self.source("fraud", note="second"), "v2")
        self.models.alias("fraud", "live", "v1")
        self.models.register("team/churn", self.source("churn"), "v1")
        self.broken = self.models.register("broken", self.source("broken", fails=True), "v1")
        artifact = self.artifacts.register("fraud", self.source("single"), "v1")
        endpoints = self.client.endpoints
        self.scoring = endpoints.create(self.spec("scoring"), wait=False)
        queue = self._single("queue", artifact, async_inference=AsyncInference(output="s3://models/answers/"))
        self.queue = endpoints.create(queue, wait=False)
        for endpoint in (self.scoring, self.queue):
            endpoint.wait(timeout=120)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self.host.__exit__(None, None, None)

    def later_than(self, target: str) -> None:
        """Wait until S3, whose times are whole seconds, gives a later time to a new object than to this one."""
        s3, bucket = self.host.boto("s3"), {"Bucket": "models"}
        first = s3.head_object(**bucket, Key=f"prod/{target}")["LastModified"]
        while True:
            s3.put_object(**bucket, Key="clock", Body=b"x")
            if s3.head_object(**bucket, Key="clock")["LastModified"] > first:
                return

    def source(self, name: str, *, load: float = 0.0, fails: bool = False, note: str = "") -> Path:
        """Write the folder of a model."""
        folder = self.folder / f"{name}{note}-{len(list(self.folder.iterdir()))}"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "inference.py").write_text(SCRIPT)
        (folder / "facts.json").write_text(json.dumps({"name": name, "load": load, "fails": fails, "note": note}))
        return folder

    def spec(self, name: str, **changes: Any) -> EndpointSpec:
        """Return the spec of a multi-model endpoint."""
        given = {"models": self.models.uri, "image": IMAGE, "role": ROLE, "instance_type": "ml.m5.large"} | changes
        return EndpointSpec.multi_model(name=name, **given)

    @staticmethod
    def _single(name: str, artifact: Any, **more: Any) -> EndpointSpec:
        return EndpointSpec.single_model(
            name=name, artifact=artifact, image=IMAGE, role=ROLE, instance_type="ml.m5.large", **more
        )
