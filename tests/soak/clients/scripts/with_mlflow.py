"""Deploy, invoke and delete a model with mlflow's SageMaker client.

The argument is a folder with an inference script.
"""

import sys
from pathlib import Path

import pandas as pd
from mlflow.deployments import get_deploy_client
from mlflow.models import Model

folder = Path(sys.argv[1])
flavors = {"python_function": {"loader_module": "none", "python_version": "3.11.0"}}
Model(flavors=flavors).save(folder / "MLmodel")
client = get_deploy_client("sagemaker:/us-east-1")
config = {
    "bucket": "clients",
    "execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker",
    "image_url": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:1",
    "instance_type": "ml.m5.large",
    "timeout_seconds": 120,
}
client.create_deployment("mlflow", str(folder), flavor="python_function", config=config)
assert [one["EndpointName"] for one in client.list_deployments()] == ["mlflow"]
assert client.get_deployment("mlflow")["EndpointStatus"] == "InService"
answer = client.predict("mlflow", pd.DataFrame({"x": [1.0, 2.0]}))
assert answer.get_predictions()[0].tolist() == [2.0, 4.0], answer
client.delete_deployment("mlflow", config={"archive": False, "timeout_seconds": 60})
assert client.list_deployments() == []
print("done")
