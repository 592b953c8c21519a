"""Test the evaluation of IAM policies against the rules of the IAM User Guide."""

from __future__ import annotations

import json

import pytest

from mme_sdk.endpoints import policies
from mme_sdk.local.control.iam.documents import parse_identity_policy, parse_trust_policy
from mme_sdk.local.control.iam.evaluation import Principal, decide, trusts
from mme_sdk.local.wire.errors import ApiError

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/scoring"
INVOKE = "sagemaker:InvokeEndpoint"


def policy(*statements: dict, version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def allow(condition: dict | None = None, *, effect: str = "Allow", **elements) -> dict:
    statement = {"Effect": effect, **elements}
    if "NotAction" not in statement:
        statement.setdefault("Action", INVOKE)
    if "NotResource" not in statement:
        statement.setdefault("Resource", "*")
    return statement | ({"Condition": condition} if condition else {})


def decision(*documents: str, action: str = INVOKE, resource: str = ARN, session: str | None = None, **context) -> str:
    read = tuple(parse_identity_policy(f"p{number}", one) for number, one in enumerate(documents))
    limit = None if session is None else parse_identity_policy("session", session)
    principal = Principal(arn="arn", user_id="id", kind="User", policies=read, session_policy=limit)
    keys = {name.replace("__", "/").replace("_", ":", 1).lower(): value for name, value in context.items()}
    return decide(principal, action, resource, keys).kind


def holds(condition: dict, *, version: str = "2012-10-17", **context) -> bool:
    return decision(policy(allow(condition), version=version), **context) == "allowed"


def test_a_deny_wins_an_allow_is_needed_and_the_account_may_do_everything():
    assert decision() == "implicitDeny"
    assert decision(policy(allow())) == "allowed"
    assert decision(policy(allow()), policy(allow(effect="Deny"))) == "explicitDeny"
    assert decision(policy(allow(effect="Deny"), allow())) == "explicitDeny"
    account = Principal(arn="arn", user_id="id", kind="Account")
    assert decide(account, INVOKE, ARN, {}).kind == "allowed"


def test_a_session_policy_limits_the_role():
    assert decision(policy(allow()), session=policy(allow(Action="s3:*"))) == "implicitDeny"
    assert decision(policy(allow(Action="s3:*")), session=policy(allow())) == "implicitDeny"
    assert decision(policy(allow()), session=policy(allow())) == "allowed"
    assert decision(policy(allow()), session=policy(allow(effect="Deny"))) == "explicitDeny"


@pytest.mark.parametrize(
    ("elements", "allowed"),
    [
        ({"Action": "*"}, True),
        ({"Action": "sagemaker:*"}, True),
        ({"Action": "SAGEMAKER:invoke*"}, True),
        ({"Action": "sagemaker:Invoke?ndpoint"}, True),
        ({"Action": "sagemaker:Invoke"}, False),
        ({"Action": ["s3:GetObject", "sagemaker:InvokeEndpointAsync"]}, False),
        ({"NotAction": "iam:*"}, True),
        ({"NotAction": "sagemaker:*"}, False),
        ({"Resource": ARN}, True),
        ({"Resource": "arn:aws:sagemaker:*:*:endpoint/*"}, True),
        ({"Resource": "arn:aws:sagemaker:*:*:endpoint/scor?ng"}, True),
        ({"Resource": "arn:aws:sagemaker:*:*:model/*"}, False),
        ({"Resource": "arn:aws:sagemaker:*:999999999999:endpoint/*"}, False),
        ({"Resource": "arn:aws:*"}, False),
        ({"Resource": ["arn:aws:s3:::x", ARN]}, True),
        ({"Resource": "arn:aws:sagemaker:*:*:endpoint/SCORING"}, False),
        ({"NotResource": "arn:aws:s3:::*"}, True),
        ({"NotResource": "arn:aws:sagemaker:*:*:endpoint/*"}, False),
    ],
)
def test_actions_ignore_case_and_resources_do_not(elements, allowed):
    assert (decision(policy(allow(**elements))) == "allowed") is allowed


def test_an_action_without_a_resource_needs_the_wildcard():
    document = policy(allow(Action="sagemaker:ListModels", Resource="arn:aws:sagemaker:*:*:model/*"))
    assert decision(document, action="sagemaker:ListModels", resource="*") == "implicitDeny"
    assert decision(policy(allow(Action="sagemaker:List*")), action="sagemaker:ListModels", resource="*") == "allowed"


TARGET = "sagemaker:TargetModel"


@pytest.mark.parametrize(
    ("condition", "target", "expected"),
    [
        ({"StringLike": {TARGET: "a/*"}}, ["a/x.tar.gz"], True),
        ({"StringLike": {TARGET: "a/*"}}, ["b/x.tar.gz"], False),
        ({"StringLike": {TARGET: ["b/*", "a/?.tar.gz"]}}, ["a/x.tar.gz"], True),
        ({"StringLike": {TARGET: "a/*"}}, None, False),
        ({"StringLikeIfExists": {TARGET: "a/*"}}, None, True),
        ({"StringLikeIfExists": {TARGET: "a/*"}}, ["b/x"], False),
        ({"StringNotLike": {TARGET: "a/*"}}, ["b/x"], True),
        ({"StringNotLike": {TARGET: "a/*"}}, ["a/x"], False),
        ({"StringNotLike": {TARGET: ["a/*", "b/*"]}}, ["b/x"], False),
        ({"StringNotLike": {TARGET: "a/*"}}, None, True),
        ({"StringEquals": {TARGET: "a/x"}}, ["a/x"], True),
        ({"StringEquals": {TARGET: "a/*"}}, ["a/x"], False),
        ({"StringEquals": {"SAGEMAKER:targetmodel": "a/x"}}, ["a/x"], True),
        ({"StringEqualsIgnoreCase": {TARGET: "A/X"}}, ["a/x"], True),
        ({"StringNotEquals": {TARGET: "a/x"}}, ["a/x"], False),
        ({"StringNotEqualsIgnoreCase": {TARGET: "A/X"}}, ["a/x"], False),
        ({"Null": {TARGET: "true"}}, None, True),
        ({"Null": {TARGET: "true"}}, ["a"], False),
        ({"Null": {TARGET: False}}, ["a"], True),
        ({"StringLike": {TARGET: "a/*"}, "Null": {TARGET: "true"}}, ["a/x"], False),
        ({"ArnLike": {TARGET: "arn:aws:s3:::b*"}}, ["arn:aws:s3:::bucket"], True),
        ({"ArnLike": {TARGET: "arn:aws:*"}}, ["arn:aws:s3:::bucket"], False),
        ({"ArnNotEquals": {TARGET: "arn:aws:s3:::b*"}}, ["arn:aws:s3:::bucket"], False),
        ({"Bool": {TARGET: "TRUE"}}, ["true"], True),
        ({"Bool": {TARGET: True}}, ["false"], False),
        ({"NumericLessThanEquals": {TARGET: 4}}, ["4"], True),
        ({"NumericLessThan": {TARGET: "4"}}, ["4"], False),
        ({"NumericNotEquals": {TARGET: "4"}}, ["5"], True),
        ({"NumericEquals": {TARGET: "4"}}, ["four"], False),
        ({"DateGreaterThan": {TARGET: "2026-01-01T00:00:00Z"}}, ["2026-01-02T00:00:00+00:00"], True),
        ({"DateLessThan": {TARGET: "2026-01-01"}}, ["2026-01-02T00:00:00Z"], False),
        ({"IpAddress": {TARGET: ["10.0.0.0/8", "127.0.0.1"]}}, ["127.0.0.1"], True),
        ({"NotIpAddress": {TARGET: "10.0.0.0/8"}}, ["10.1.1.1"], False),
        ({"ForAllValues:StringEquals": {TARGET: ["a", "b"]}}, ["a", "b"], True),
        ({"ForAllValues:StringEquals": {TARGET: ["a", "b"]}}, ["a", "c"], False),
        ({"ForAllValues:StringEquals": {TARGET: "a"}}, None, True),
        ({"ForAnyValue:StringEquals": {TARGET: "a"}}, ["c", "a"], True),
        ({"ForAnyValue:StringEquals": {TARGET: "a"}}, None, False),
        ({"ForAnyValue:StringNotEquals": {TARGET: "a"}}, None, False),
        ({"ForAllValues:StringNotEquals": {TARGET: "a"}}, ["b", "a"], False),
    ],
)
def test_conditions(condition, target, expected):
    assert holds(condition, **({} if target is None else {"sagemaker_TargetModel": target})) is expected


def test_variables_are_values_and_not_patterns():
    own = {"StringLike": {TARGET: "${aws:username}/*"}}
    assert holds(own, sagemaker_TargetModel=["ann/x"], aws_username=["ann"])
    assert not holds(own, sagemaker_TargetModel=["bob/x"], aws_username=["ann"])
    assert not holds(own, sagemaker_TargetModel=["bob/x"], aws_username=["*"])
    assert not holds(own, sagemaker_TargetModel=["ann/x"]), "a variable without a value matches nothing"
    assert holds({"StringLike": {TARGET: "${aws:username, 'all'}/*"}}, sagemaker_TargetModel=["all/x"])
    assert not holds(own, version="2008-10-17", sagemaker_TargetModel=["ann/x"], aws_username=["ann"])
    assert holds({"StringLike": {TARGET: "a${*}b"}}, sagemaker_TargetModel=["a*b"])
    assert not holds({"StringLike": {TARGET: "a${*}b"}}, sagemaker_TargetModel=["axb"])
    tagged = policy(allow(Resource="arn:aws:sagemaker:*:*:endpoint/${aws:PrincipalTag/team}"))
    assert decision(tagged, aws_principaltag__team=["scoring"]) == "allowed"
    assert decision(tagged, aws_principaltag__team=["other"]) == "implicitDeny"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "invalid Json"),
        ('{"Version": "2012-10-17", "Version": "2012-10-17"}', "invalid Json"),
        ("[]", "Syntax errors"),
        (policy(), "Statement must be"),
        (policy(allow(), version="2020-01-01"), "valid version"),
        (json.dumps({"Statements": []}), "'Statements' does not exist"),
        (policy({"Effect": "Allow", "Resource": "*"}), "must contain actions"),
        (policy({"Effect": "Allow", "Action": "s3:*"}), "must contain resources"),
        (policy(allow(NotAction="s3:*", Action="s3:*")), "exactly one of Action and NotAction"),
        (policy(allow(effect="allow")), "Effect must be"),
        (policy(allow(Action="InvokeEndpoint")), "prefaced by a vendor"),
        (policy(allow(Resource="scoring")), "must be in ARN format"),
        (policy(allow(Principal="*")), "should not specify a principal"),
        (policy(allow(Sid="a b")), "alpha-numeric"),
        (policy(allow(Sid="a"), allow(Sid="a")), "must be unique"),
        (policy(allow({"StringMatches": {TARGET: "a"}})), "Invalid Condition type : StringMatches"),
        (policy(allow({"NullIfExists": {TARGET: "true"}})), "Invalid Condition type"),
        (policy(allow({"Bool": {TARGET: "yes"}})), "true or false"),
        (policy(allow({"NumericEquals": {TARGET: "x"}})), "Invalid value"),
        (policy(allow({"StringEquals": {"TargetModel": "x"}})), "prefaced by a vendor"),
        (policy(allow({"StringEquals": {TARGET: []}})), "must have strings"),
        (policy(allow(Targets=1)), "'Targets' is not supported"),
    ],
)
def test_a_document_with_an_error_is_refused(text, message):
    with pytest.raises(ApiError, match=message) as caught:
        parse_identity_policy("p", text)
    assert caught.value.code == "MalformedPolicyDocument"


def test_trust_policies_name_services_accounts_and_users():
    sagemaker = parse_trust_policy("r", json.dumps(policies.trust()))
    assert trusts(sagemaker, ["sagemaker.amazonaws.com"], {}, kind="Service")
    assert not trusts(sagemaker, ["lambda.amazonaws.com"], {}, kind="Service")
    user = "arn:aws:iam::123456789012:user/ann"
    assert not trusts(sagemaker, [user], {})
    named = {"Effect": "Allow", "Principal": {"AWS": [user]}, "Action": "sts:AssumeRole"}
    assert trusts(parse_trust_policy("r", policy(named)), [user], {})
    assert not trusts(parse_trust_policy("r", policy(named)), [user.replace("ann", "bob")], {})
    everyone = named | {"Principal": "*"}
    assert trusts(parse_trust_policy("r", policy(everyone)), [user], {})
    assert not trusts(parse_trust_policy("r", policy(everyone, named | {"Effect": "Deny"})), [user], {})
    with pytest.raises(ApiError, match="prohibited field Resource"):
        parse_trust_policy("r", policy(named | {"Resource": "*"}))
    with pytest.raises(ApiError, match="Invalid principal"):
        parse_trust_policy("r", policy(named | {"Principal": {"Aws": "x"}}))
