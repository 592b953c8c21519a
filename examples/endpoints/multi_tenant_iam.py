"""Two teams on one multi-model endpoint: the policy of its execution role, and policies that separate the teams.

The program starts an embedded SageMaker that evaluates IAM policies. Against AWS, `boto3.client("iam")` makes the same
role and the same users; wait some seconds until IAM has distributed them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import boto3
from models import write

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.endpoints import policies
from mme_sdk.errors import AccessDeniedError
from mme_sdk.local import LocalSageMaker

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1"
TEAMS = ("team_a", "team_b")
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def create_role(iam: Any, name: str, document: policies.Document) -> str:
    """Create an execution role with a policy, and return its ARN."""
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    return str(role["Arn"])


def create_user(iam: Any, name: str, document: policies.Document) -> boto3.Session:
    """Create a user with a policy, and return a session with the user's keys."""
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name="us-east-1")


def tour(client: MMEClient, iam: Any, urls: Any, work: Path) -> None:
    """Show what each team can call. `urls` are the addresses of the services; None on AWS."""
    models = client.models("s3://ml-models/prod/")
    theirs = {
        team: models.register(f"{team}/score", write(work / team, factor=number), version="v1")
        for number, team in enumerate(TEAMS, start=2)
    }
    document = policies.execution_role(models.uri, image=IMAGE)
    print("The endpoint's role, once:")
    print(json.dumps(document, indent=2))
    role = create_role(iam, "sagemaker-execution", document)
    spec = EndpointSpec.multi_model(name="shared", models=models, image=IMAGE, role=role, instance_type="ml.m5.large")
    print(client.endpoints.preflight(spec))

    documents = {team: policies.invoker("shared", target_models=[f"{team}/*"]) for team in TEAMS}
    print("\nEach team's callers:")
    print(json.dumps(documents["team_a"], indent=2))

    with client.endpoints.temporary(spec):
        for team in TEAMS:
            with MMEClient(session=create_user(iam, team, documents[team]), endpoint_url=urls) as caller:
                for model in theirs.values():
                    try:
                        answer = caller.endpoint("shared").invoke(10, model=model.target_model).json()
                        print(f"{team} → {model.target_model}: {answer}")
                    except AccessDeniedError as error:
                        print(f"{team} → {model.target_model}: {error.code}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mme-example-") as folder, LocalSageMaker(iam=True) as aws:
        s3, iam = aws.boto("s3"), aws.boto("iam")
        s3.create_bucket(Bucket="ml-models")
        with aws.client() as client:
            tour(client, iam, aws.endpoint_urls, Path(folder))
        s3.close()
        iam.close()


if __name__ == "__main__":
    main()
