"""Application Auto Scaling of an endpoint's variants: read, attach and detach it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from mme_sdk import instance_types
from mme_sdk.aws import Flow
from mme_sdk.endpoints.operations.calls import (
    alarm_call,
    autoscaling_call,
    describe_if_exists,
    gather,
    none_if_missing,
    paginate,
)
from mme_sdk.endpoints.spec.autoscaling import Autoscaling, FromZero, Schedule, Tracking
from mme_sdk.endpoints.spec.scaling_requests import (
    ALARM_PREFIX,
    DIMENSION,
    PUT_ALARM,
    backlog_metric,
    from_zero_policy,
    policies_by_alarm,
    scaling_requests,
    scaling_target,
)
from mme_sdk.endpoints.state.description import ScalingDescription
from mme_sdk.errors import AccessDeniedError, EndpointNotFoundError, InvalidInputError, MMEError, NotFoundError

__all__ = [
    "Attached",
    "attach",
    "attach_all",
    "delete_alarms",
    "delete_left_alarms",
    "detach",
    "from_requests",
    "matches",
    "read",
    "read_back",
    "read_if_allowed",
]

_log = logging.getLogger(__name__)

_POLICY = (
    "PolicyName",
    "PolicyType",
    "StepScalingPolicyConfiguration",
    "TargetTrackingScalingPolicyConfiguration",
    "PredictiveScalingPolicyConfiguration",
)
_ACTION = ("ScheduledActionName", "Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")
_KNOWN_METRICS = {"CPUUtilization": "cpu", "GPUUtilization": "gpu"}
# GPUMemoryUtilization also reaches 100 percent for each GPU.
_COUNTED = {**_KNOWN_METRICS, "GPUMemoryUtilization": "gpu"}
_ALARM = (
    *("AlarmName", "AlarmDescription", "MetricName", "Namespace", "Dimensions", "Statistic", "Period"),
    *("EvaluationPeriods", "DatapointsToAlarm", "Threshold", "ComparisonOperator", "TreatMissingData"),
)
_TARGET = ("MinCapacity", "MaxCapacity", "SuspendedState")


@attrs.frozen(kw_only=True)
class Attached:
    """Autoscaling of one variant, as Application Auto Scaling describes it: enough to detach and attach it again.

    Attributes:
        variant: VariantName.
        target: The scalable target, as described.
        policies: Its scaling policies.
        actions: Its scheduled actions.
        alarms: The alarms that this SDK made for its policies.
        instance_type: Instance type that it was attached for; None if it is unknown.
    """

    variant: str
    target: Mapping[str, Any] = attrs.field(hash=False)
    policies: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False)
    actions: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False)
    alarms: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False)
    instance_type: str | None = None

    def described(self) -> ScalingDescription:
        """Return it as a part of `EndpointDescription`."""
        return ScalingDescription(
            min=int(self.target.get("MinCapacity", 0)),
            max=int(self.target.get("MaxCapacity", 0)),
            policies=self.policies,
            schedule=self.actions,
        )

    def settings(self) -> dict[str, Any]:
        """Return the members that can be sent, without those that the service adds to its answers."""
        return {
            "target": _only(_TARGET, self.target),
            "policies": tuple(_only(_POLICY, one) for one in self.policies),
            "actions": tuple(_only(_ACTION, one) for one in self.actions),
            "alarms": tuple(_only(_ALARM, one) for one in self.alarms),
        }

    def requests(self, endpoint: str) -> tuple[tuple[str, dict[str, Any]], ...]:
        """Return the requests that attach it, as (operation, parameters)."""
        target, own = scaling_target(endpoint, self.variant), self.settings()
        return (
            ("register_scalable_target", target | own["target"]),
            *(("put_scaling_policy", target | one) for one in own["policies"]),
            *((PUT_ALARM, one) for one in own["alarms"]),
            *(("put_scheduled_action", target | one) for one in own["actions"]),
        )

    def rescaled(self, instance_type: str | None) -> Attached:
        """Return the same autoscaling for another instance type.

        CloudWatch reports 100 percent for each core or GPU: a target of 120 is 60 % of two cores and 15 % of eight.
        Such targets are converted, so that they stay the same share of an instance.
        """
        if instance_type is None or self.instance_type in (None, instance_type):
            return attrs.evolve(self, instance_type=instance_type or self.instance_type)
        policies = tuple(_rescaled(one, str(self.instance_type), instance_type) for one in self.policies)
        return attrs.evolve(self, policies=policies, instance_type=instance_type)


def from_requests(
    variant: str, requests: Iterable[tuple[str, Mapping[str, Any]]], instance_type: str | None
) -> Attached:
    """Return what requests attach, in the form of a description."""
    by_operation: dict[str, list[Mapping[str, Any]]] = {}
    for operation, params in requests:
        by_operation.setdefault(operation, []).append(params)
    return Attached(
        variant=variant,
        target=by_operation["register_scalable_target"][0],
        policies=tuple(by_operation.get("put_scaling_policy", ())),
        actions=tuple(by_operation.get("put_scheduled_action", ())),
        alarms=tuple(by_operation.get(PUT_ALARM, ())),
        instance_type=instance_type,
    )


def _rescaled(policy: Mapping[str, Any], old: str, new: str) -> Mapping[str, Any]:
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
    metric = _metric_of(tracking.get("CustomizedMetricSpecification") or {})
    if metric is None or "TargetValue" not in tracking:
        return policy
    before, after = instance_types.units(old, metric), instance_types.units(new, metric)
    if not before or not after:
        _log.warning(
            "policy %s tracks %s of all cores; its target %g was set for %s and cannot be converted to %s",
            *(policy.get("PolicyName"), metric, tracking["TargetValue"], old, new),
        )
        return policy
    changed = {**tracking, "TargetValue": tracking["TargetValue"] * after / before}
    return {**policy, "TargetTrackingScalingPolicyConfiguration": changed}


def _metric_of(custom: Mapping[str, Any]) -> str | None:
    """Return `cpu` or `gpu` for a metric that reaches 100 percent for each core or GPU; None for other metrics."""
    if custom.get("Namespace") != "/aws/sagemaker/Endpoints":
        return None
    return _COUNTED.get(str(custom.get("MetricName")))


def _only(keys: Iterable[str], described: Mapping[str, Any]) -> dict[str, Any]:
    return {key: described[key] for key in keys if described.get(key) is not None}


def read(endpoint: str, variants: Sequence[str]) -> Flow[dict[str, Attached]]:
    """Return the attached autoscaling by variant."""
    if not variants:
        return {}
    by_resource = {scaling_target(endpoint, one)["ResourceId"]: one for one in variants}
    targets = yield from paginate(
        autoscaling_call(
            "describe_scalable_targets",
            endpoint,
            ServiceNamespace="sagemaker",
            ResourceIds=list(by_resource),
            ScalableDimension=DIMENSION,
        ),
        "ScalableTargets",
    )
    # Ignore targets of other endpoints, should the service return any.
    ours = [one for one in targets if one.get("ResourceId") in by_resource]
    found = yield from gather([_details(endpoint, by_resource[one["ResourceId"]], one) for one in ours])
    return {one.variant: one for one in found}


def read_if_allowed(endpoint: str, variants: Sequence[str]) -> Flow[tuple[dict[str, Attached], str | None]]:
    """Return the attached autoscaling and None, or nothing and the reason why it could not be read.

    A caller without permissions for Application Auto Scaling can describe and delete endpoints all the same.
    """
    try:
        return (yield from read(endpoint, variants)), None
    except (AccessDeniedError, InvalidInputError) as error:
        return {}, f"autoscaling could not be read: {error.message}"


def _details(endpoint: str, variant: str, target: Mapping[str, Any]) -> Flow[Attached]:
    where = scaling_target(endpoint, variant)
    policies = yield from paginate(autoscaling_call("describe_scaling_policies", endpoint, **where), "ScalingPolicies")
    actions = yield from paginate(autoscaling_call("describe_scheduled_actions", endpoint, **where), "ScheduledActions")
    alarms = yield from _alarms(endpoint, variant, policies)
    return Attached(variant=variant, target=target, policies=tuple(policies), actions=tuple(actions), alarms=alarms)


def _alarms(endpoint: str, variant: str, policies: Sequence[Mapping[str, Any]]) -> Flow[tuple[Mapping[str, Any], ...]]:
    """Return this SDK's alarms of step policies, as far as they trigger these policies."""
    arns = {one.get("PolicyName"): one.get("PolicyARN") for one in policies}
    wanted = {alarm: arns[policy] for alarm, policy in policies_by_alarm(endpoint, variant).items() if policy in arns}
    if not wanted:
        return ()
    answer = yield alarm_call("describe_alarms", endpoint, AlarmNames=list(wanted))
    found = answer.get("MetricAlarms", [])
    return tuple(one for one in found if wanted.get(one.get("AlarmName")) in one.get("AlarmActions", ()))


