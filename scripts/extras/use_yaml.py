"""A spec is written as YAML and read again."""

from mme_sdk import EndpointSpec

spec = EndpointSpec.multi_model(
    name="scoring",
    models="s3://ml-models/prod/",
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
    role="arn:aws:iam::123456789012:role/sagemaker-execution",
    instance_type="ml.m5.large",
)
spec.to_yaml("spec.yaml")
assert EndpointSpec.from_yaml("spec.yaml") == spec
