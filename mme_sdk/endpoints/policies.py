"""Minimal IAM policy documents: for an execution role, and for callers that deploy, invoke or register models.

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

__all__ = ["Document", "deployer", "execution_role", "invoker", "registry", "trust"]

Document = dict[str, Any]
"""An IAM policy document, ready for `json.dumps`."""

_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^:@]+)(?:[:@].+)?")


def _document(*statements: dict[str, Any] | None) -> Document:
    return {"Version": "2012-10-17", "Statement": [one for one in statements if one is not None]}


_INVOKE = (
    "sagemaker:InvokeEndpoint",
    "sagemaker:InvokeEndpointAsync",
    "sagemaker:InvokeEndpointWithResponseStream",
)
_KINDS = ("Model", "EndpointConfig", "Endpoint")


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
        The policy document. `target_models` become a condition on `sagemaker:TargetModel`, and then the policy does not
        allow streams and asynchronous requests, which have no target model.

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
        "Action": list(_INVOKE) if target_models is None else _INVOKE[0],
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


def deployer(
    role: str,
    *,
    names: str = "*",
    autoscaling: bool = False,
    region: str = "*",
    account_id: str = "*",
    partition: str = "aws",
) -> Document:
    """Return the policy that lets a caller create, update, scale and delete endpoints.

    Args:
        role: ARN of the execution role that the caller may pass to SageMaker.
        names: Names of the endpoints, with the wildcards `*` and `?`, such as `team-a-*`. The names of their models and
            configurations begin with the name of the endpoint, so end the pattern with `*`. Default: `*`, all.
        autoscaling: Whether the caller may also change autoscaling and its alarms. Default: False.
        region: AWS region. Default: `*`, all regions.
        account_id: AWS account id. Default: `*`.
        partition: AWS partition. Default: `aws`.

    Returns:
        The policy document. It includes the metrics of endpoints, and the List permissions, which SageMaker does not
        limit to names.

    Raises:
        InvalidInputError: `role` is not the ARN of a role, or no name can match `names`.

    Example:
        >>> document = deployer("arn:aws:iam::123456789012:role/sagemaker", names="team-a-*")
        >>> [one["Sid"] for one in document["Statement"]]
        ['Deploy', 'List', 'PassRole', 'ReadMetrics']
    """
    if not isinstance(role, str) or not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+", role):
        raise InvalidInputError(f"role must be the ARN of a role, not {role!r}")
    if not isinstance(names, str) or not re.fullmatch(r"[A-Za-z0-9*?-]+", names):
        raise InvalidInputError(f"names: no endpoint can have a name that matches {names!r}")
    verbs = [f"sagemaker:{verb}{kind}" for verb in ("Create", "Describe", "Delete") for kind in _KINDS]
    kinds = ("model", "endpoint-config", "endpoint")
    where = f"arn:{partition}:sagemaker:{region}:{account_id}"
    return _document(
        {
            "Sid": "Deploy",
            "Effect": "Allow",
            "Action": [
                *verbs,
                "sagemaker:UpdateEndpoint",
                "sagemaker:UpdateEndpointWeightsAndCapacities",
                "sagemaker:AddTags",
                "sagemaker:ListTags",
                "sagemaker:DeleteTags",
            ],
            # SageMaker writes names in ARNs in lower case.
            "Resource": [f"{where}:{kind}/{one}" for kind in kinds for one in dict.fromkeys((names, names.lower()))],
        },
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": [f"sagemaker:List{kind}s" for kind in _KINDS],
            "Resource": "*",
        },
        {
            "Sid": "PassRole",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": role,
            "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        },
        {
            "Sid": "ReadMetrics",
            "Effect": "Allow",
            "Action": ["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"],
            "Resource": "*",
        },
        *(_scaling(partition, region, account_id) if autoscaling else ()),
    )


def _scaling(partition: str, region: str, account_id: str) -> tuple[dict[str, Any], ...]:
    return (
        {
            "Sid": "Scale",
            "Effect": "Allow",
            "Action": [
                "application-autoscaling:RegisterScalableTarget",
                "application-autoscaling:DeregisterScalableTarget",
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:PutScalingPolicy",
                "application-autoscaling:DeleteScalingPolicy",
                "application-autoscaling:DescribeScalingPolicies",
                "application-autoscaling:PutScheduledAction",
                "application-autoscaling:DeleteScheduledAction",
                "application-autoscaling:DescribeScheduledActions",
                "application-autoscaling:DescribeScalingActivities",
                "application-autoscaling:TagResource",
            ],
            "Resource": "*",
        },
        {
            "Sid": "Alarms",
            "Effect": "Allow",
            "Action": ["cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"],
            "Resource": f"arn:{partition}:cloudwatch:{region}:{account_id}:alarm:*",
        },
    )


def registry(prefix: str, *, write: bool = False, partition: str = "aws") -> Document:
    """Return the policy that lets a caller read, or also change, the models below a prefix.

    Args:
        prefix: S3 prefix of the registry.
        write: Whether the caller may also register, copy and delete models and move aliases. Default: False.
        partition: AWS partition. Default: `aws`.

    Returns:
        The policy document.

    Raises:
        InvalidInputError: `prefix` is not an S3 address.

    Example:
        >>> [one["Sid"] for one in registry("s3://ml-models/prod/", write=True)["Statement"]]
        ['ReadModels', 'ListModels', 'WriteModels', 'ListUploads']
    """
    where = validators.s3("prefix", prefix, 1024).as_prefix()
    bucket = f"arn:{partition}:s3:::{where.bucket}"
    objects = f"{bucket}/{where.key}*"
    listing: dict[str, Any] = {"Sid": "ListModels", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket}
    uploads = {**listing, "Sid": "ListUploads", "Action": "s3:ListBucketMultipartUploads"}
    if where.key:
        listing["Condition"] = uploads["Condition"] = {"StringLike": {"s3:prefix": [f"{where.key}*"]}}
    change = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    return _document(
        {"Sid": "ReadModels", "Effect": "Allow", "Action": "s3:GetObject", "Resource": objects},
        listing,
        {"Sid": "WriteModels", "Effect": "Allow", "Action": change, "Resource": objects} if write else None,
        uploads if write else None,
    )
