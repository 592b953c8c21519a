"""Changes in place: instance counts, weights, autoscaling and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk._validation import as_int, check_number
from mme_sdk.aws import Flow, noting
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.autoscaling import backup, scaling_calls
from mme_sdk.endpoints.operations.calls import Now, autoscaling_call, describe_endpoint, sagemaker_call
from mme_sdk.endpoints.operations.wait import until_settled
from mme_sdk.endpoints.spec import validators
from mme_sdk.endpoints.spec.autoscaling import Autoscaling, check_metric, check_scales
from mme_sdk.endpoints.spec.scaling_requests import scaling_requests, scaling_target
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state.describe import Live, read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.diff import Change, tag_changes
from mme_sdk.errors import ConflictError, InvalidInputError

__all__ = ["autoscale", "change_in_place", "resized", "scale", "set_weights"]


def scale(
    name: str, count: int, *, variant: str | None, timeout: float, now: Now, progress: Reporter | None
) -> Flow[EndpointDescription]:
    """Set a variant's instance count and wait until the instances run.

    Raises:
        InvalidInputError: There is no such variant, it is serverless, or the count is outside autoscaling's limits.
    """
    live, chosen = yield from _scalable(name, count, variant)
    sizes = {chosen: {"DesiredInstanceCount": as_int(count)}}
    return (yield from _resize(live.description, sizes, timeout=timeout, now=now, progress=progress))


def resized(name: str, count: int, *, variant: str | None) -> Flow[EndpointSpec]:
    """Return the spec of an endpoint with another instance count of a variant.

    Raises:
        InvalidInputError: As for `scale`; or a spec cannot describe the endpoint.
    """
    live, chosen = yield from _scalable(name, count, variant)
    spec = live.spec()
    variants = (attrs.evolve(one, instance_count=as_int(count)) if one.name == chosen else one for one in spec.variants)
    return attrs.evolve(spec, variants=tuple(variants))


def _scalable(name: str, count: int, variant: str | None) -> Flow[tuple[Live, str]]:
    """Return an endpoint and its variant that can get an instance count."""
    check_number("instance_count", count, at_least=0, at_most=10_000, integer=True)
    live = yield from read_live(name)
    if count == 0 and "AsyncInferenceConfig" not in live.config:
        raise InvalidInputError("instance_count: only asynchronous endpoints can have 0 instances", endpoint=name)
    chosen = _choose(live, variant)
    _instances_of(live, chosen)
    attached = (live.attached or {}).get(chosen)
    if attached is not None:
        limits = attached.described()
        if not limits.min <= count <= limits.max:
            raise InvalidInputError(
                f"instance_count: autoscaling keeps {name}/{chosen} between {limits.min} and {limits.max}, not {count}",
                hint="change it with endpoint.autoscale(…), or detach it with endpoint.autoscale(None)",
                endpoint=name,
            )
    return live, chosen


def set_weights(
    name: str, weights: Mapping[str, float], *, timeout: float, now: Now, progress: Reporter | None
) -> Flow[EndpointDescription]:
    """Set the variants' shares of the traffic and wait until they are in effect.

    Raises:
        ConflictError: The endpoint is being created and has no variants yet.
        InvalidInputError: There is no such variant, or a weight is below zero.
    """
    validators.members("weights", weights)
    seen = yield from describe_endpoint(name)
    known = [one.name for one in seen.variants]
    if not known:
        raise _no_variants_yet(seen)
    for variant, weight in weights.items():
        if variant not in known:
            raise InvalidInputError(f"weights: {name} has no variant {variant!r}; it has {', '.join(known)}")
        check_number(f"the weight of {variant}", weight, at_least=0)
    sizes = {variant: {"DesiredWeight": float(weight)} for variant, weight in weights.items()}
    return (yield from _resize(seen, sizes, timeout=timeout, now=now, progress=progress))


def autoscale(name: str, wanted: Autoscaling | None, *, variant: str | None) -> Flow[None]:
    """Attach autoscaling to a variant in place of what is attached; None detaches it.

    Raises:
        InvalidInputError: There is no such variant, it has no instances, or the policy would never scale it.
    """
    if wanted is not None and not isinstance(wanted, Autoscaling):
        raise InvalidInputError(f"autoscaling must be Autoscaling(…) or None, not {wanted!r}", endpoint=name)
    live = yield from read_live(name)
    chosen = _choose(live, variant)
    if wanted is None:
        attached = (live.attached or {}).get(chosen, scaling_calls.Attached(variant=chosen, target={}))
        yield from scaling_calls.detach(name, [attached])
    else:
        kind = _instances_of(live, chosen)
        check_metric(wanted, kind)
        check_scales(wanted, asynchronous="AsyncInferenceConfig" in live.config)
        yield from _replace(live, name, chosen, kind, wanted)
    # This replaces autoscaling that an update has detached, or that a creation has not attached yet.
    mine = [key for key in live.own_tags if backup.is_backup_tag(key, chosen)]
    yield from backup.remove(name, live.description.arn, mine)


def _replace(live: Live, name: str, variant: str, instance_type: str | None, wanted: Autoscaling) -> Flow[None]:
    with noting(f"autoscaling of {name}/{variant} may be changed only in part; endpoint.autoscale() again changes it"):
        yield from _replace_parts(live, name, variant, instance_type, wanted)


def _replace_parts(live: Live, name: str, variant: str, instance_type: str | None, wanted: Autoscaling) -> Flow[None]:
    requests = scaling_requests(name, variant, instance_type, wanted)
    attached = (live.attached or {}).get(variant)
    if attached is not None:
        target = scaling_target(name, variant)
        kept = {
            params.get("PolicyName") or params.get("ScheduledActionName") or params.get("AlarmName")
            for _, params in requests
        }
        gone = [one["AlarmName"] for one in attached.alarms if one["AlarmName"] not in kept]
        yield from scaling_calls.delete_alarms(name, gone)
        for one in attached.policies:
            if one["PolicyName"] not in kept:
                yield autoscaling_call("delete_scaling_policy", name, **target, PolicyName=one["PolicyName"])
        for one in attached.actions:
            if one["ScheduledActionName"] not in kept:
                action = one["ScheduledActionName"]
                yield autoscaling_call("delete_scheduled_action", name, **target, ScheduledActionName=action)
    yield from scaling_calls.attach(name, variant, requests)


def change_in_place(
    live: Live,
    spec: EndpointSpec,
    changes: tuple[Change, ...],
    *,
    timeout: float,
    now: Now,
    progress: Reporter | None,
) -> Flow[None]:
    """Set the counts, weights, autoscaling and tags of a spec, as far as `changes` contains them."""
    name = spec.name
    fields = {one.field for one in changes if one.how == "in place"}
    sizes: dict[str, dict[str, Any]] = {}
    for variant in spec.variants:
        where = f"variants.{variant.name}"
        if f"{where}.instance_count" in fields:
            sizes.setdefault(variant.name, {})["DesiredInstanceCount"] = variant.instance_count
        if f"{where}.weight" in fields:
            sizes.setdefault(variant.name, {})["DesiredWeight"] = variant.weight
    if sizes:
        yield from _resize(live.description, sizes, timeout=timeout, now=now, progress=progress)
    for variant in spec.variants:
        wanted, kind = variant.autoscaling, variant.runs_on
        if not variant.has_instances:
            continue
        if wanted is None:
            detached = [one.rescaled(kind) for one in live.detached.values() if one.variant == variant.name]
            yield from scaling_calls.attach_all(name, detached)
        elif not scaling_calls.matches(name, variant.name, kind, wanted, (live.attached or {}).get(variant.name)):
            yield from _replace(live, name, variant.name, kind, wanted)
    if live.attached is not None:
        yield from backup.remove(name, live.description.arn, list(live.own_tags))
    yield from _retag(live, spec)


def _retag(live: Live, spec: EndpointSpec) -> Flow[None]:
    for one in tag_changes(live, spec):
        gone = [key for key in one.current if key not in one.wanted]
        changed = [{"Key": key, "Value": value} for key, value in one.wanted.items() if one.current.get(key) != value]
        if changed:
            yield sagemaker_call("add_tags", spec.name, ResourceArn=one.arn, Tags=changed)
        if gone:
            yield sagemaker_call("delete_tags", spec.name, ResourceArn=one.arn, TagKeys=gone)


def _resize(
    seen: EndpointDescription,
    sizes: Mapping[str, Mapping[str, Any]],
    *,
    timeout: float,
    now: Now,
    progress: Reporter | None,
) -> Flow[EndpointDescription]:
    """Set counts and weights, and wait until they are in effect. A new FailureReason means that the change failed."""
    yield sagemaker_call(
        "update_endpoint_weights_and_capacities",
        seen.name,
        EndpointName=seen.name,
        DesiredWeightsAndCapacities=[{"VariantName": variant, **size} for variant, size in sizes.items()],
    )
    return (
        yield from until_settled(
            seen.name,
            timeout=timeout,
            now=now,
            progress=progress,
            wanted_config=seen.config_name,
            config_before=seen.config_name,
            reason_before=seen.failure_reason,
        )
    )


def _instances_of(live: Live, variant: str) -> str | None:
    """Return the variant's instance type; None if it has instance pools."""
    raw: Mapping[str, Any] = next(
        (one for one in live.config.get("ProductionVariants", []) if one.get("VariantName") == variant), {}
    )
    kind = raw.get("InstanceType")
    if kind is None and "InstancePools" not in raw:
        name = live.description.name
        raise InvalidInputError(f"variant: {variant} of endpoint {name} has no instances to scale", endpoint=name)
    return kind


def _no_variants_yet(seen: EndpointDescription) -> ConflictError:
    return ConflictError(
        f"endpoint {seen.name} is {seen.status} and has no variants yet",
        hint=f"endpoints.wait({seen.name!r}) waits for it",
        endpoint=seen.name,
    )


def _choose(live: Live, variant: str | None) -> str:
    known = [one.name for one in live.description.variants]
    if not known:
        raise _no_variants_yet(live.description)
    if variant is None and len(known) == 1:
        return known[0]
    if variant not in known:
        raise InvalidInputError(
            f"variant: endpoint {live.description.name} has {', '.join(known)}; name one of them, not {variant!r}",
            endpoint=live.description.name,
        )
    return variant
