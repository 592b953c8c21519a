"""Start a host in a fresh process, and print as JSON the seconds to each step and the CPU seconds of all processes.

`ready` is from the start of this script to the running host, `first` from there to the first answer of a model on a new
endpoint. The clients are boto3's, and their creation is part of it.
"""

from __future__ import annotations

import io
import json
import resource
import tarfile
import time

BEGAN = time.perf_counter()
SCRIPT = b"""
def model_fn(model_dir):
    return "model"
def input_fn(data, content_type):
    return data
def predict_fn(data, model):
    return "answer"
def output_fn(prediction, accept):
    return prediction, "text/plain"
"""


def main() -> None:
    from mme_sdk.local import ControlSettings, LocalSageMaker

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("code/inference.py")
        entry.size = len(SCRIPT)
        tar.addfile(entry, io.BytesIO(SCRIPT))
    with LocalSageMaker(control=ControlSettings(provisioning=0)) as host:
        ready = time.perf_counter()
        s3, sagemaker, runtime = (host.boto(name) for name in ("s3", "sagemaker", "sagemaker-runtime"))
        s3.create_bucket(Bucket="bench")
        s3.put_object(Bucket="bench", Key="models/one.tar.gz", Body=archive.getvalue())
        container = {"Image": "python", "Mode": "MultiModel", "ModelDataUrl": "s3://bench/models/"}
        role = "arn:aws:iam::123456789012:role/bench"
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        while sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "Creating":
            time.sleep(0.02)
        answer = runtime.invoke_endpoint(EndpointName="e", TargetModel="one.tar.gz", Body=b"1")["Body"].read()
        assert answer == b"answer", answer
        first = time.perf_counter()
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"ready": ready - BEGAN, "first": first - ready, "cpu": used}))


if __name__ == "__main__":
    main()
