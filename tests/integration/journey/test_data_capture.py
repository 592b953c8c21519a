"""Data capture through the whole host: what a client asked is in S3, encrypted with the key that it named."""

from __future__ import annotations

import io
import json

from mme_sdk.artifacts import pack
from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.local.waiting import wait_until

ROLE = "arn:aws:iam::123456789012:role/SageMaker"
SCRIPT = "def model_fn(d): return 1\ndef transform_fn(model, body, kind, accept): return body, 'text/csv'\n"


def test_what_an_endpoint_was_asked_is_captured(tmp_path) -> None:
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text(SCRIPT)
    packed = io.BytesIO()
    pack(tmp_path / "model", packed)
    with LocalSageMaker(tmp_path / "data", control=ControlSettings(provisioning=0.02)) as host:
        s3, sm, runtime = (host.boto(one) for one in ("s3", "sagemaker", "sagemaker-runtime"))
        s3.create_bucket(Bucket="models")
        s3.put_object(Bucket="models", Key="m.tar.gz", Body=packed.getvalue())
        sm.create_model(
            ModelName="m",
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": "python", "ModelDataUrl": "s3://models/m.tar.gz"},
        )
        sm.create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[
                {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
            ],
            DataCaptureConfig={
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": "s3://models/captured",
                "KmsKeyId": "alias/aws/s3",
                "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
            },
        )
        sm.create_endpoint(EndpointName="e", EndpointConfigName="c")
        sm.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        answer = runtime.invoke_endpoint(EndpointName="e", Body=b"1,2", ContentType="text/csv", InferenceId="id-1")
        assert answer["Body"].read() == b"1,2"
        found = wait_until(
            lambda: s3.list_objects_v2(Bucket="models", Prefix="captured/e/v/").get("Contents", []), "the capture"
        )
        record = s3.get_object(Bucket="models", Key=found[0]["Key"])
        assert record["ServerSideEncryption"] == "aws:kms"
        line = json.loads(record["Body"].read())
        assert line["captureData"]["endpointInput"]["data"] == line["captureData"]["endpointOutput"]["data"] == "1,2"
        assert line["eventMetadata"]["inferenceId"] == "id-1"
        for client in (s3, sm, runtime):
            client.close()
