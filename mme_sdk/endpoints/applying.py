"""Apply: read what is there, plan, then create or update to match; and back."""

from __future__ import annotations

import logging
from typing import Any, Literal

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints import autoscaling, creating, deleting, parking
from mme_sdk.endpoints.calls import Now, absent_ok, look, look_if_there, needs, patiently, sagemaker
from mme_sdk.endpoints.deployment import Deployment, check_deployment, check_fits, pick, to_request
from mme_sdk.endpoints.description import EndpointDescription
from mme_sdk.endpoints.differences import Change, differences
from mme_sdk.endpoints.making import Made, complete, make_config, remove, unmake, using
from mme_sdk.endpoints.reading import Live, models_of, read_live, spec_of_config
from mme_sdk.endpoints.requests import Requests
from mme_sdk.endpoints.scaling import change_in_place
from mme_sdk.endpoints.spec import EndpointSpec, check_spec
from mme_sdk.endpoints.waiting import ProgressCallback, until_settled
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
    """Autoscaling that an update took off, and the tags that it is noted in."""

    taken: tuple[autoscaling.Attached, ...] = ()
    notes: tuple[str, ...] = ()


def plan(spec: EndpointSpec) -> Flow[Plan]:
    """What would make an endpoint match a spec.

    Raises:
        ConflictError: The endpoint is busy with another change.
    """
    check_spec(spec)
    seen = yield from look_if_there(spec.name)
    if seen is None:
        return Plan(spec=spec, action="create")
    live = yield from read_live(spec.name)
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
        old = _spec_or_none(live)
        check_fits(deployment, old, spec)
        requests = spec.to_requests()
        made = yield from make_config(requests, spec.name)
        off = yield from _switch(
            live,
            spec,
            requests.config_name,
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
    yield from _turn_on(live.description, off)
    if todo.changes or live.noted:
        # Autoscaling was taken off and put back by the switch, so it is read again.
        live = (yield from read_live(spec.name)) if todo.action == "update" else live
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
    live = yield from read_live(name)
    seen = live.description
    if seen.status in _BUSY:
        raise ConflictError(
            f"endpoint {name} is {seen.status}; it can be changed when that is over",
            hint=f"endpoints.wait({name!r}) waits for it",
            endpoint=name,
        )
    if to is None:
        mine = yield from deleting.owned(name)
        others = [one.name for one in mine if one.kind == "config" and one.name != seen.config_name]
        if not others:
            raise ConflictError(
                f"endpoint {name} has no earlier configuration to go back to",
                hint="apply(spec) keeps the one that it replaces; name another with to=…",
                endpoint=name,
            )
        to = others[0]
    config = yield from absent_ok(sagemaker("describe_endpoint_config", name, EndpointConfigName=to))
    if config is None:
        raise ConflictError(f"there is no endpoint configuration {to} to go back to", endpoint=name)
    spec = spec_of_config(name, config, (yield from models_of(name, config)), live.tags or {})
    old, requests = _spec_or_none(live), spec.to_requests()
    check_fits(deployment, old, spec)
    off = yield from _switch(
        live,
        spec,
        to,
        requests if requests.config_name == to else None,
        made=[],
        deployment=deployment or pick(old, spec),
        capture_changes=True,
        timeout=timeout,
        now=now,
        progress=progress,
    )
    yield from _turn_on(seen, off)
    return (yield from look(name))


def _left(deadline: float, now: Now) -> float:
    return max(deadline - now(), 0.001)


def _spec_or_none(live: Live) -> EndpointSpec | None:
    try:
        return live.spec()
    except InvalidInputError:
        return None


def _switch(
    live: Live,
    spec: EndpointSpec,
    config: str,
    requests: Requests | None,
    *,
    made: list[Made],
    deployment: Deployment | None,
    capture_changes: bool,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None,
) -> Flow[_Off]:
    """Bring up another fleet; autoscaling that is in its way is taken off, and left to the caller to put back."""
    name, seen = spec.name, live.description
    types = {one.name: one.instance_type for one in spec.variants}
    running = {one.name: one.instance_type for one in seen.variants}
    off = live.parked  # taken off by an update that did not end: this one puts it back
    in_the_way = [off.get(key, one) for key, one in (live.attached or {}).items() if types.get(key) != running.get(key)]
    taken = [*in_the_way, *(one for one in off.values() if one not in in_the_way)]
    notes = list(live.noted)
    request: dict[str, Any] = {
        "EndpointName": name,
        "EndpointConfigName": config,
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
        yield from autoscaling.detach(name, [one.variant for one in in_the_way])
        yield from _begin(name, config, request, requests, made)
        begun = True
        yield from until_settled(
            name,
            timeout=timeout,
            now=now,
            progress=progress,
            wanted_config=config,
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
    return _Off(tuple(one for one in taken if types.get(one.variant) is not None), tuple(notes))


def _turn_on(seen: EndpointDescription, off: _Off) -> Flow[None]:
    try:
        yield from autoscaling.put_back(seen.name, off.taken)
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
    yield from unmake(made, name, error)


def _collect(name: str, replaced: Live) -> Flow[None]:
    """Remove what earlier generations left, but the current one and the one that it replaced: `rollback` needs it."""
    seen = yield from look(name)
    keep = {seen.config_name, replaced.description.config_name}
    mine = yield from deleting.owned(name)
    configs = [one for one in mine if one.kind == "config"]
    if seen.config_name == replaced.description.config_name:
        # Nothing was replaced this time: what an earlier update replaced stays, the newest.
        keep |= {one.name for one in [one for one in configs if one.name != seen.config_name][:1]}
    needed = yield from needs(name, keep)  # also of those made by hand
    for one in mine:
        if one.name in needed:
            continue
        # Another client may have begun to use it since.
        seen = yield from look(name)
        needed |= yield from needs(name, [seen.config_name, seen.pending_config])
        if one.name not in needed:
            yield from absent_ok(remove(one, name))
