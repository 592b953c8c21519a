"""Application Auto Scaling for SageMaker variants: targets, policies, scheduled actions and activities."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.autoscaling.rules import check_action, check_policy, check_tags
from mme_sdk.local.control.autoscaling.schedules import Schedule
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["AutoScaling", "variant_of"]

_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_IDENTITY = ("ServiceNamespace", "ResourceId", "ScalableDimension")
_SERVICE_ROLE = (
    "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_MAX_ACTIVITIES = 500
_INVOCATIONS = "SageMakerVariantInvocationsPerInstance"


class AutoScaling:
    """The `application-autoscaling` service.

    Args:
        store: Holds targets, policies, scheduled actions and activities.
        account: The account of the targets.
        alarms: Holds the alarms of policies.
        now: Function that returns the current time.
        instance_count: Function that returns the desired number of instances of a variant, or None if it does not run.
        min_instance_count: Function that returns the smallest number of instances that a variant of an endpoint can
            have.
    """

    service = "application-autoscaling"

    def __init__(
        self,
        store: Store,
        account: Account,
        alarms: Alarms,
        now: Callable[[], datetime],
        instance_count: Callable[[str, str], int | None],
        min_instance_count: Callable[[str], int] = lambda _endpoint: 1,
    ) -> None:
        self._store = store
        self._account = account
        self._alarms = alarms
        self._now = now
        self._instance_count = instance_count
        self._min_instance_count = min_instance_count
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "DeleteScalingPolicy": self._delete_policy,
            "DeleteScheduledAction": self._delete_action,
            "DeregisterScalableTarget": self._deregister,
            "DescribeScalableTargets": self._describe_targets,
            "DescribeScalingActivities": self._describe_activities,
            "DescribeScalingPolicies": self._describe_policies,
            "DescribeScheduledActions": self._describe_actions,
            "ListTagsForResource": self._list_tags,
            "PutScalingPolicy": self._put_policy,
            "PutScheduledAction": self._put_action,
            "RegisterScalableTarget": self._register,
            "TagResource": self._tag,
            "UntagResource": self._untag,
        }

    def scaled_variants(self, endpoint: str) -> set[str]:
        """Return the variants of an endpoint that are registered as scalable targets."""
        found = (variant_of(target["ResourceId"]) for _, target in self._store.all("scalable-target"))
        return {variant for name, variant in found if name == endpoint}

    def record_activity(self, target: Mapping[str, Any], cause: str, count: int) -> None:
        """Store an activity for DescribeScalingActivities."""
        now, activity_id = self._now(), str(uuid.uuid4())
        activity = {
            "ActivityId": activity_id,
            **{key: target[key] for key in _IDENTITY},
            "Description": f"Setting desired instance count to {count}.",
            "Cause": cause,
            "StartTime": now,
            "EndTime": now,
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired instance count to {count}.",
        }
        self._store.put("scaling-activity", f"{now.timestamp():020.6f}-{activity_id}", activity)
        for name, _ in list(self._store.all("scaling-activity"))[:-_MAX_ACTIVITIES]:
            self._store.delete("scaling-activity", name)

    def _register(self, params: dict[str, Any]) -> dict[str, Any]:
        _check_dimension(params)
        endpoint, variant = variant_of(params["ResourceId"])
        if self._instance_count(endpoint, variant) is None:
            text = f"No variant {variant} of endpoint {endpoint} is in service: {params['ResourceId']}."
            raise ApiError("ValidationException", text)
        key = _key(params)
        kept = self._store.get("scalable-target", key)
        if kept is None and not {"MinCapacity", "MaxCapacity"} <= params.keys():
            raise ApiError(
                "ValidationException", "MinCapacity and MaxCapacity are required to register a scalable target."
            )
        suspended = {
            "DynamicScalingInSuspended": False,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        }
        new = {
            "CreationTime": self._now(),
            "ScalableTargetARN": self._account.arn_of("application-autoscaling", f"scalable-target/{uuid.uuid4().hex}"),
            "RoleARN": self._account.arn_of("iam", _SERVICE_ROLE, regional=False),
        }
        tags = params.pop("Tags", None)
        if tags and kept is not None:
            raise ApiError("ValidationException", "Tags can be given only when a scalable target is created.")
        check_tags(tags or {})
        target: dict[str, Any] = (kept or new) | params
        target["SuspendedState"] = suspended | target.get("SuspendedState", {})
        self._check_capacity(params["ResourceId"], target)
        self._store.put("scalable-target", key, target)
        if tags:
            self._store.put("tags", target["ScalableTargetARN"], tags)
        return {"ScalableTargetARN": target["ScalableTargetARN"]}

    def _check_capacity(self, resource_id: str, limits: Mapping[str, Any]) -> None:
        least = self._min_instance_count(variant_of(resource_id)[0])
        low, high = limits.get("MinCapacity"), limits.get("MaxCapacity")
        if low is not None and low < least:
            text = f"MinCapacity must be at least {least}"
            if low == 0:
                text += ": only variants of asynchronous endpoints can scale to 0 instances"
            raise ApiError("ValidationException", f"{text}.")
        if high is not None and high < 1:
            raise ApiError("ValidationException", f"MaxCapacity must be at least 1, not {high}.")
        if low is not None and high is not None and low > high:
            raise ApiError("ValidationException", f"MinCapacity ({low}) must be at most MaxCapacity ({high}).")

    def _describe_targets(self, params: dict[str, Any]) -> dict[str, Any]:
        wanted = params.get("ResourceIds")
        found = [
            target
            for _, target in self._store.all("scalable-target")
            if _matches(target, params) and (not wanted or target["ResourceId"] in wanted)
        ]
        return paginate(found, params, "ScalableTargets", default=50, code="InvalidNextTokenException")

    def _deregister(self, params: dict[str, Any]) -> dict[str, Any]:
        target = self._target(params)
        for kind in ("scaling-policy", "scheduled-action"):
            for name, document in list(self._store.all(kind)):
                if _key(document) == _key(params):
                    self._delete_with_alarms(kind, name, document)
        self._store.delete("scalable-target", _key(params))
        self._store.delete("tags", target["ScalableTargetARN"])
        return {}

    def _put_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        target = self._target(params)
        name = f"{_key(params)}/{params['PolicyName']}"
        kept = self._store.get("scaling-policy", name)
        params.setdefault("PolicyType", kept["PolicyType"] if kept else "StepScaling")
        policy_id = str(uuid.uuid4())
        where = f"resource/sagemaker/{params['ResourceId']}:policyName/{params['PolicyName']}"
        arn = self._account.arn_of("autoscaling", f"scalingPolicy:{policy_id}:{where}")
        policy = (kept or {"PolicyARN": arn, "CreationTime": self._now()}) | params
        check_policy(policy, kept)
        tracking = policy["PolicyType"] == "TargetTrackingScaling"
        metric = _tracked(target, policy["TargetTrackingScalingPolicyConfiguration"]) if tracking else {}
        if kept is not None:
            self._delete_alarms(kept)
        # The caller creates the alarms of step scaling, with the ARN of the policy as action.
        policy["Alarms"] = self._tracking_alarms(target, policy, metric) if tracking else []
        self._store.put("scaling-policy", name, policy)
        return {"PolicyARN": policy["PolicyARN"], "Alarms": policy["Alarms"]}

    def _tracking_alarms(
        self, target: Mapping[str, Any], policy: Mapping[str, Any], metric: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        """Create the alarms of target tracking: above the target for 3 minutes, and 10 % below it for 15 minutes.

        Source: https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
        """
        config = policy["TargetTrackingScalingPolicyConfiguration"]
        alarms = []
        sides = [("AlarmHigh", "GreaterThanThreshold", 3, 1.0)]
        if not config.get("DisableScaleIn"):
            sides.append(("AlarmLow", "LessThanThreshold", 15, 0.9))
        for side, operator, periods, factor in sides:
            name = f"TargetTracking-{target['ResourceId']}-{side}-{uuid.uuid4()}"
            arn = self._alarms.put_alarm(
                AlarmName=name,
                ComparisonOperator=operator,
                EvaluationPeriods=periods,
                Period=60,
                Threshold=config["TargetValue"] * factor,
                AlarmActions=[policy["PolicyARN"]],
                AlarmDescription=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy['PolicyARN']}.",
                # Without traffic the metric is missing, as on AWS, and the variant is not scaled in.
                TreatMissingData="missing",
                **metric,
            )
            alarms.append({"AlarmName": name, "AlarmARN": arn})
        return alarms

    def _describe_policies(self, params: dict[str, Any]) -> dict[str, Any]:
        names = params.get("PolicyNames")
        found = [
            policy if policy["Alarms"] else policy | {"Alarms": self._alarms.triggering(policy["PolicyARN"])}
            for _, policy in self._store.all("scaling-policy")
            if _matches(policy, params) and (names is None or policy["PolicyName"] in names)
        ]
        return paginate(found, params, "ScalingPolicies", default=50, code="InvalidNextTokenException")

    def _delete_policy(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._delete("scaling-policy", f"{_key(params)}/{params['PolicyName']}")

    def _put_action(self, params: dict[str, Any]) -> dict[str, Any]:
        self._target(params)
        name = f"{_key(params)}/{params['ScheduledActionName']}"
        kept = self._store.get("scheduled-action", name)
        if kept is None and "Schedule" not in params:
            raise ApiError("ValidationException", "Schedule is required for a new scheduled action.")
        where = f"resource/sagemaker/{params['ResourceId']}:scheduledActionName/{params['ScheduledActionName']}"
        arn = self._account.arn_of("autoscaling", f"scheduledAction:{uuid.uuid4()}:{where}")
        action = (kept or {"ScheduledActionARN": arn, "CreationTime": self._now()}) | params
        self._check_capacity(params["ResourceId"], action.get("ScalableTargetAction", {}))
        Schedule.parse(action["Schedule"], action.get("Timezone"))
        check_action(action)
        self._store.put("scheduled-action", name, action)
        return {}

    def _describe_actions(self, params: dict[str, Any]) -> dict[str, Any]:
        names = params.get("ScheduledActionNames")
        found = [
            action
            for _, action in self._store.all("scheduled-action")
            if _matches(action, params) and (names is None or action["ScheduledActionName"] in names)
        ]
        return paginate(found, params, "ScheduledActions", default=50, code="InvalidNextTokenException")

    def _delete_action(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._delete("scheduled-action", f"{_key(params)}/{params['ScheduledActionName']}")

    def _describe_activities(self, params: dict[str, Any]) -> dict[str, Any]:
        found = [one for _, one in self._store.all("scaling-activity") if _matches(one, params)]
        return paginate(found[::-1], params, "ScalingActivities", default=50, code="InvalidNextTokenException")

    def _list_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self._tags_of(params["ResourceARN"])}

    def _tag(self, params: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags_of(params["ResourceARN"]) | params["Tags"]
        check_tags(tags)
        self._store.put("tags", params["ResourceARN"], tags)
        return {}

    def _untag(self, params: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags_of(params["ResourceARN"])
        kept = {key: value for key, value in tags.items() if key not in params["TagKeys"]}
        self._store.put("tags", params["ResourceARN"], kept)
        return {}

    def _tags_of(self, arn: str) -> dict[str, Any]:
        if all(target["ScalableTargetARN"] != arn for _, target in self._store.all("scalable-target")):
            raise ApiError("ResourceNotFoundException", f"No scalable target found for ARN: {arn}")
        return self._store.get("tags", arn) or {}

    def _target(self, params: Mapping[str, Any]) -> dict[str, Any]:
        target = self._store.get("scalable-target", _key(params))
        if target is None:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {params['ServiceNamespace']}, resource ID: "
                f"{params['ResourceId']}, scalable dimension: {params['ScalableDimension']}",
            )
        return target

    def _delete(self, kind: str, name: str) -> dict[str, Any]:
        document = self._store.get(kind, name)
        if document is None:
            raise ApiError("ObjectNotFoundException", f"No {kind.replace('-', ' ')} found: {json.dumps(name)}")
        self._delete_with_alarms(kind, name, document)
        return {}

    def _delete_with_alarms(self, kind: str, name: str, document: Mapping[str, Any]) -> None:
        self._delete_alarms(document)
        self._store.delete(kind, name)

    def _delete_alarms(self, policy: Mapping[str, Any]) -> None:
        for alarm in policy.get("Alarms", []):
            self._alarms.delete_alarm(alarm["AlarmName"])


def variant_of(resource_id: str) -> tuple[str, str]:
    """Return endpoint and variant of a resource id `endpoint/<endpoint>/variant/<variant>`.

    Raises:
        ApiError: The resource id has another format.
    """
    parts = resource_id.split("/")
    if len(parts) != 4 or parts[0] != "endpoint" or parts[2] != "variant":
        raise ApiError("ValidationException", f"Unsupported resource ID: {resource_id}")
    return parts[1], parts[3]


def _check_dimension(params: Mapping[str, Any]) -> None:
    if params["ServiceNamespace"] != "sagemaker" or params["ScalableDimension"] != _DIMENSION:
        text = f"Only {_DIMENSION} is supported by the embedded SageMaker, not {params['ScalableDimension']}."
        raise ApiError("ValidationException", text)


def _key(document: Mapping[str, Any]) -> str:
    return "/".join(document[key] for key in _IDENTITY)


def _matches(document: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    return all(params.get(key) in (None, document[key]) for key in _IDENTITY)


def _tracked(target: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metric of a target tracking policy as parameters of PutMetricAlarm."""
    endpoint, variant = variant_of(target["ResourceId"])
    if predefined := config.get("PredefinedMetricSpecification"):
        if predefined["PredefinedMetricType"] != _INVOCATIONS:
            kind = predefined["PredefinedMetricType"]
            raise ApiError("ValidationException", f"{kind} is not supported by the embedded SageMaker.")
        return {
            "Namespace": "AWS/SageMaker",
            "MetricName": "InvocationsPerInstance",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
            "Statistic": "Sum",
        }
    custom = config.get("CustomizedMetricSpecification", {})
    if not {"Namespace", "MetricName", "Statistic"} <= custom.keys():
        raise ApiError("ValidationException", "A customized metric needs Namespace, MetricName and Statistic.")
    return {key: custom[key] for key in ("Namespace", "MetricName", "Statistic", "Dimensions", "Unit") if key in custom}