def attach(endpoint: str, variant: str, requests: Iterable[tuple[str, dict[str, Any]]]) -> Flow[None]:
    """Send the requests that attach autoscaling to a variant. Each replaces a policy or action of the same name.

    Raises:
        EndpointNotFoundError: Another client has deleted the endpoint; the autoscaling is detached again.
    """
    failure: MMEError | None = None
    arns: dict[str, str] = {}
    alarms: list[Mapping[str, Any]] = []
    try:
        for operation, params in requests:
            if operation == PUT_ALARM:
                alarms.append(params)
                actions = [arns[policies_by_alarm(endpoint, variant)[params["AlarmName"]]]]
                yield alarm_call(operation, endpoint, **params, AlarmActions=actions)
                continue
            answer = yield autoscaling_call(operation, endpoint, **params)
            if operation == "put_scaling_policy":
                arns[params["PolicyName"]] = answer.get("PolicyARN", "")
    except MMEError as error:
        failure = error
    # A client that deletes the endpoint detaches autoscaling at the end. It cannot see what is attached after that.
    seen = yield from describe_if_exists(endpoint)
    if seen is None or seen.status == "Deleting":
        yield from detach(endpoint, [Attached(variant=variant, target={}, alarms=tuple(alarms))])
        raise EndpointNotFoundError(
            f"endpoint {endpoint} was deleted by another client", endpoint=endpoint
        ) from failure
    if failure is not None:
        raise failure


