"""Changes that need no new fleet: instance counts, weights, autoscaling, tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints import autoscaling, check, parking
from mme_sdk.endpoints.calls import Now, look, sagemaker, scaling
from mme_sdk.endpoints.description import EndpointDescription
from mme_sdk.endpoints.differences import Change
from mme_sdk.endpoints.reading import Live, read_live
from mme_sdk.endpoints.requests import scaling_requests, scaling_target
from mme_sdk.endpoints.spec import Autoscaling, EndpointSpec, Variant
from mme_sdk.endpoints.waiting import ProgressCallback, until_settled
from mme_sdk.errors import ConflictError, InvalidInputError

__all__ = ["autoscale", "change_in_place", "reweigh", "scale"]


def scale(
    name: str, count: int, *, variant: str | None, timeout: float, now: Now, progress: ProgressCallback | None
) -> Flow[EndpointDescription]:
    """Set a variant's instance count and wait until the instances are there.

    Raises:
        InvalidInputError: No such variant, a count that autoscaling would undo, or a serverless variant.
    """
    check.whole(1, 10_000)(None, attrs.fields(Variant).instance_count, count)
    live = yield from read_live(name)
    chosen = _choose(live, variant)
    _instances_of(live, chosen)
    attached = (live.attached or {}).get(chosen)
    if attached is not None:
        limits = attached.described()
        if not limits.min <= count <= limits.max:
            raise InvalidInputError(
                f"instance_count: autoscaling holds {name}/{chosen} between {limits.min} and {limits.max}, not {count}",
                hint="change it with endpoint.autoscale(…), or take it off with endpoint.autoscale(None)",
                endpoint=name,
            )
    sizes = {chosen: {"DesiredInstanceCount": count}}
    return (yield from _resize(live.description, sizes, timeout=timeout, now=now, progress=progress))


def reweigh(
    name: str, weights: Mapping[str, float], *, timeout: float, now: Now, progress: ProgressCallback | None
) -> Flow[EndpointDescription]:
    """Set the variants' shares of the traffic and wait until they hold.

    Raises:
        InvalidInputError: No such variant, or a weight below zero.
    """
    check.members("weights", weights)
    seen = yield from look(name)
    known = [one.name for one in seen.variants]
    for variant, weight in weights.items():
        if variant not in known:
            raise InvalidInputError(f"weights: {name} has no variant {variant!r}, only {', '.join(known)}")
        check.not_negative(None, attrs.fields(Variant).weight, weight)
    sizes = {variant: {"DesiredWeight": float(weight)} for variant, weight in weights.items()}
    return (yield from _resize(seen, sizes, timeout=timeout, now=now, progress=progress))


def autoscale(name: str, wanted: Autoscaling | None, *, variant: str | None) -> Flow[None]:
    """Attach autoscaling to a variant in place of what was there; None takes it off.

    Raises:
        InvalidInputError: No such variant, or one that has no instances.
    """
    if wanted is not None and not isinstance(wanted, Autoscaling):
        raise InvalidInputError(f"autoscaling: wants Autoscaling(…) or None, not {wanted!r}", endpoint=name)
    live = yield from read_live(name)
    chosen = _choose(live, variant)
    if wanted is None:
        yield from autoscaling.detach(name, [chosen])
    else:
        yield from _replace(live, name, chosen, _instances_of(live, chosen), wanted)
    # What an update had taken off is no longer wanted.
    mine = [key for key in live.noted if key.startswith(f"{parking.PREFIX}{chosen}:")]
    yield from parking.forget(name, live.description.arn, mine)


def _replace(live: Live, name: str, variant: str, instance_type: str, wanted: Autoscaling) -> Flow[None]:
    requests = scaling_requests(name, variant, instance_type, wanted)
    attached = (live.attached or {}).get(variant)
    if attached is not None:
        target = scaling_target(name, variant)
        kept = {params.get("PolicyName") or params.get("ScheduledActionName") for _, params in requests}
        for one in attached.policies:
            if one["PolicyName"] not in kept:
                yield scaling("delete_scaling_policy", name, **target, PolicyName=one["PolicyName"])
        for one in attached.actions:
            if one["ScheduledActionName"] not in kept:
                action = one["ScheduledActionName"]
                yield scaling("delete_scheduled_action", name, **target, ScheduledActionName=action)
    yield from autoscaling.attach(name, variant, requests)


def change_in_place(
    live: Live,
    spec: EndpointSpec,
    changes: tuple[Change, ...],
    *,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None,
) -> Flow[None]:
    """Bring counts, weights, autoscaling and tags to what a spec says, as far as they are among the changes."""
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
        wanted, kind = variant.autoscaling, variant.instance_type
        if kind is None:
            continue
        if wanted is None:
            yield from autoscaling.put_back(name, [one for one in live.parked.values() if one.variant == variant.name])
        elif not autoscaling.matches(name, variant.name, kind, wanted, (live.attached or {}).get(variant.name)):
            yield from _replace(live, name, variant.name, kind, wanted)
    if live.attached is not None:
        yield from parking.forget(name, live.description.arn, list(live.noted))
    yield from _retag(live, spec)


def _retag(live: Live, spec: EndpointSpec) -> Flow[None]:
    if live.tags is None:
        return
    arn = live.description.arn
    gone = [key for key in live.tags if key not in spec.tags]
    changed = [{"Key": key, "Value": value} for key, value in spec.tags.items() if live.tags.get(key) != value]
    if changed:
        yield sagemaker("add_tags", spec.name, ResourceArn=arn, Tags=changed)
    if gone:
        yield sagemaker("delete_tags", spec.name, ResourceArn=arn, TagKeys=gone)


def _resize(
    seen: EndpointDescription,
    sizes: Mapping[str, Mapping[str, Any]],
    *,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None,
) -> Flow[EndpointDescription]:
    """Set counts and weights, and wait until they hold; a new FailureReason means that they do not."""
    yield sagemaker(
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


def _instances_of(live: Live, variant: str) -> str:
    kind = next(one.instance_type for one in live.description.variants if one.name == variant)
    if kind is None:
        name = live.description.name
        raise InvalidInputError(f"variant: {variant} of {name} has no instances to scale", endpoint=name)
    return kind


def _choose(live: Live, variant: str | None) -> str:
    known = [one.name for one in live.description.variants]
    if not known:
        name = live.description.name
        raise ConflictError(
            f"endpoint {name} is {live.description.status} and has no variants yet",
            hint=f"endpoints.wait({name!r}) waits for it",
            endpoint=name,
        )
    if variant is None and len(known) == 1:
        return known[0]
    if variant not in known:
        raise InvalidInputError(
            f"variant: {live.description.name} has {', '.join(known)}; name one of them, not {variant!r}",
            endpoint=live.description.name,
        )
    return variant
