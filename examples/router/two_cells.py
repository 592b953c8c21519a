"""Two endpoints under one name, on a laptop; one of them goes: `python examples/router/two_cells.py`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mme_sdk import EndpointSpec
from mme_sdk.local import LocalSageMaker

SCRIPT = """
import json
from pathlib import Path


def model_fn(model_dir):
    return json.loads((Path(model_dir) / "model.json").read_text())["factor"]


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(data, factor):
    return {"score": data["amount"] * factor}


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def main() -> list[str]:
    """Call ten models in two cells, evacuate one cell, delete its endpoint, and call them again."""
    with LocalSageMaker() as host, host.client() as client, tempfile.TemporaryDirectory() as folder:
        host.boto("s3").create_bucket(Bucket="ml-models")
        models = client.models("s3://ml-models/prod/")
        targets = []
        for number in range(10):
            source = Path(folder, f"tenant-{number}")
            (source / "code").mkdir(parents=True)
            (source / "code" / "inference.py").write_text(SCRIPT)
            (source / "model.json").write_text(json.dumps({"factor": number}))
            targets.append(models.register(f"tenant-{number}", source, version="v1").target_model)
        for name in ("scoring-a", "scoring-b"):
            spec = EndpointSpec.multi_model(
                name=name,
                models=models.uri,
                image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
                role="arn:aws:iam::123456789012:role/sagemaker-execution",
                instance_type="ml.m5.large",
            )
            client.endpoints.create(spec, timeout=120)
        router = client.router("scoring", cells=["scoring-a", "scoring-b"], table=models.uri)
        before = [router.invoke({"amount": 2}, model=target).endpoint for target in targets]
        print({name: before.count(name) for name in sorted(set(before))})
        done = router.evacuate("scoring-b", drain=1)  # by default, it waits for other clients and long calls
        print(f"moved {', '.join(done.moved)}: {done.warmed}")
        client.endpoints.delete("scoring-b")
        router.remove("scoring-b")
        return [router.invoke({"amount": 2}, model=target).endpoint for target in targets]


if __name__ == "__main__":
    print(set(main()))
