"""Two teams on one multi-model endpoint: the policy of its execution role, and policies that separate the teams.

The program starts an embedded SageMaker. Against AWS, use `MMEClient()` in its place; nothing else changes. Attach
the policies with `attach`. The embedded SageMaker has no IAM and accepts every caller.
"""

from __future__ import annotations

import fnmatch
import json
import tempfile
from pathlib import Path
from typing import Any

from models import write

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.endpoints import policies
from mme_sdk.local import LocalSageMaker

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"
TEAMS = ("team_a", "team_b")


def attach(iam: Any, role: str, name: str, document: policies.Document) -> None:
    """Attach a policy document to a role."""
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def allowed(document: policies.Document, target_model: str) -> bool:
    """Return whether IAM's StringLike condition allows a target model."""
    patterns = document["Statement"][0]["Condition"]["StringLike"]["sagemaker:TargetModel"]
    return any(fnmatch.fnmatchcase(target_model, pattern) for pattern in patterns)


def tour(client: MMEClient, work: Path) -> None:
    models = client.models("s3://ml-models/prod/")
    theirs = {
        team: models.register(f"{team}/score", write(work / team, factor=number), version="v1")
        for number, team in enumerate(TEAMS, start=2)
    }
    spec = EndpointSpec.multi_model(name="shared", models=models, image=IMAGE, role=ROLE, instance_type="ml.m5.large")

    print("The endpoint's role, once:")
    print(json.dumps(policies.execution_role(models.uri, image=IMAGE), indent=2))
    print(client.endpoints.preflight(spec))

    documents = {team: policies.invoker("shared", target_models=[f"{team}/*"]) for team in TEAMS}
    print("\nEach team's callers:")
    print(json.dumps(documents["team_a"], indent=2))

    with client.endpoints.temporary(spec) as endpoint:
        for team in TEAMS:
            for owner, model in theirs.items():
                if allowed(documents[team], model.target_model):
                    print(f"{team} → {model.target_model}: {endpoint.invoke(10, model=model).json()}")
                else:
                    print(f"{team} → {model.target_model}: IAM refuses, it belongs to {owner}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mme-example-") as folder, LocalSageMaker() as aws:
        s3 = aws.boto("s3")
        s3.create_bucket(Bucket="ml-models")
        s3.close()
        with aws.client() as client:
            tour(client, Path(folder))


if __name__ == "__main__":
    main()
