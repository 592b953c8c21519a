"""The embedded SageMaker serves a model with a script."""

import json
from pathlib import Path

from mme_sdk import EndpointSpec
from mme_sdk.local import LocalSageMaker

Path("model", "code").mkdir(parents=True)
Path("model", "code", "inference.py").write_text(
    "def model_fn(folder): return 2\n"
    "def input_fn(body, content_type): return float(body)\n"
    "def predict_fn(number, factor): return number * factor\n"
    "def output_fn(answer, accept): return str(answer), 'application/json'\n"
)
with LocalSageMaker() as host, host.client() as client:
    host.boto("s3").create_bucket(Bucket="ml-models")
    models = client.models("s3://ml-models/prod/")
    models.register("double", "model", version="v1")
    models.alias("double", "live", "v1")
    spec = EndpointSpec.multi_model(
        name="scoring",
        models=models.uri,
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
        role="arn:aws:iam::123456789012:role/sagemaker-execution",
        instance_type="ml.m5.large",
    )
    endpoint = client.endpoints.create(spec, timeout=300)
    reply = endpoint.invoke(b"21", model="double@live", content_type="text/plain")
    assert json.loads(reply.body) == 42.0, reply
