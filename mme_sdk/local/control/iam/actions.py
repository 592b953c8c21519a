"""The action, the resources and the condition keys of each operation, after AWS's service authorization reference.

https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.patterns import Context

__all__ = ["Check", "checks_of"]

_SAGEMAKER_NAMES = {"model": "ModelName", "endpoint-config": "EndpointConfigName", "endpoint": "EndpointName"}
# The operations that need the permission for a second resource.
_ALSO = {"CreateEndpoint": "endpoint-config", "UpdateEndpoint": "endpoint-config"}
_KINDS = {
    "Model": "model",
    "EndpointConfig": "endpoint-config",
    "Endpoint": "endpoint",
    "EndpointAsync": "endpoint",
    "EndpointWithResponseStream": "endpoint",
    "EndpointWeightsAndCapacities": "endpoint",
}
_VERBS = ("Create", "Describe", "Delete", "Update", "Invoke")
_PREFIXES = {"sagemaker-runtime": "sagemaker"}
_ALARM_OPERATIONS = (
    "PutMetricAlarm",
    "DescribeAlarms",
    "DescribeAlarmHistory",
    "SetAlarmState",
    "EnableAlarmActions",
    "DisableAlarmActions",
    "DeleteAlarms",
)
_DASHBOARD_OPERATIONS = ("DeleteDashboards", "GetDashboard", "PutDashboard")
_SCALING_TARGET_OPERATIONS = (
    "RegisterScalableTarget",
    "DeregisterScalableTarget",
    "PutScalingPolicy",
    "DeleteScalingPolicy",
    "PutScheduledAction",
    "DeleteScheduledAction",
)


@attrs.frozen(kw_only=True)
class Check:
    """A permission that a request needs.

    Attributes:
        action: Action, such as `sagemaker:CreateModel`.
        resource: ARN of the resource, or `*`.
        context: Values of the condition keys that belong to this request, with lower-case keys.
    """

    action: str
    resource: str
    context: Context = attrs.field(factory=dict)


def checks_of(
    service: str, operation: str, params: Mapping[str, Any], account: Account, find: Callable[[str, str], Any]
) -> list[Check]:
    """Return the permissions that a request needs.

    Args:
        service: botocore's name of the service.
        operation: Name of the operation.
        params: Its parameters.
        account: The account of the resources.
        find: Function that returns the document of a resource by kind and name, or None. The kinds are `model` and
            `scalable-target`.
    """
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    context = dict(_tag_keys(params))
    match service:
        case "sagemaker" | "sagemaker-runtime":
            resources = _sagemaker_resources(operation, params, account)
            context.update(_sagemaker_keys(operation, params, account, find))
        case "cloudwatch":
            resources = _alarms(operation, params, account)
            if operation == "PutMetricData":
                context["cloudwatch:namespace"] = [params["Namespace"]]
            if operation == "PutMetricAlarm" and params.get("AlarmActions"):
                context["cloudwatch:alarmactions"] = params["AlarmActions"]
        case "application-autoscaling":
            resources = _scalable_target(operation, params, account, find)
            if operation in _SCALING_TARGET_OPERATIONS:
                context["application-autoscaling:service-namespace"] = [params["ServiceNamespace"]]
                context["application-autoscaling:scalable-dimension"] = [params["ScalableDimension"]]
        case "logs":
            resources = [_log_resource(operation, params, account)]
        case "iam":
            resources = [_identity(params, account)]
        case "kms":
            key = params.get("KeyId")
            resources = ["*" if key is None else key if key.startswith("arn:") else account.arn_of("kms", f"key/{key}")]
        case "sts":
            resources = [params["RoleArn"]] if operation == "AssumeRole" else []
        case _:
            resources = ["*"]
    checks = [Check(action=action, resource=one, context=context) for one in resources]
    if service == "sagemaker" and operation.startswith("Create"):
        if params.get("Tags"):
            checks.append(Check(action="sagemaker:AddTags", resource=resources[0], context=context))
        if role := params.get("ExecutionRoleArn"):
            passed = {**context, "iam:passedtoservice": ["sagemaker.amazonaws.com"]}
            checks.append(Check(action="iam:PassRole", resource=role, context=passed))
    return checks


def _tag_keys(params: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    tags = params.get("Tags") or []
    pairs = list(tags.items()) if isinstance(tags, Mapping) else [(one["Key"], one["Value"]) for one in tags]
    for key, value in pairs:
        yield f"aws:requesttag/{key.lower()}", [value]
    if keys := [key for key, _ in pairs] or list(params.get("TagKeys", [])):
        yield "aws:tagkeys", keys


def _sagemaker_resources(operation: str, params: Mapping[str, Any], account: Account) -> list[str]:
    if "ResourceArn" in params:
        return [params["ResourceArn"]]
    for verb in _VERBS:
        kind = _KINDS.get(operation.removeprefix(verb)) if operation.startswith(verb) else None
        if kind is not None:
            kinds = [kind, *([_ALSO[operation]] if operation in _ALSO else [])]
            return [account.arn(one, params[_SAGEMAKER_NAMES[one]]) for one in kinds]
    return ["*"]


def _sagemaker_keys(
    operation: str, params: Mapping[str, Any], account: Account, find: Callable[[str, str], Any]
) -> Iterator[tuple[str, list[str]]]:
    if operation == "InvokeEndpoint":
        # With several containers, the key has the value of TargetContainerHostname:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/multi-container-security.html
        if target := params.get("TargetModel") or params.get("TargetContainerHostname"):
            yield "sagemaker:targetmodel", [target]
    elif operation == "CreateModel":
        yield from _network_keys([params])
    elif operation == "CreateEndpointConfig":
        variants = [*params.get("ProductionVariants", []), *params.get("ShadowProductionVariants", [])]
        models = list(dict.fromkeys(one["ModelName"] for one in variants if "ModelName" in one))
        serverless = [one["ServerlessConfig"] for one in variants if "ServerlessConfig" in one]
        keys = {
            "sagemaker:instancetypes": [one["InstanceType"] for one in variants if "InstanceType" in one],
            "sagemaker:acceleratortypes": [one["AcceleratorType"] for one in variants if "AcceleratorType" in one],
            "sagemaker:modelarn": [account.arn("model", one) for one in models],
            "sagemaker:volumekmskey": [params["KmsKeyId"]] if "KmsKeyId" in params else [],
            "sagemaker:serverlessmaxconcurrency": [str(one["MaxConcurrency"]) for one in serverless],
            "sagemaker:serverlessmemorysize": [str(one["MemorySizeInMB"]) for one in serverless],
        }
        yield from ((key, values) for key, values in keys.items() if values)
        yield from _network_keys([found for found in (find("model", one) for one in models) if found is not None])


def _network_keys(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    isolated = [str(one.get("EnableNetworkIsolation", False)).lower() for one in models]
    networks = [one["VpcConfig"] for one in models if "VpcConfig" in one]
    keys = {
        "sagemaker:networkisolation": list(dict.fromkeys(isolated)),
        "sagemaker:vpcsubnets": [one for network in networks for one in network["Subnets"]],
        "sagemaker:vpcsecuritygroupids": [one for network in networks for one in network["SecurityGroupIds"]],
    }
    yield from ((key, values) for key, values in keys.items() if values)


def _alarms(operation: str, params: Mapping[str, Any], account: Account) -> list[str]:
    if "ResourceARN" in params:
        return [params["ResourceARN"]]
    if operation in _DASHBOARD_OPERATIONS:
        named = params.get("DashboardNames") or [params.get("DashboardName", "*")]
        return [account.arn_of("cloudwatch", f"dashboard/{name}", regional=False) for name in named]
    if operation not in _ALARM_OPERATIONS:
        return ["*"]
    names = params.get("AlarmNames") or [params.get("AlarmName") or "*"]
    return [account.arn_of("cloudwatch", f"alarm:{name}") for name in names]


def _scalable_target(
    operation: str, params: Mapping[str, Any], account: Account, find: Callable[[str, str], Any]
) -> list[str]:
    if "ResourceARN" in params:
        return [params["ResourceARN"]]
    if operation not in _SCALING_TARGET_OPERATIONS:
        return ["*"]
    target = find("scalable-target", params["ResourceId"])
    # The service assigns the ARN. Until then only a wildcard matches.
    return [
        account.arn_of("application-autoscaling", "scalable-target/*")
        if target is None
        else target["ScalableTargetARN"]
    ]


def _log_resource(operation: str, params: Mapping[str, Any], account: Account) -> str:
    if operation == "DescribeLogGroups":
        return "*"
    given = params.get("logGroupIdentifier") or params.get("logGroupName") or "*"
    group = given.rpartition("log-group:")[2]
    stream = params.get("logStreamName", "") if operation == "GetLogEvents" else ""
    return account.arn_of("logs", f"log-group:{group}:log-stream:{stream}")


def _identity(params: Mapping[str, Any], account: Account) -> str:
    if "PolicyArn" in params and not ("RoleName" in params or "UserName" in params):
        return str(params["PolicyArn"])
    if "PolicySourceArn" in params:
        return str(params["PolicySourceArn"])
    for member, kind in (("RoleName", "role"), ("UserName", "user"), ("PolicyName", "policy")):
        if member in params:
            path = params.get("Path", "/")
            return account.arn_of("iam", f"{kind}{path}{params[member]}", regional=False)
    return "*"
