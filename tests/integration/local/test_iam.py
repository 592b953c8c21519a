"""Test IAM with a boto3 client."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/SageMaker"


@pytest.fixture
def iam(plane):
    client = plane.boto("iam")
    yield client
    client.close()


def test_every_role_exists_and_trusts_sagemaker(iam):
    role = iam.get_role(RoleName="SageMaker")["Role"]
    assert (role["Arn"], role["RoleName"], role["Path"]) == (ROLE, "SageMaker", "/")
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert role["RoleId"] == iam.get_role(RoleName="SageMaker")["Role"]["RoleId"] != ""
    with pytest.raises(ClientError, match=r"ListRoles is not supported.*LocalSageMaker\(iam=True\)"):
        iam.list_roles()


def test_every_action_is_allowed(iam):
    actions = ["s3:GetObject", "sagemaker:CreateModel"]
    answer = iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=actions)
    assert [(one["EvalActionName"], one["EvalDecision"]) for one in answer["EvaluationResults"]] == [
        ("s3:GetObject", "allowed"),
        ("sagemaker:CreateModel", "allowed"),
    ]
    assert answer["IsTruncated"] is False
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=ROLE, ActionNames=actions, ResourceArns=["arn:aws:s3:::a", "arn:aws:s3:::b"], MaxItems=3
    )
    found = [(one["EvalActionName"], one["EvalResourceName"]) for page in pages for one in page["EvaluationResults"]]
    assert found == [(action, f"arn:aws:s3:::{bucket}") for action in actions for bucket in "ab"]


def test_wrong_names_and_policies_are_refused(iam):
    def code_of(**changes) -> str:
        with pytest.raises(ClientError) as caught:
            iam.simulate_principal_policy(**{"PolicySourceArn": ROLE, "ActionNames": ["s3:GetObject"]} | changes)
        return caught.value.response["Error"]["Code"]

    assert code_of(PolicySourceArn="arn:aws:s3:::a-bucket-of-mine") == "InvalidInput"
    assert code_of(PolicySourceArn=ROLE.replace("1234", "9999")) == "NoSuchEntity"
    assert code_of(ActionNames=["GetObject"]) == "InvalidInput"
    assert code_of(Marker="?") == "InvalidInput"
    with pytest.raises(ClientError, match="evaluates only the policies of the principal"):
        iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=["s3:GetObject"], PolicyInputList=["{}"])
