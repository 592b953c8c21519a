"""A blue/green update with a canary and an alarm: SageMaker rolls a bad release back and keeps a good one.

The program starts an embedded SageMaker. Against AWS, use `MMEClient()` in its place; nothing else changes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
from models import write

from mme_sdk import EndpointSpec, MMEClient, Progress
from mme_sdk.endpoints import BlueGreen
from mme_sdk.errors import EndpointFailedError
from mme_sdk.local import ControlSettings, LocalSageMaker

SPEC = EndpointSpec.multi_model(
    name="scoring",
    models="s3://ml-models/prod/",
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
    role="arn:aws:iam::123456789012:role/sagemaker-execution",
    instance_type="ml.m5.large",
    environment={"RELEASE": "1"},
)
ALARM = "checkout-wrong-scores"


def release(number: int) -> EndpointSpec:
    container = attrs.evolve(SPEC.variants[0].containers[0], environment={"RELEASE": str(number)})
    return attrs.evolve(SPEC, variants=(attrs.evolve(SPEC.variants[0], containers=(container,)),))


def tour(client: MMEClient, cloudwatch: Any, work: Path) -> None:
    fraud = client.models("s3://ml-models/prod/").register("fraud", write(work / "fraud", factor=2), version="v1")
    cloudwatch.put_metric_alarm(
        AlarmName=ALARM,
        Namespace="Checkout",
        MetricName="WrongScores",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    endpoint = client.endpoints.create(release(1), timeout=900)
    print(endpoint)

    # The new fleet gets 10 percent of the traffic for five minutes, during which SageMaker watches the alarm.
    careful = BlueGreen(canary=10, wait=300, termination_wait=60, alarms=(ALARM,))

    def set_off_alarm(seen: Progress) -> None:
        if seen.status == "Updating":
            cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue="ALARM", StateReason="a test of the alarm")

    try:
        endpoint.update(release(2), deployment=careful, timeout=1800, progress=set_off_alarm)
    except EndpointFailedError as error:
        print(f"\nRelease 2: {error.message}")
        print("Statuses:", " → ".join(status for _, status in error.history))
    else:
        raise SystemExit("the release was not rolled back although its alarm was set off")
    print(f"The endpoint has stayed in service: 21 becomes {endpoint.invoke(21, model=fraud).json()}")

    cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue="OK", StateReason="the test is over")
    endpoint = endpoint.update(release(3), deployment=careful, timeout=1800)
    print(f"\nRelease 3: {endpoint}")
    endpoint.delete()


def main() -> None:
    # The embedded SageMaker shortens every wait of a deployment to a hundredth.
    with (
        tempfile.TemporaryDirectory(prefix="mme-example-") as folder,
        LocalSageMaker(control=ControlSettings(wait_scale=0.01)) as aws,
    ):
        s3, cloudwatch = aws.boto("s3"), aws.boto("cloudwatch")
        s3.create_bucket(Bucket="ml-models")
        with aws.client() as client:
            tour(client, cloudwatch, Path(folder))
        s3.close()
        cloudwatch.close()


if __name__ == "__main__":
    main()
