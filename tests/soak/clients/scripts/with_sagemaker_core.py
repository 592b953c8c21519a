"""Create, invoke and delete an endpoint with the resources of `sagemaker-core`.

The argument is the URI of an archive.
"""

import json
import sys

from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant

NAME = "sagemaker-core"
image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.3-cpu-py311"
model = Model.create(
    model_name=NAME,
    primary_container=ContainerDefinition(image=image, model_data_url=sys.argv[1]),
    execution_role_arn="arn:aws:iam::123456789012:role/sagemaker",
)
variant = ProductionVariant(
    variant_name="AllTraffic", model_name=NAME, instance_type="ml.m5.large", initial_instance_count=1
)
config = EndpointConfig.create(endpoint_config_name=NAME, production_variants=[variant])
endpoint = Endpoint.create(endpoint_name=NAME, endpoint_config_name=NAME)
endpoint.wait_for_status("InService", poll=1, timeout=60)
answer = endpoint.invoke(body=json.dumps([1.0, 2.0]), content_type="application/json")
assert json.loads(answer.body.read()) == [2.0, 4.0], answer
assert [one.endpoint_name for one in Endpoint.get_all(name_contains=NAME)] == [NAME]
endpoint.delete()
endpoint.wait_for_delete(poll=1, timeout=60)
config.delete()
model.delete()
print("done")
