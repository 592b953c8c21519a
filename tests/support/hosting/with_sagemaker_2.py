"""What the `sagemaker` 2 package's MultiDataModel does all day; run by an interpreter that has it, with AWS_* set.

Its one argument is a folder with archives a.tar.gz and b.tar.gz of scripts that answer `<name>:<body>`.
"""

import pathlib
import sys

import boto3
import sagemaker
from sagemaker.deserializers import StringDeserializer
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer

folder = pathlib.Path(sys.argv[1])
boto = boto3.Session()
boto.client("s3").create_bucket(Bucket="sagemaker-two")
session = sagemaker.Session(
    boto_session=boto,
    sagemaker_client=boto.client("sagemaker"),
    sagemaker_runtime_client=boto.client("sagemaker-runtime"),
    default_bucket="sagemaker-two",
)


def predictor(name, sagemaker_session):
    serializer = IdentitySerializer(content_type="text/plain")
    return Predictor(name, sagemaker_session, serializer=serializer, deserializer=StringDeserializer())


mme = MultiDataModel(
    name="two",
    model_data_prefix="s3://sagemaker-two/models/",
    image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/own:1",
    role="arn:aws:iam::123456789012:role/service",
    predictor_cls=predictor,
    sagemaker_session=session,
)
mme.add_model(str(folder / "a.tar.gz"), "a.tar.gz")
client = mme.deploy(initial_instance_count=1, instance_type="ml.m5.large", endpoint_name="two")
assert client.predict(b"row", target_model="a.tar.gz") == "a:row"
mme.add_model(str(folder / "b.tar.gz"), "nested/b.tar.gz")
assert client.predict(b"row", target_model="/nested/b.tar.gz".lstrip("/")) == "b:row"
assert sorted(mme.list_models()) == ["a.tar.gz", "nested/b.tar.gz"], list(mme.list_models())
client.update_endpoint(initial_instance_count=2, instance_type="ml.m5.large")
described = boto.client("sagemaker").describe_endpoint(EndpointName="two")
assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 2, described
assert client.predict(b"again", target_model="a.tar.gz") == "a:again"
client.delete_model()
client.delete_endpoint(delete_endpoint_config=True)
waiter = boto.client("sagemaker").get_waiter("endpoint_deleted")
waiter.wait(EndpointName="two", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
print("done")
