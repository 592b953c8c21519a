"""Both hosting modes: rarely used models share one endpoint, and a busy model has its own until its traffic falls.

The program starts an embedded SageMaker. Against AWS, use `MMEClient()` in its place; nothing else changes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from models import write

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.errors import InvalidInputError
from mme_sdk.local import LocalSageMaker

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"


def tour(client: MMEClient, work: Path) -> None:
    models = client.models("s3://ml-models/prod/")
    rare = [models.register(f"rare-{n}", write(work / f"rare-{n}", factor=n), version="v1") for n in range(1, 5)]
    hot = models.register("hot", write(work / "hot", factor=100), version="v1")

    many = EndpointSpec.multi_model(
        name="many", models=models.uri, image=IMAGE, role=ROLE, instance_type="ml.m5.large", instance_count=1
    )
    one = EndpointSpec.single_model(name="one", artifact=hot, image=IMAGE, role=ROLE, instance_type="ml.c6i.large")
    with client.endpoints.temporary(many) as shared, client.endpoints.temporary(one) as dedicated:
        print(shared)
        print(dedicated)
        answers = shared.invoke_many(range(4), model_of=lambda item: rare[item], data_of=lambda _: 10)
        print("Four rare models, one endpoint:", [each.value for each in answers])
        print("The hot one on its own:", dedicated.invoke(10).json())
        try:
            dedicated.invoke(10, model=hot)
        except InvalidInputError as error:
            print("A single-model endpoint takes no model:", error.message)

        print("\nTraffic of the hot one has cooled down: its endpoint becomes a multi-model one as well.")
        cooled = client.endpoints.to_multi_model("one", "s3://ml-models/cooled/", target_model="hot.tar.gz")
        print(cooled)
        print("The same answer, by name now:", cooled.invoke(10, model="hot.tar.gz").json())
        print("And back:", cooled.rollback().invoke(10).json())
    print("\nNothing is left:", client.endpoints.list(), client.endpoints.orphans())


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mme-example-") as folder, LocalSageMaker() as aws:
        s3 = aws.boto("s3")
        s3.create_bucket(Bucket="ml-models")
        s3.close()
        with aws.client() as client:
            tour(client, Path(folder))


if __name__ == "__main__":
    main()
