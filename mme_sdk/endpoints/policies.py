"""Minimal IAM policy documents for an endpoint's execution role and for callers of an endpoint.

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
    """Return the trust policy that lets SageMaker assume an execution role.

    Returns:
        The policy document.
    """
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
    """Return the policy with the permissions that an endpoint's execution role needs.

    Args:
        prefix: S3 prefix of a multi-model endpoint, or archive of a single-model endpoint.
        image: Image URI in ECR; only its repository can be pulled from. Default: None, any repository.
        kms_key: ARN of the KMS key that encrypts the archives. Default: None.
        vpc: Whether the endpoint runs in a VPC. Default: False.
        partition: AWS partition: `aws`, `aws-cn` or `aws-us-gov`. Default: `aws`.

    Returns:
        The policy document. It includes `s3:ListBucket`, without which S3 answers 403 for a missing model, not 404.

    Raises:
        InvalidInputError: An argument is not an S3 address, an image URI in ECR, or a key ARN.

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
        raise InvalidInputError(f"kms_key must be the ARN of a key, not {key!r}; IAM policies do not accept aliases")
    return {"Sid": "ReadEncrypted", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}


def _repository(image: str | None, partition: str) -> str:
    if image is None:
        return f"arn:{partition}:ecr:*:*:repository/*"
    found = _ECR.fullmatch(image) if isinstance(image, str) else None
    if found is None:
        raise InvalidInputError(f"image must be an image URI in ECR, not {image!r}")
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
    """Return the policy that lets a caller invoke an endpoint, or only some of its models.

    Args:
        endpoint: EndpointName.
        target_models: Target models that the caller may invoke, with the wildcards `*` and `?`, such as `team_a/*`.
            Default: None, all models.
        region: AWS region. Default: `*`, all regions.
        account_id: AWS account id. Default: `*`.
        partition: AWS partition. Default: `aws`.

    Returns:
        The policy document. `target_models` become a condition on `sagemaker:TargetModel`.

    Raises:
        InvalidInputError: `endpoint` is not a valid name, or no target model can match one of the patterns.

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
            raise InvalidInputError(
                "target_models: an empty list would allow no model; leave it out to allow all models"
            )
        for one in patterns:
            if not isinstance(one, str) or not one or one.startswith(("/", "s3://")) or ".." in one:
                raise InvalidInputError(
                    f"target_models: no target model can match {one!r}",
                    hint="target models are keys relative to the endpoint's prefix, such as 'team_a/*'",
                )
        statement["Condition"] = {"StringLike": {"sagemaker:TargetModel": patterns}}
    return _document(statement)
