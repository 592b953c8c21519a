"""Deploy and invoke a model with ModelBuilder of `sagemaker` 3. The argument is the URI of an archive."""

import json
import sys

from sagemaker.core.helper.session_helper import Session
from sagemaker.serve.model_builder import ModelBuilder

builder = ModelBuilder(
    image_uri="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.3-cpu-py311",
    s3_model_data_url=sys.argv[1],
    role_arn="arn:aws:iam::123456789012:role/sagemaker",
    instance_type="ml.m5.large",
    sagemaker_session=Session(default_bucket="clients"),
)
builder.build(model_name="sagemaker3")
endpoint = builder.deploy(endpoint_name="sagemaker3")
answer = endpoint.invoke(body=json.dumps([1.0, 2.0]), content_type="application/json")
assert json.loads(answer.body.read()) == [2.0, 4.0], answer
endpoint.delete()
print("done")
