"""Replace an endpoint's fleet: UpdateEndpoint with another configuration, autoscaling detached and attached again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from mme_sdk.aws import Flow
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.autoscaling import backup, scaling_calls
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.endpoints.operations.calls import (
    Now,
    describe_endpoint,
    describe_if_exists,
    retry_until_visible,
    sagemaker_call,
)
from mme_sdk.endpoints.operations.create_resources import call_with_config, recreate_missing, remove_created
from mme_sdk.endpoints.operations.wait import until_settled
from mme_sdk.endpoints.spec.deployment import Deployment, to_request
from mme_sdk.endpoints.spec.requests import Requests
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.describe import Live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.resources import Resource
from mme_sdk.endpoints.state.typed_fields import spec_of_config
from mme_sdk.errors import (
    ConflictError,
    EndpointFailedError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    OutcomeUnknownError,
    ServiceError,
    WaitTimeoutError,
)

__all__ = ["DetachedScaling", "attach_again", "check_not_busy", "noting_scaling", "replace_fleet", "spec_or_none"]

_log = logging.getLogger(__name__)

_BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@attrs.frozen
class DetachedScaling:
    """Autoscaling that an update detached.

    Attributes:
        taken: The autoscaling that was attached before the update.
        tags: The keys of the endpoint's tags that store it meanwhile.
        back: The autoscaling to attach after the update, converted to the new instance types.
    """

    taken: tuple[Attached, ...] = ()
    tags: tuple[str, ...] = ()
    back: tuple[Attached, ...] = ()


def check_not_busy(seen: EndpointDescription) -> None:
    """Raise ConflictError while an endpoint is being created, changed or deleted."""
    if seen.status in _BUSY:
        raise ConflictError(
            f"endpoint {seen.name} is {seen.status} and cannot be changed until that has ended",
            hint=f"endpoints.wait({seen.name!r}) waits for it",
            endpoint=seen.name,
        )


def spec_or_none(name: str, config: Mapping[str, Any], models: Mapping[str, Any]) -> EndpointSpec | None:
    """Return a configuration as a spec; None if it cannot be one. UpdateEndpoint needs only its name."""
    try:
        return spec_of_config(name, config, models, {})
    except (InvalidInputError, ServiceError):
        return None


def replace_fleet(
    live: Live,
    config: Mapping[str, Any],
    requests: Requests | None,
    *,
    created: list[Resource],
    deployment: Deployment | None,
    capture_changes: bool,
    timeout: float,
    now: Now,
    progress: Reporter | None,
    dropped: Sequence[Attached] = (),
    resize: bool = False,
) -> Flow[DetachedScaling]:
    """Update an endpoint to another configuration and wait until it is in service.

    Autoscaling that would make SageMaker refuse the update is detached. The caller attaches it again, with
    `attach_again`. If the update fails, this function attaches it again.

    Args:
        live: The endpoint before the update.
        config: The new configuration, as a request or as described.
        requests: Requests that create the configuration again if another client deletes it; None if this SDK did not
            make it.
        created: What was created for the configuration; removed if the update fails.
        deployment: How traffic moves; SageMaker's own default if None.
        capture_changes: Whether data capture may differ.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        progress: Reports each DescribeEndpoint.
        dropped: Autoscaling of variants that an earlier update removed and this one brings back.
        resize: Whether the variants get the instance counts of the new configuration in place of those they have.

    Returns:
        The autoscaling that was detached.

    Raises:
        ConflictError: Another update replaced this one.
        EndpointFailedError: SageMaker rolled the update back.
        WaitTimeoutError: The endpoint is not in service after `timeout` seconds; the update continues.
    """
    seen, to = live.description, str(config["EndpointConfigName"])
    name = seen.name
    types, running = content.instance_types(config), content.instance_types(live.config)
    running = {one.name: one.instance_type for one in seen.variants} | running
    off = live.detached  # by an update that was interrupted: this one attaches it again
    in_the_way = [
        off.get(key, attrs.evolve(one, instance_type=running.get(key)))
        for key, one in (live.attached or {}).items()
        if key not in types or types[key] != running.get(key)
    ]
    taken = [*in_the_way, *(one for one in off.values() if one not in in_the_way)]
    tags = list(dict.fromkeys([*live.own_tags, *(tag["Key"] for tag in backup.to_tags(in_the_way))]))
    here = {one.variant for one in taken} | set(live.attached or {})
    scaled = content.scaled_variants(config)
    back = [*taken, *(one for one in dropped if one.variant not in here)]
    lost = [one for one in taken if one.variant not in scaled]
    back = [one.rescaled(types.get(one.variant)) for one in back if one.variant in scaled]
    request: dict[str, Any] = {
        "EndpointName": name,
        "EndpointConfigName": to,
        # Without it an update resets the instance counts that autoscaling has reached.
        "RetainAllVariantProperties": True,
    }
    excluded = {"DataCaptureConfig": capture_changes, "DesiredInstanceCount": resize}
    if any(excluded.values()):
        request["ExcludeRetainedVariantProperties"] = [
            {"VariantPropertyType": kind} for kind, changes in excluded.items() if changes
        ]
    if deployment is not None:
        request["DeploymentConfig"] = to_request(deployment)
    begun = False
    try:
        if not (yield from backup.write(name, seen.arn, in_the_way)):
            tags = list(live.own_tags)
        yield from _write_replaced(name, to, live, lost, requests)
        yield from scaling_calls.detach(name, in_the_way)
        yield from _begin(name, to, request, requests, created)
        begun = True
        yield from until_settled(
            name,
            timeout=timeout,
            now=now,
            progress=progress,
            wanted_config=to,
            config_before=seen.config_name,
            reason_before=seen.failure_reason,
        )
    except GeneratorExit:
        raise  # the flow was abandoned: no effect can be carried out
    except BaseException as error:
        detached = DetachedScaling(tuple(taken), tuple(tags))
        if begun and not isinstance(error, (ConflictError, EndpointFailedError, EndpointNotFoundError)):
            _leave_update(name, detached, error)
            raise
        # A configuration that another update replaced is the target of a rollback: it stays.
        replaced = begun and isinstance(error, ConflictError)
        yield from _undo(seen, None if begun else to, detached, [] if replaced else created, error)
        raise
    detached = DetachedScaling(tuple(taken), tuple(tags), tuple(back))
    if requests is not None:
        with noting_scaling(detached):
            yield from recreate_missing(requests, name)
    return detached


def _write_replaced(name: str, to: str, live: Live, lost: Sequence[Attached], requests: Requests | None) -> Flow[None]:
    """Write into tags of a configuration which one it replaces, and the autoscaling of variants that it removes."""
    replaced = live.description.config_name
    if replaced is None or replaced == to:
        return
    mine = [] if requests is None else (yield from ownership.owned_by(name, [Resource("config", to)]))
    if mine:
        stale = [key for key in (mine[0].tags or {}) if backup.is_backup_tag(key)]
        yield from backup.remove(name, mine[0].arn, stale)
        tag = {"Key": ownership.REPLACED_TAG, "Value": replaced}
        try:
            yield sagemaker_call("add_tags", name, ResourceArn=mine[0].arn, Tags=[tag, *backup.to_tags(lost)])
        except MMEError as error:
            _log.warning(
                "the tag of configuration %s that names the one before it was not written: %s", to, error.message
            )
        else:
            return
    if lost:
        _log.warning(
            "autoscaling of %s is removed with configuration %s of endpoint %s; after a rollback, "
            "endpoint.autoscale() attaches it again",
            *(", ".join(one.variant for one in lost), replaced, name),
        )


def attach_again(seen: EndpointDescription, off: DetachedScaling) -> Flow[None]:
    """Attach autoscaling after an update and delete the tags that held it."""
    with noting_scaling(off):
        yield from scaling_calls.attach_all(seen.name, off.back)
        yield from backup.remove(seen.name, seen.arn, off.tags)


@contextmanager
def noting_scaling(off: DetachedScaling) -> Iterator[None]:
    """Add a note to an exception, an interruption too, which says that autoscaling is detached."""
    try:
        yield
    except (EndpointNotFoundError, GeneratorExit):
        raise
    except BaseException as error:
        _add_scaling_note(off, error)
        raise


def _add_scaling_note(off: DetachedScaling, error: BaseException, why: str = "") -> None:
    if off.taken:
        names = ", ".join(one.variant for one in off.taken)
        until = "the next endpoints.apply() attaches it" if off.tags else "endpoint.autoscale() attaches it"
        error.add_note(f"autoscaling of {names} is detached until {until}{why}")


def _begin(
    name: str, config: str, request: dict[str, Any], requests: Requests | None, created: list[Resource]
) -> Flow[None]:
    call = sagemaker_call("update_endpoint", name, **request)
    try:
        yield from retry_until_visible(call) if requests is None else call_with_config(call, requests, name, created)
    except (ConflictError, OutcomeUnknownError, ServiceError):
        # The update may have begun although the call raised: a repeated call meets the update of the first one.
        seen = yield from describe_endpoint(name)
        if config not in (seen.pending_config, seen.config_name):
            raise


def _undo(
    seen: EndpointDescription, to: str | None, off: DetachedScaling, created: list[Resource], error: BaseException
) -> Flow[None]:
    """Attach autoscaling again and remove what was created, unless SageMaker carries the update out.

    Args:
        seen: The endpoint before the update.
        to: The configuration of the update if SageMaker may have accepted it; None if the update has ended.
        off: The autoscaling that was detached.
        created: What was created for the update.
        error: Why it ended.
    """
    name = seen.name
    try:
        now = None if isinstance(error, Exception) or to is None else (yield from describe_if_exists(name))
        if now is not None and (to == now.pending_config or to == now.config_name != seen.config_name):
            _leave_update(name, off, error)
            return
        yield from scaling_calls.attach_all(name, off.taken)
        yield from backup.remove(name, seen.arn, off.tags)
    except EndpointNotFoundError:
        pass
    except MMEError as scaling_error:
        _add_scaling_note(off, error, f": {scaling_error.message}")
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the first one is raised
        _add_scaling_note(off, error, ": the clean-up was interrupted")
    yield from remove_created(created, name, error)


def _leave_update(name: str, off: DetachedScaling, error: BaseException) -> None:
    """Add notes to the error of a call that stops waiting for an update. What fitted the old fleet stays detached."""
    _add_scaling_note(off, error)
    if not isinstance(error, WaitTimeoutError):
        error.add_note(f"the change itself continues: endpoints.wait({name!r}) waits for it")
