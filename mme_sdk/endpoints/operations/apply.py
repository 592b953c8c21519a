"""Apply: read what is there, plan, then create or update to match; and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints.autoscaling import backup as parking
from mme_sdk.endpoints.autoscaling import scaling_calls as autoscaling
from mme_sdk.endpoints.operations import create as creating
from mme_sdk.endpoints.operations import delete as deleting
from mme_sdk.endpoints.operations.calls import Now, absent_ok, look, look_if_there, needs, patiently, sagemaker
from mme_sdk.endpoints.operations.create_resources import complete, make_config, unmake, using
from mme_sdk.endpoints.operations.scale import change_in_place
from mme_sdk.endpoints.operations.wait import ProgressCallback, until_settled
from mme_sdk.endpoints.spec.deployment import Deployment, check_deployment, check_fits, pick, to_request
from mme_sdk.endpoints.spec.requests import Requests
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.describe import Live, models_of, read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.diff import Change, differences
from mme_sdk.endpoints.state.ownership import Found
from mme_sdk.endpoints.state.resources import Made, remove
from mme_sdk.endpoints.state.typed_fields import spec_of_config
from mme_sdk.errors import (
    AccessDeniedError,
    ConflictError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    OutcomeUnknownError,
    ServiceError,
    WaitTimeoutError,
)

__all__ = ["Action", "Plan", "apply", "plan", "rollback"]

_log = logging.getLogger(__name__)

Action = Literal["create", "create again", "update", "change in place", "nothing"]

_BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@attrs.frozen(kw_only=True, repr=False)
class Plan:
    """What `apply` would do.

    Attributes:
        spec: What the endpoint should be.
        action: `create`; `create again` where it failed; `update`, which brings a new fleet; `change in place`; or
            `nothing`.
        changes: Every difference.
        live: The endpoint as it was read; None where there is none.
    """

    spec: EndpointSpec
    action: Action
    changes: tuple[Change, ...] = ()
    live: Live | None = None

    def __repr__(self) -> str:
        lines = [f"Plan for endpoint {self.spec.name}: {self.action}"]
        if self.action.startswith("create"):
            requests = self.spec.to_requests()
            lines += [f"  + model {name}" for name in requests.model_names]
            lines += [f"  + config {requests.config_name}", f"  + endpoint {self.spec.name} ({self.spec.mode})"]
        lines += [f"  {one}" for one in self.changes]
        return "\n".join(lines)


@attrs.frozen
class _Off:
    """Autoscaling that an update took off.

    Attributes:
        taken: What was attached.
        notes: The tags of the endpoint that it is noted in.
        back: What the new configuration gets back, for its instance types.
    """

    taken: tuple[autoscaling.Attached, ...] = ()
    notes: tuple[str, ...] = ()
    back: tuple[autoscaling.Attached, ...] = ()


def plan(spec: EndpointSpec) -> Flow[Plan]:
    """What would make an endpoint match a spec.

    Raises:
        ConflictError: The endpoint is busy with another change.
    """
    check_spec(spec)
    seen = yield from look_if_there(spec.name)
    if seen is None:
        return Plan(spec=spec, action="create")
    live = yield from read_live(spec.name, all_tags=True)
    seen = live.description
    if seen.status in _BUSY:
        raise ConflictError(
            f"endpoint {spec.name} is {seen.status}; it can be changed when that is over",
            hint=f"endpoints.wait({spec.name!r}) waits for it",
            endpoint=spec.name,
        )
    changes = differences(live, spec)
    action: Action
    if seen.status == "Failed":
        action = "create again"
    elif seen.status == "UpdateRollbackFailed" or any(one.how == "new fleet" for one in changes):
        # After a failed rollback two configurations serve side by side: only another update ends that.
        action = "update"
    else:
        action = "change in place" if changes else "nothing"
    return Plan(spec=spec, action=action, changes=changes, live=live)


def apply(
    wanted: EndpointSpec | Plan,
    *,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None,
    must_exist: bool = False,
) -> Flow[Plan]:
    """Create or update an endpoint to match a spec, and wait until it does.

    Returns:
        The plan that was carried out.

    Raises:
        ConflictError: The endpoint is busy, or is no longer what a given plan had read.
        EndpointFailedError: The creation failed, or the update was rolled back; what it had made is removed.
        WaitTimeoutError: The time is over; apply again to finish.
    """
    check_deployment(deployment)
    spec = wanted.spec if isinstance(wanted, Plan) else wanted
    todo = yield from plan(spec)
    if isinstance(wanted, Plan) and (todo.action, todo.changes) != (wanted.action, wanted.changes):
        raise ConflictError(
            f"endpoint {spec.name} has changed since it was planned; now it would be:\n{todo!r}",
            hint="look at the new plan, then apply that",
            endpoint=spec.name,
        )
    if must_exist:
        yield from look(spec.name)
    _log.info("%r", todo)
    deadline = now() + timeout
    if todo.action == "create again":
        yield from deleting.delete(spec.name, timeout=timeout, now=now)
    if todo.live is None or todo.action == "create again":
        creation = yield from creating.create(spec)
        yield from creating.finish(creation, timeout=_left(deadline, now), now=now, progress=progress)
        return todo
    live, off = todo.live, _Off()
    if todo.action == "update":
        old = _spec_or_none(spec.name, live.config, live.models)
        check_fits(deployment, old, spec)
        requests = spec.to_requests()
        made = yield from make_config(requests, spec.name)
        off = yield from _switch(
            live,
            requests.config,
            requests,
            made=list(made),
            deployment=deployment or pick(old, spec),
            capture_changes=any(one.field.startswith("data_capture") for one in todo.changes),
            timeout=_left(deadline, now),
            now=now,
            progress=progress,
        )
    try:
        # Before what may still fail: whatever becomes of that, no more than one configuration is kept.
        yield from _collect(spec.name, todo.live)
    except AccessDeniedError as error:
        # The update itself is done; whoever may not tidy up must not be told that it failed.
        _log.warning("earlier configurations of endpoint %s were not removed: %s", spec.name, error.message)
    yield from _turn_on(live.description, off, off.back)
    if todo.changes or live.noted:
        # Autoscaling was taken off and put back by the switch, so it is read again.
        live = (yield from read_live(spec.name, all_tags=True)) if todo.action == "update" else live
        yield from change_in_place(live, spec, todo.changes, timeout=_left(deadline, now), now=now, progress=progress)
    return todo


def rollback(
    name: str,
    *,
    to: str | None,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None,
) -> Flow[EndpointDescription]:
    """Go back to the configuration that an update replaced; going back twice comes forward again.

    Raises:
        ConflictError: There is nothing to go back to, or the endpoint is busy.
        EndpointFailedError: SageMaker rolled this update back too.
    """
    check_deployment(deployment)
    live = yield from read_live(name, all_tags=True)
    seen = live.description
    if seen.status in _BUSY:
        raise ConflictError(
            f"endpoint {name} is {seen.status}; it can be changed when that is over",
            hint=f"endpoints.wait({name!r}) waits for it",
            endpoint=name,
        )
    if to is None:
        to = yield from _earlier(live)
    if to is None:
        raise ConflictError(
            f"endpoint {name} has no earlier configuration to go back to",
            hint="apply(spec) keeps the one that it replaces; name another with to=…",
            endpoint=name,
        )
    config = yield from absent_ok(sagemaker("describe_endpoint_config", name, EndpointConfigName=to))
    if config is None:
        raise ConflictError(f"there is no endpoint configuration {to} to go back to", endpoint=name)
    spec = _spec_or_none(name, config, (yield from models_of(name, config)))
    requests = None if spec is None else spec.to_requests()
    old = _spec_or_none(name, live.config, live.models)
    check_fits(deployment, old, spec)
    off = yield from _switch(
        live,
        config,
        requests if requests is not None and requests.config_name == to else None,
        made=[],
        deployment=deployment or pick(old, spec),
        capture_changes=True,
        timeout=timeout,
        now=now,
        progress=progress,
        dropped=_dropped_by_replacing(live, to),
    )
    yield from _turn_on(seen, off, off.back)
    return (yield from look(name))


def _earlier(live: Live, named: Sequence[Made] | None = None) -> Flow[str | None]:
    """The configuration that the one in service replaced, by its tag; else the newest other one of this endpoint."""
    name, now = live.description.name, live.description.config_name
    current = _as_found(live)
    replaced = None if current is None else current.replaced
    if replaced not in (None, now) and (yield from _exists(name, str(replaced))):
        return replaced
    if named is None:
        named = yield from ownership.look_alikes(name)
    mine = yield from ownership.own(name, [one for one in named if one.kind == "config" and one.name != now])
    return mine[0].one.name if mine else None


def _exists(name: str, config: str) -> Flow[bool]:
    call = sagemaker("describe_endpoint_config", name, EndpointConfigName=config)
    return (yield from absent_ok(call)) is not None


def _as_found(live: Live) -> Found | None:
    """The configuration in service, where this SDK made it for this endpoint."""
    return next((one for one in live.own_parts if one.one.kind == "config"), None)


def _dropped_by_replacing(live: Live, replaced: str) -> tuple[autoscaling.Attached, ...]:
    """Autoscaling of variants that went when the configuration in service replaced another one."""
    current = _as_found(live)
    if current is None or current.replaced != replaced:
        return ()
    return tuple(parking.parked_in(current.tags or {}).values())


def _left(deadline: float, now: Now) -> float:
    return max(deadline - now(), 0.001)


def _spec_or_none(name: str, config: Mapping[str, Any], models: Mapping[str, Any]) -> EndpointSpec | None:
    """What a configuration is, as far as a spec can say it; UpdateEndpoint needs no more than its name."""
    try:
        return spec_of_config(name, config, models, {})
    except (InvalidInputError, ServiceError):
        return None


def _switch(
    live: Live,
    config: Mapping[str, Any],
    requests: Requests | None,
    *,
    made: list[Made],
    deployment: Deployment | None,
    capture_changes: bool,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None,
    dropped: Sequence[autoscaling.Attached] = (),
) -> Flow[_Off]:
    """Bring up another fleet; autoscaling that is in its way is taken off, and left to the caller to put back.

    Args:
        live: The endpoint as it is.
        config: The configuration that it gets, as a request or as described.
        requests: What makes the configuration again where another client removes it; None where it is not of this SDK.
        made: What was made for it.
        deployment: How traffic moves.
        capture_changes: Whether data capture may differ.
        timeout: Seconds to wait at most.
        now: The clock.
        progress: Told of every look.
        dropped: Autoscaling of variants that the configuration brings back.
    """
    seen, to = live.description, str(config["EndpointConfigName"])
    name = seen.name
    types, running = content.instance_types(config), content.instance_types(live.config)
    running = {one.name: one.instance_type for one in seen.variants} | running
    off = live.parked  # taken off by an update that did not end: this one puts it back
    in_the_way = [
        off.get(key, attrs.evolve(one, instance_type=running.get(key)))
        for key, one in (live.attached or {}).items()
        if key not in types or types[key] != running.get(key)
    ]
    taken = [*in_the_way, *(one for one in off.values() if one not in in_the_way)]
    notes = list(live.noted)
    here = {one.variant for one in taken} | set(live.attached or {})
    scaled = content.scaled_variants(config)
    back = [*taken, *(one for one in dropped if one.variant not in here)]
    lost = [one for one in taken if one.variant not in scaled]
    back = [one.rescaled(types.get(one.variant)) for one in back if one.variant in scaled]
    request: dict[str, Any] = {
        "EndpointName": name,
        "EndpointConfigName": to,
        # Without it an update resets the counts that autoscaling has reached.
        "RetainAllVariantProperties": True,
    }
    if capture_changes:
        request["ExcludeRetainedVariantProperties"] = [{"VariantPropertyType": "DataCaptureConfig"}]
    if deployment is not None:
        request["DeploymentConfig"] = to_request(deployment)
    begun = False
    try:
        notes += yield from parking.remember(name, seen.arn, in_the_way)
        yield from _remember_replaced(name, to, live, lost, requests)
        yield from autoscaling.detach(name, [one.variant for one in in_the_way])
        yield from _begin(name, to, request, requests, made)
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
    except WaitTimeoutError as error:
        _note_off(_Off(tuple(taken), tuple(notes)), error)
        raise
    except GeneratorExit:
        raise  # nobody drives this flow any more
    except BaseException as error:
        # What another update replaced is what a rollback leads to.
        replaced = begun and isinstance(error, ConflictError)
        yield from _go_back(seen, _Off(tuple(taken), tuple(notes)), [] if replaced else made, error)
        raise
    if requests is not None:
        yield from complete(requests, name)
    return _Off(tuple(taken), tuple(notes), tuple(back))


def _remember_replaced(
    name: str, to: str, live: Live, lost: Sequence[autoscaling.Attached], requests: Requests | None
) -> Flow[None]:
    """Write into tags of a configuration which one it replaces, and the autoscaling of variants that go with that."""
    replaced = live.description.config_name
    said = ", ".join(one.variant for one in lost)
    if replaced is None or replaced == to:
        return
    mine = [] if requests is None else (yield from ownership.own(name, [Made("config", to)]))
    if mine:
        stale = [key for key in (mine[0].tags or {}) if parking.is_note(key)]
        yield from parking.forget(name, mine[0].arn, stale)
        tag = {"Key": ownership.REPLACED, "Value": replaced}
        try:
            yield sagemaker("add_tags", name, ResourceArn=mine[0].arn, Tags=[tag, *parking.notes_of(lost)])
        except MMEError as error:
            _log.warning("what configuration %s replaces is not written down: %s", to, error.message)
        else:
            return
    if lost:
        _log.warning(
            "autoscaling of %s goes with configuration %s of endpoint %s, and a rollback will not bring it back: "
            "endpoint.autoscale() attaches it again",
            *(said, replaced, name),
        )


def _turn_on(seen: EndpointDescription, off: _Off, back: Sequence[autoscaling.Attached]) -> Flow[None]:
    try:
        yield from autoscaling.put_back(seen.name, back)
    except MMEError as error:
        _note_off(off, error)
        raise
    yield from parking.forget(seen.name, seen.arn, off.notes)


def _note_off(off: _Off, error: BaseException, why: str = "") -> None:
    if off.taken:
        names = ", ".join(one.variant for one in off.taken)
        until = "the next endpoints.apply() puts it back" if off.notes else "endpoint.autoscale() attaches it again"
        error.add_note(f"autoscaling of {names} is off until {until}{why}")


def _begin(name: str, config: str, request: dict[str, Any], requests: Requests | None, made: list[Made]) -> Flow[None]:
    call = sagemaker("update_endpoint", name, **request)
    try:
        yield from patiently(call) if requests is None else using(call, requests, name, made)
    except (ConflictError, OutcomeUnknownError, ServiceError):
        # It may have begun although no good answer came; a repeated call then meets its own update.
        seen = yield from look(name)
        if config not in (seen.pending_config, seen.config_name):
            raise


def _go_back(seen: EndpointDescription, off: _Off, made: list[Made], error: BaseException) -> Flow[None]:
    name = seen.name
    try:
        yield from autoscaling.put_back(name, off.taken)
        yield from parking.forget(name, seen.arn, off.notes)
    except EndpointNotFoundError:
        pass
    except MMEError as trouble:
        _note_off(off, error, f": {trouble.message}")
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the first one is raised
        _note_off(off, error, ": the clean-up was ended")
    yield from unmake(made, name, error)


def _collect(name: str, replaced: Live) -> Flow[None]:
    """Remove what earlier generations left, but the current one and the one that it replaced: `rollback` needs it."""
    seen = yield from look(name)
    keep = {seen.config_name, replaced.description.config_name}
    named = yield from ownership.look_alikes(name)
    if seen.config_name == replaced.description.config_name:
        # Nothing was replaced this time: what an earlier update replaced stays.
        keep.add((yield from _earlier(replaced, named)))
    needed = yield from needs(name, keep)  # also of those made by hand
    mine = yield from ownership.own(name, [one for one in named if one.name not in needed])
    others = yield from ownership.used_elsewhere(name, mine)
    if others.note is not None:
        _log.warning("earlier configurations of endpoint %s were not removed: %s", name, others.note)
    for one in (each.one for each in mine if each.one not in others.used):
        # Another client may have begun to use it since.
        seen = yield from look(name)
        needed |= yield from needs(name, [seen.config_name, seen.pending_config])
        if one.name not in needed:
            yield from absent_ok(remove(one, name))
