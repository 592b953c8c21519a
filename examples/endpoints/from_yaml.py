"""A multi-model endpoint from a spec in YAML: plan it, apply it, change the spec, and apply it again.

The program starts an embedded SageMaker. Against AWS, use `MMEClient()` in its place; nothing else changes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from models import write

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.local import LocalSageMaker

SPEC = Path(__file__).with_name("scoring.yaml")


def tour(client: MMEClient, work: Path) -> None:
    fraud = client.models("s3://ml-models/prod/").register("fraud", write(work / "fraud", factor=2), version="v1")

    spec = EndpointSpec.from_yaml(SPEC)
    print(client.endpoints.plan(spec))
    endpoint = client.endpoints.apply(spec)
    print(endpoint)
    print("Loaded beforehand:", endpoint.warm([fraud], payload=b"1").loaded)
    print("21 becomes", endpoint.invoke(21, model=fraud).json())
    attached = endpoint.describe().variants[0].autoscaling
    print("Autoscaling:", attached)

    print("\nApplied again:", client.endpoints.plan(spec))

    text = (
        SPEC.read_text().replace("instance_type: ml.m5.large", "instance_type: ml.c5.large").replace("max: 8", "max: 6")
    )
    changed = EndpointSpec.from_yaml(text)
    plan = client.endpoints.plan(changed)
    print(f"\n{plan}")
    endpoint = client.endpoints.apply(plan)
    print(endpoint)
    print("21 becomes", endpoint.invoke(21, model=fraud).json())

    print("\nRead back, it is the file's spec again:", client.endpoints.from_endpoint("scoring") == changed)
    print(endpoint.delete())
    print("Orphans:", client.endpoints.orphans())


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mme-example-") as folder, LocalSageMaker() as aws:
        s3 = aws.boto("s3")
        s3.create_bucket(Bucket="ml-models")
        s3.close()
        with aws.client() as client:
            tour(client, Path(folder))


if __name__ == "__main__":
    main()
