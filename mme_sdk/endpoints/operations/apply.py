"""Plan and apply: read the endpoint, compare it with a spec, then create or change it to match."""

from __future__ import annotations

import logging
from typing import Literal

import attrs

from mme_sdk.aws import Flow
from mme_sdk.display import html
from mme_sdk.display.progress import Reporter
from mme_sdk.display.shown import Shown
from mme_sdk.endpoints.operations.calls import (
    Now,
    describe_endpoint,
    describe_if_exists,
    none_if_missing,
    referenced_names,
)
from mme_sdk.endpoints.operations.create import create
from mme_sdk.endpoints.operations.create_resources import create_resources, restore_used
from mme_sdk.endpoints.operations.delete import delete
from mme_sdk.endpoints.operations.replace_fleet import (
    DetachedScaling,
    attach_again,
    check_not_busy,
    noting_scaling,
    replace_fleet,
    spec_or_none,
)
from mme_sdk.endpoints.operations.rollback import earlier_config
from mme_sdk.endpoints.operations.scale import change_in_place
from mme_sdk.endpoints.spec.deployment import Deployment, check_deployment
from mme_sdk.endpoints.spec.deployment_choice import check_fits, pick
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.endpoints.state import ownership
from mme_sdk.endpoints.state.describe import Live, read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.diff import Change, diff
from mme_sdk.endpoints.state.resources import delete_call
from mme_sdk.errors import AccessDeniedError, ConflictError

__all__ = ["Action", "EndpointPlan", "apply", "plan"]

_log = logging.getLogger(__name__)

Action = Literal["create", "create again", "update", "change in place", "nothing"]


@attrs.frozen(kw_only=True, repr=False)
class EndpointPlan(Shown):
    """The changes that `apply` would make.

    Attributes:
        spec: The spec to match.
        action: `create`; `create again` (delete a failed endpoint first); `update` (a new fleet); `change in place`; or
            `nothing`.
        changes: The differences between the endpoint and the spec. Default: none.
        live: The endpoint that was compared; None if it does not exist. Default: None.
    """

    spec: EndpointSpec
    action: Action
    changes: tuple[Change, ...] = ()
    live: Live | None = None

    def __str__(self) -> str:
        lines = [f"Plan for endpoint {self.spec.name}: {self.action}"]
        if self.action.startswith("create"):
            requests = self.spec.to_requests()
            lines += [f"  + model {name}" for name in requests.model_names]
            lines += [f"  + config {requests.config_name}", f"  + endpoint {self.spec.name} ({self.spec.mode})"]
        lines += [f"  {one}" for one in self.changes]
        return "\n".join(lines)

    def _text(self) -> str:
        shown = [str(change) for change in self.changes]
        more = f", {len(shown) - 3} more" if len(shown) > 3 else ""
        text = f"<EndpointPlan {self.spec.name}: {self.action}{': ' if shown else ''}{'; '.join(shown[:3])}{more}>"
        return text if len(text) <= 300 else f"{text[:300]}…>"

    def _html(self) -> str:
        title = f"Plan for endpoint {self.spec.name}: {self.action}"
        if self.changes:
            return html.table(
                title,
                [{"field": one.field, "now": one.old, "planned": one.new, "how": one.how} for one in self.changes],
            )
        return html.facts(title, self.spec._facts() if self.action.startswith("create") else {"changes": "none"})


def plan(spec: EndpointSpec) -> Flow[EndpointPlan]:
    """Return the changes that would make an endpoint match a spec.

    Raises:
        ConflictError: The endpoint is busy with another change.
    """
    check_spec(spec)
    return (yield from _plan(spec, (yield from describe_if_exists(spec.name))))


def _plan(spec: EndpointSpec, seen: EndpointDescription | None) -> Flow[EndpointPlan]:
    if seen is None:
        return EndpointPlan(spec=spec, action="create")
    live = yield from read_live(spec.name, all_tags=True)
    check_not_busy(live.description)
    changes = diff(live, spec)
    status = live.description.status
    action: Action
    if status == "Failed":
        action = "create again"
    elif status == "UpdateRollbackFailed" or any(change.how == "new fleet" for change in changes):
        # After a failed rollback two configurations serve side by side, which only another update ends.
        action = "update"
    else:
        action = "change in place" if changes else "nothing"
    return EndpointPlan(spec=spec, action=action, changes=changes, live=live)


