"""The job of sagemaker 2's `MultiDataModel`, for an interpreter that has it; the environment says where the host is."""

import json
import sys

import boto3
import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

bucket, double, triple = sys.argv[1:]
session = sagemaker.Session(boto3.Session(), default_bucket=bucket)
models = MultiDataModel(
    name="mdm",
    model_data_prefix=f"s3://{bucket}/models/",
    image_uri="any-image",
    role="arn:aws:iam::123456789012:role/SageMaker",
    sagemaker_session=session,
    predictor_cls=Predictor,
)
predictor = models.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    endpoint_name="mdm",
    serializer=JSONSerializer(),
    deserializer=JSONDeserializer(),
)
said = {"added": models.add_model(model_data_source=double, model_data_path="double.tar.gz")}
said["first"] = predictor.predict([1, 2], target_model="double.tar.gz")
models.add_model(model_data_source=triple, model_data_path="more/triple.tar.gz")
said["second"] = predictor.predict([1, 2], target_model="more/triple.tar.gz")
said["listed"] = sorted(models.list_models())
predictor.update_endpoint(initial_instance_count=2, instance_type="ml.m5.large", model_name="mdm")
said["counts"] = [
    variant["CurrentInstanceCount"]
    for variant in session.sagemaker_client.describe_endpoint(EndpointName="mdm")["ProductionVariants"]
]
said["after"] = predictor.predict([5], target_model="double.tar.gz")
predictor.delete_model()
predictor.delete_endpoint()
print(json.dumps(said))