def detach(endpoint: str, attached: Iterable[Attached]) -> Flow[None]:
    """Detach autoscaling. Deregistering the target also deletes its policies and scheduled actions.

    This SDK's alarms are deleted first: while the target is there, a further call finds what is left.
    """
    for one in attached:
        yield from delete_alarms(endpoint, [alarm["AlarmName"] for alarm in one.alarms])
        try:
            yield autoscaling_call("deregister_scalable_target", endpoint, **scaling_target(endpoint, one.variant))
        except NotFoundError:
            continue


def delete_alarms(endpoint: str, names: Sequence[str]) -> Flow[None]:
    """Delete alarms. Those that do not exist are ignored."""
    if names:
        yield from none_if_missing(alarm_call("delete_alarms", endpoint, AlarmNames=list(names)))


def delete_left_alarms(endpoint: str) -> Flow[None]:
    """Delete the alarms that this SDK made for an endpoint which does not exist any more. Errors are logged."""
    try:
        answer = yield alarm_call("describe_alarms", endpoint, AlarmNamePrefix=f"{ALARM_PREFIX}{endpoint}/")
        yield from delete_alarms(endpoint, [one["AlarmName"] for one in answer.get("MetricAlarms", [])])
    except MMEError as error:
        _log.info("alarms of endpoint %s could not be read or deleted: %s", endpoint, error.message)


