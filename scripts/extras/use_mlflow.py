"""MLflow finds the deployment target `mme`."""

from mlflow.deployments import get_deploy_client

client = get_deploy_client("mme:/scoring?region=eu-west-1")
assert client is not None
assert client.target_uri.startswith("mme:/scoring")
assert type(client).__module__.startswith("mme_sdk.integrations")
