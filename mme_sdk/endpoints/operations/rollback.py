"""Roll an endpoint back to the configuration that its last update replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mme_sdk.aws import Flow
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.autoscaling import backup
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.endpoints.operations.calls import Now, describe_endpoint, none_if_missing, sagemaker_call
from mme_sdk.endpoints.operations.replace_fleet import attach_again, check_not_busy, replace_fleet, spec_or_none
from mme_sdk.endpoints.spec.deployment import Deployment, check_deployment
from mme_sdk.endpoints.spec.deployment_choice import check_fits, pick
from mme_sdk.endpoints.state import ownership
from mme_sdk.endpoints.state.describe import Live, models_of, read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.ownership import DescribedResource
from mme_sdk.endpoints.state.resources import Resource
from mme_sdk.errors import ConflictError

__all__ = ["earlier_config", "rollback", "target_of"]


def rollback(
    name: str,
    *,
    to: str | None,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: Reporter | None,
) -> Flow[EndpointDescription]:
    """Update an endpoint to the configuration that its last update replaced; a second rollback undoes the first.

    Args:
        name: EndpointName.
        to: Name of another configuration to update to.
        deployment: How traffic moves. If None, that of the spec; if that is None too, `pick` chooses it.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        progress: Reports each DescribeEndpoint.

    Returns:
        The endpoint after the update.

    Raises:
        ConflictError: There is no earlier configuration, or the endpoint is busy.
        EndpointFailedError: SageMaker rolled this update back too.
        WaitTimeoutError: The endpoint is not in service after `timeout` seconds; the update continues.
    """
    check_deployment(deployment)
    live = yield from read_live(name, all_tags=True)
    seen = live.description
    check_not_busy(seen)
    config = yield from _target(live, to)
    target: str = config["EndpointConfigName"]
    spec = spec_or_none(name, config, (yield from models_of(name, config)))
    requests = None if spec is None else spec.to_requests()
    old = spec_or_none(name, live.config, live.models)
    check_fits(deployment, old, spec)
    off = yield from replace_fleet(
        live,
        config,
        requests if requests is not None and requests.config_name == target else None,
        created=[],
        deployment=deployment or pick(old, spec),
        capture_changes=True,
        timeout=timeout,
        now=now,
        progress=progress,
        dropped=_dropped_scaling(live, target),
    )
    yield from attach_again(seen, off)
    return (yield from describe_endpoint(name))


def target_of(name: str, to: str | None) -> Flow[tuple[str | None, str]]:
    """Return the configuration in service and the one that `rollback` would update to. Change nothing.

    Args:
        name: EndpointName.
        to: Name of another configuration to update to.

    Raises:
        ConflictError: There is no earlier configuration, or the endpoint is busy.
    """
    live = yield from read_live(name, all_tags=True)
    check_not_busy(live.description)
    config = yield from _target(live, to)
    return live.description.config_name, config["EndpointConfigName"]


def _target(live: Live, to: str | None) -> Flow[dict[str, Any]]:
    name = live.description.name
    if to is None:
        to = yield from earlier_config(live)
    if to is None:
        raise ConflictError(
            f"endpoint {name} has no earlier configuration to roll back to",
            hint="apply(spec) keeps the configuration that it replaces; to=… names any other",
            endpoint=name,
        )
    config = yield from none_if_missing(sagemaker_call("describe_endpoint_config", name, EndpointConfigName=to))
    if config is None:
        raise ConflictError(f"there is no endpoint configuration {to} to roll back to", endpoint=name)
    return dict(config)


def earlier_config(live: Live, named: Sequence[Resource] | None = None) -> Flow[str | None]:
    """Return the name of the configuration that the one in service replaced; None if there is none.

    A tag of the configuration in service names it. Without that tag, it is the newest other configuration that this SDK
    made for the endpoint.

    Args:
        live: The endpoint with its configuration and tags.
        named: Resources whose names begin like the endpoint's; listed if None.
    """
    name, now = live.description.name, live.description.config_name
    current = _current_config(live)
    replaced = None if current is None else current.replaced
    if replaced not in (None, now) and (yield from _exists(name, str(replaced))):
        return replaced
    if named is None:
        named = yield from ownership.resources_named_for(name)
    mine = yield from ownership.owned_by(name, [one for one in named if one.kind == "config" and one.name != now])
    return mine[0].resource.name if mine else None


def _exists(name: str, config: str) -> Flow[bool]:
    call = sagemaker_call("describe_endpoint_config", name, EndpointConfigName=config)
    return (yield from none_if_missing(call)) is not None


def _current_config(live: Live) -> DescribedResource | None:
    """Return the configuration in service; None if this SDK did not make it for this endpoint."""
    return next((one for one in live.own_resources if one.resource.kind == "config"), None)


def _dropped_scaling(live: Live, replaced: str) -> tuple[Attached, ...]:
    """Return the autoscaling of variants that the configuration in service removed when it replaced another one."""
    current = _current_config(live)
    if current is None or current.replaced != replaced:
        return ()
    return tuple(backup.read_backups(current.tags or {}).values())
