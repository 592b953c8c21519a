"""Minimal IAM documents: what an endpoint's role needs, and what a caller needs.

Sources: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html,
https://docs.aws.amazon.com/sagemaker/latest/dg/multi-model-endpoint-security.html and
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mme_sdk._validation import check_resource_name
from mme_sdk.endpoints.spec import validators
from mme_sdk.errors import InvalidInputError

__all__ = ["Document", "execution_role", "invoker", "trust"]

Document = dict[str, Any]
"""An IAM policy document, ready for `json.dumps`."""

_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^:@]+)(?:[:@].+)?")


def _document(*statements: dict[str, Any] | None) -> Document:
    return {"Version": "2012-10-17", "Statement": [one for one in statements if one is not None]}


def trust() -> Document:
    """The trust policy that lets SageMaker use an execution role."""
    return _document(
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    )


def execution_role(
    prefix: str,
    *,
    image: str | None = None,
    kms_key: str | None = None,
    vpc: bool = False,
    partition: str = "aws",
) -> Document:
    """What the execution role of an endpoint needs, and nothing more.

    Args:
        prefix: S3 prefix of a multi-model endpoint, or the archive of a single-model one.
        image: Image URI in ECR; pulling is limited to its repository. Any repository where None.
        kms_key: ARN of the KMS key that the archives are encrypted with.
        vpc: Whether the endpoint runs in a VPC.
        partition: AWS partition: `aws`, `aws-cn`, `aws-us-gov`.

    Returns:
        The policy document. `s3:ListBucket` is part of it: without it a missing model answers 403, not 404.

    Raises:
        InvalidInputError: No S3 address, no ECR image, or no key ARN.

    Example:
        >>> [one["Sid"] for one in execution_role("s3://ml-models/prod/")["Statement"]]
        ['ReadModels', 'SeeMissingModels', 'LogIn', 'PullImage', 'WriteLogs', 'WriteMetrics']
    """
    where = validators.s3("prefix", prefix, 1024)
    is_archive = where.key.endswith((".tar.gz", ".tgz"))
    objects = where.key if is_archive else f"{where.as_prefix().key}*"
    bucket = f"arn:{partition}:s3:::{where.bucket}"
    listing: dict[str, Any] = {
        "Sid": "SeeMissingModels",
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": bucket,
    }
    if where.key:
        listing["Condition"] = {"StringLike": {"s3:prefix": [objects]}}
    return _document(
        {"Sid": "ReadModels", "Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket}/{objects}"},
        listing,
        None if kms_key is None else _decrypt(kms_key),
        {"Sid": "LogIn", "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {
            "Sid": "PullImage",
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
            "Resource": _repository(image, partition),
        },
        {
            "Sid": "WriteLogs",
            "Effect": "Allow",
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            "Resource": f"arn:{partition}:logs:*:*:log-group:/aws/sagemaker/Endpoints/*",
        },
        {
            "Sid": "WriteMetrics",
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringLike": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]}},
        },
        _network() if vpc else None,
    )


def _decrypt(key: str) -> dict[str, Any]:
    if not isinstance(key, str) or not re.fullmatch(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/.+", key):
        raise InvalidInputError(f"kms_key: {key!r} is no key ARN; a policy takes no alias")
    return {"Sid": "ReadEncrypted", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}


def _repository(image: str | None, partition: str) -> str:
    if image is None:
        return f"arn:{partition}:ecr:*:*:repository/*"
    found = _ECR.fullmatch(image) if isinstance(image, str) else None
    if found is None:
        raise InvalidInputError(f"image: {image!r} is no image in ECR")
    return f"arn:{partition}:ecr:{found['region']}:{found['account']}:repository/{found['repository']}"


def _network() -> dict[str, Any]:
    return {
        "Sid": "JoinVpc",
        "Effect": "Allow",
        "Action": [
            "ec2:CreateNetworkInterface",
            "ec2:CreateNetworkInterfacePermission",
            "ec2:DeleteNetworkInterface",
            "ec2:DeleteNetworkInterfacePermission",
            "ec2:DescribeDhcpOptions",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
        ],
        "Resource": "*",
    }


def invoker(
    endpoint: str,
    *,
    target_models: Iterable[str] | None = None,
    region: str = "*",
    account_id: str = "*",
    partition: str = "aws",
) -> Document:
    """What a caller of an endpoint needs: one tenant, its own models and no others.

    Args:
        endpoint: The endpoint's name.
        target_models: Target models that may be invoked, with `*` and `?`, such as `team_a/*`. Every model under the
            endpoint's prefix where None, which is also what a policy without this condition gives.
        region: AWS region.
        account_id: AWS account.
        partition: AWS partition.

    Returns:
        The policy document, with the condition key `sagemaker:TargetModel`.

    Raises:
        InvalidInputError: No endpoint name, or a pattern that no target model matches.

    Example:
        >>> invoker("scoring", target_models=["team_a/*"])["Statement"][0]["Condition"]
        {'StringLike': {'sagemaker:TargetModel': ['team_a/*']}}
    """
    check_resource_name("endpoint", endpoint)
    statement: dict[str, Any] = {
        "Sid": "Invoke",
        "Effect": "Allow",
        "Action": "sagemaker:InvokeEndpoint",
        # SageMaker writes endpoint names in ARNs in lower case.
        "Resource": [
            f"arn:{partition}:sagemaker:{region}:{account_id}:endpoint/{one}"
            for one in dict.fromkeys((endpoint, endpoint.lower()))
        ],
    }
    if target_models is not None:
        patterns = list(validators.sequence(target_models))
        if not patterns:
            raise InvalidInputError("target_models: no pattern at all would allow nothing; leave it out to allow all")
        for one in patterns:
            if not isinstance(one, str) or not one or one.startswith(("/", "s3://")) or ".." in one:
                raise InvalidInputError(
                    f"target_models: {one!r} matches no target model",
                    hint="target models are keys relative to the endpoint's prefix, such as 'team_a/*'",
                )
        statement["Condition"] = {"StringLike": {"sagemaker:TargetModel": patterns}}
    return _document(statement)