def attach_all(endpoint: str, attached: Iterable[Attached]) -> Flow[None]:
    """Attach autoscaling to its variants."""
    for one in attached:
        yield from attach(endpoint, one.variant, one.requests(endpoint))


def matches(
    endpoint: str, variant: str, instance_type: str | None, wanted: Autoscaling, attached: Attached | None
) -> bool:
    """Return whether the attached autoscaling of a variant is that of its spec."""
    if attached is None:
        return False
    requests = scaling_requests(endpoint, variant, instance_type, wanted)
    there = attached.requests(endpoint)
    return len(requests) == len(there) and all(
        any(operation == other and _within(params, described) for other, described in there)
        for operation, params in requests
    )


def _within(wanted: Any, described: Any) -> bool:
    """Return whether all wanted members are described; the service may describe more."""
    if isinstance(wanted, Mapping):
        return isinstance(described, Mapping) and all(
            key in described and _within(value, described[key]) for key, value in wanted.items()
        )
    return bool(wanted == described)


def read_back(endpoint: str, instance_type: str | None, attached: Attached) -> Autoscaling | None:
    """Return the settings that attach exactly this autoscaling; None if there are none."""
    by_name = {one.get("PolicyName"): one for one in attached.policies}
    from_zero = by_name.pop(from_zero_policy(endpoint, attached.variant), None)
    names = [f"{endpoint}-{attached.variant}", *(f"{endpoint}-{attached.variant}-{n}" for n in range(2, 11))]
    policies = [by_name[name] for name in names if name in by_name]
    if not policies:
        return None
    first, *more = policies
    try:
        found = Autoscaling(
            min=attached.target["MinCapacity"],
            max=attached.target["MaxCapacity"],
            **_read_tracking(endpoint, instance_type, first),
            more=tuple(Tracking(**_read_tracking(endpoint, instance_type, one)) for one in more),
            from_zero=_read_from_zero(from_zero, attached.alarms),
            schedule=tuple(
                Schedule(
                    name=one["ScheduledActionName"],
                    when=one["Schedule"],
                    timezone=one.get("Timezone"),
                    min=one.get("ScalableTargetAction", {}).get("MinCapacity"),
                    max=one.get("ScalableTargetAction", {}).get("MaxCapacity"),
                )
                for one in attached.actions
            ),
        )
    except (InvalidInputError, KeyError, IndexError):
        return None
    return found if matches(endpoint, attached.variant, instance_type, found, attached) else None


def _read_from_zero(policy: Mapping[str, Any] | None, alarms: Sequence[Mapping[str, Any]]) -> FromZero | None:
    if policy is None:
        return None
    steps = policy["StepScalingPolicyConfiguration"]
    return FromZero(
        instances=steps["StepAdjustments"][0]["ScalingAdjustment"],
        minutes=alarms[0]["EvaluationPeriods"],
        cooldown=steps["Cooldown"],
    )


def _read_tracking(endpoint: str, instance_type: str | None, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a target tracking policy."""
    policy = described.get("TargetTrackingScalingPolicyConfiguration") or {}
    custom = policy.get("CustomizedMetricSpecification")
    metric: str | Mapping[str, Any] = "invocations"
    target = policy.get("TargetValue")
    if custom is not None and target is not None:
        name = custom.get("MetricName", "") if custom.get("Namespace") == "/aws/sagemaker/Endpoints" else ""
        known = _KNOWN_METRICS.get(name) if instance_type is not None else None
        metric = custom if known is None else known
        if custom == backlog_metric(endpoint):
            metric = "backlog"
        if known is not None and instance_type is not None:
            target = target / (instance_types.units(instance_type, known) or 1)
    return {
        "target": target,
        "metric": metric,
        "scale_in_cooldown": policy.get("ScaleInCooldown", 300),
        "scale_out_cooldown": policy.get("ScaleOutCooldown", 300),
        "scale_in": not policy.get("DisableScaleIn", False),
    }