def apply(
    wanted: EndpointSpec | EndpointPlan,
    *,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: Reporter | None,
    must_exist: bool = False,
    replace: bool = False,
) -> Flow[EndpointPlan]:
    """Create or change an endpoint to match a spec, and wait until it does.

    A creation of the same spec that is not complete is completed first, also if another client began it.

    Args:
        wanted: The spec, or a plan. A plan is carried out only if the endpoint has not changed since.
        deployment: How traffic moves. If None, that of the spec; if that is None too, `pick` chooses it.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        progress: Reports each DescribeEndpoint.
        must_exist: Whether to raise EndpointNotFoundError instead of creating an endpoint.
        replace: Whether all instances are replaced by new ones, also if the spec demands none.

    Returns:
        The plan that was carried out.

    Raises:
        ConflictError: The endpoint is busy, or has changed since it was planned.
        EndpointFailedError: The creation failed or the update was rolled back; what it had made is removed.
        WaitTimeoutError: The endpoint is not in service after `timeout` seconds; the change continues.
    """
    check_deployment(deployment)
    spec = wanted.spec if isinstance(wanted, EndpointPlan) else wanted
    check_spec(spec)
    deadline = now() + timeout
    seen = yield from describe_if_exists(spec.name)
    if seen is not None and seen.status == "Creating" and seen.config_name == spec.to_requests().config_name:
        seen = yield from create(spec, timeout=timeout, now=now, progress=progress)
    todo = yield from _plan(spec, seen)
    if isinstance(wanted, EndpointPlan) and (todo.action, todo.changes) != (wanted.action, wanted.changes):
        raise ConflictError(
            f"endpoint {spec.name} has changed since it was planned. The plan is now:\n{todo}",
            hint="review the new plan, then apply it",
            endpoint=spec.name,
        )
    if must_exist:
        yield from describe_endpoint(spec.name)
    if replace and todo.action in ("change in place", "nothing"):
        # The new fleet has its counts from the start: SageMaker places the models among the instances that there are.
        rest = tuple(one for one in todo.changes if not one.field.endswith(".instance_count"))
        todo = attrs.evolve(todo, action="update", changes=rest)
    _log.info("%s", todo)
    if todo.action == "create again":
        yield from delete(spec.name, timeout=timeout, now=now)
    if todo.live is None or todo.action == "create again":
        yield from create(spec, timeout=_left(deadline, now), now=now, progress=progress)
        return todo
    live, off = todo.live, DetachedScaling()
    if todo.action == "update":
        old = spec_or_none(spec.name, live.config, live.models)
        deployment = deployment or spec.deployment
        check_fits(deployment, old, spec)
        requests = spec.to_requests()
        if replace and requests.config_name == live.description.config_name:
            requests = requests.renamed(spec.name)
        created = yield from create_resources(requests, spec.name)
        off = yield from replace_fleet(
            live,
            requests.config,
            requests,
            created=list(created),
            deployment=deployment or pick(old, spec),
            capture_changes=any(change.field.startswith("data_capture") for change in todo.changes),
            timeout=_left(deadline, now),
            now=now,
            progress=progress,
            resize=replace,
        )
    try:
        # Before the steps that may still fail: at most one earlier configuration is kept, whatever they do.
        with noting_scaling(off):
            yield from _remove_earlier(spec.name, todo.live)
    except AccessDeniedError as error:
        # The update itself is complete, so that a caller without the right to list or delete gets no error.
        _log.warning("earlier configurations of endpoint %s were not removed: %s", spec.name, error.message)
    yield from attach_again(live.description, off)
    if todo.changes or live.own_tags:
        # An update detaches autoscaling and attaches it again, so it is read again.
        live = (yield from read_live(spec.name, all_tags=True)) if todo.action == "update" else live
        yield from change_in_place(live, spec, todo.changes, timeout=_left(deadline, now), now=now, progress=progress)
    return todo


def _left(deadline: float, now: Now) -> float:
    return max(deadline - now(), 0.001)


def _remove_earlier(name: str, replaced: Live) -> Flow[None]:
    """Delete earlier configurations and models. Those in use stay, and those that `rollback` needs."""
    seen = yield from describe_endpoint(name)
    keep = {seen.config_name, replaced.description.config_name}
    named = yield from ownership.resources_named_for(name)
    if seen.config_name == replaced.description.config_name:
        # This call replaced no configuration: the one that an earlier update replaced stays.
        keep.add((yield from earlier_config(replaced, named)))
    needed = yield from referenced_names(name, keep)  # also the models of configurations that this SDK did not make
    mine = yield from ownership.owned_by(name, [one for one in named if one.name not in needed])
    others = yield from ownership.used_elsewhere(name, mine)
    if others.note is not None:
        _log.warning("earlier configurations of endpoint %s were not removed: %s", name, others.note)
    deleted = []
    for one in (each for each in mine if each.resource not in others.used):
        # Another client may use it by now.
        seen = yield from describe_endpoint(name)
        needed |= yield from referenced_names(name, [seen.config_name, seen.pending_config])
        if one.resource.name not in needed:
            yield from none_if_missing(delete_call(one.resource, name))
            deleted.append(one)
    yield from restore_used(name, deleted)
