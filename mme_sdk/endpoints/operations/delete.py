"""Delete an endpoint, its autoscaling, and the configurations and models that this SDK made for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import attrs

from mme_sdk.aws import Flow, Sleep, noting
from mme_sdk.display import html
from mme_sdk.display.progress import Reporter
from mme_sdk.display.shown import Shown
from mme_sdk.endpoints.autoscaling import scaling_calls
from mme_sdk.endpoints.operations.calls import Now, describe_if_exists, none_if_missing
from mme_sdk.endpoints.operations.create_resources import restore_used
from mme_sdk.endpoints.operations.wait import until_gone
from mme_sdk.endpoints.spec.requests import is_derived_name
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.resources import Resource, delete_call, describe_call
from mme_sdk.errors import AccessDeniedError, ConflictError, NotFoundError, WaitTimeoutError

__all__ = ["EndpointDeletion", "delete", "delete_endpoint"]

_BACK = "endpoint {} was created again by another client: the resources that it may use are kept"


@attrs.frozen(kw_only=True, repr=False)
class EndpointDeletion(Shown):
    """Result of deleting an endpoint.

    Attributes:
        endpoint: EndpointName.
        removed: Deleted resources, in order. Default: none.
        detached: Variants whose autoscaling was detached. Default: none.
        kept: Resources that the endpoint used, or whose names look like its own, that this SDK did not make for it or
            that others use too. Default: none.
        notes: What could not be read, and why. Default: none.
        dry_run: True if nothing was deleted and the result says what would be. Default: False.
    """

    endpoint: str
    removed: tuple[Resource, ...] = ()
    detached: tuple[str, ...] = ()
    kept: tuple[Resource, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def _facts(self) -> dict[str, object]:
        verb = "would remove" if self.dry_run else "removed"
        facts = {verb: [*map(str, self.removed)], "autoscaling detached": self.detached, "kept": [*map(str, self.kept)]}
        return {"endpoint": self.endpoint, **facts, "notes": self.notes}

    def _text(self) -> str:
        counts = f"{html.count(len(self.removed), 'resources')} {'would be removed' if self.dry_run else 'removed'}"
        notes = f", {len(self.notes)} notes" if self.notes else ""
        return f"<EndpointDeletion {self.endpoint}: {counts}, {len(self.kept)} kept{notes}>"

    def __str__(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        lines = [f"{verb} {one}" for one in self.removed]
        lines += [f"{verb} autoscaling of variant {one}" for one in self.detached]
        lines += [f"kept {one}: this SDK did not make it for this endpoint, or others use it" for one in self.kept]
        lines += self.notes
        return "\n".join(lines) or f"endpoint {self.endpoint} and its resources do not exist"


def candidates(endpoint: str, seen: EndpointDescription | None) -> Flow[tuple[tuple[Resource, ...], str | None]]:
    """Return configurations and models whose names look like those of an endpoint, and None.

    If the caller may not list them, return those that the endpoint uses now, and a note.
    """
    try:
        return (yield from ownership.resources_named_for(endpoint)), None
    except AccessDeniedError as error:
        note = f"configurations and models could not be listed, earlier ones may remain: {error.message}"
    name = None if seen is None else seen.config_name
    if name is None:
        return (), note
    config = yield from none_if_missing(describe_call(Resource("config", name), endpoint))
    some = [Resource("config", name), *(Resource("model", one) for one in content.model_names(config))]
    return tuple(one for one in some if is_derived_name(endpoint, one.name)), note


def _survey(endpoint: str) -> Flow[tuple[EndpointDeletion, EndpointDescription | None, tuple[str, ...]]]:
    """Return what a delete would do, the endpoint, and its variants."""
    seen = yield from describe_if_exists(endpoint)
    named, unlisted = yield from candidates(endpoint, seen)
    notes = [] if unlisted is None else [unlisted]
    found = yield from ownership.inspect(named, endpoint)
    mine = [one for one in found if one.made_for == endpoint]
    others = yield from ownership.used_elsewhere(endpoint, mine)
    notes += (
        [] if others.note is None else [f"the configurations and models of endpoint {endpoint} are kept: {others.note}"]
    )
    kept = [one.resource for one in found if one not in mine or one.resource in others.used]
    config = None
    if seen is not None and seen.config_name:
        used = Resource("config", seen.config_name)
        config = yield from none_if_missing(describe_call(used, endpoint))
        if config is not None and (used not in named or used in kept):
            # The models of a configuration that this SDK did not make are kept, whatever their names.
            kept += [used, *(Resource("model", one) for one in content.model_names(config))]
    kept = list(dict.fromkeys(kept))
    removed = tuple(one.resource for one in mine if one.resource not in kept)
    if seen is None:
        # A deletion that was interrupted may have left autoscaling. Configurations are deleted after it.
        variants = [name for one in mine for name in content.variant_names(one.description)]
    else:
        # DescribeEndpoint may not list all variants while an endpoint is being created or updated.
        variants = [*(one.name for one in seen.variants), *content.variant_names(config)]
        removed = (Resource("endpoint", endpoint), *removed)
    variants = list(dict.fromkeys(variants))
    attached, unread = yield from scaling_calls.read_if_allowed(endpoint, variants)
    deletion = EndpointDeletion(
        endpoint=endpoint,
        removed=removed,
        detached=tuple(attached),
        kept=tuple(kept),
        notes=tuple(notes if unread is None else [*notes, unread]),
        dry_run=True,
    )
    return deletion, seen, tuple(variants)


def delete(
    endpoint: str,
    *,
    timeout: float,
    now: Now,
    dry_run: bool = False,
    only: Sequence[Resource] | None = None,
    instance: EndpointDescription | None = None,
    progress: Reporter | None = None,
) -> Flow[EndpointDeletion]:
    """Delete an endpoint and what belongs to it, and wait until it is deleted. Resources that do not exist are skipped.

    Args:
        endpoint: EndpointName.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        dry_run: Return the plan and delete nothing.
        only: Delete no other configurations and models than these.
        instance: Delete this endpoint alone, and not one that another client created with its name since.
        progress: Reports each DescribeEndpoint.

    Returns:
        What was removed and what was kept.

    Raises:
        WaitTimeoutError: The endpoint is not deleted after `timeout` seconds; a further call continues.
    """
    left = f"endpoint {endpoint}: the deletion was interrupted; delete() again continues it"
    with nullcontext() if dry_run else noting(left):
        plan, seen, variants = yield from _survey(endpoint)
        if only is not None:
            plan = attrs.evolve(plan, removed=tuple(one for one in plan.removed if one in only))
        if instance is not None and seen is not None and seen.created != instance.created:
            return attrs.evolve(plan, removed=(), detached=())
        if dry_run:
            return plan
        return (
            yield from _delete(
                plan, seen, variants, timeout=timeout, now=now, only=only, instance=instance, progress=progress
            )
        )


def _delete(
    plan: EndpointDeletion,
    seen: EndpointDescription | None,
    variants: Sequence[str],
    *,
    timeout: float,
    now: Now,
    only: Sequence[Resource] | None,
    instance: EndpointDescription | None,
    progress: Reporter | None,
) -> Flow[EndpointDeletion]:
    start, endpoint = now(), plan.endpoint
    if seen is None:
        yield from scaling_calls.delete_left_alarms(endpoint)
        if plan.detached and not (yield from _is_back(endpoint)):
            plan = yield from _detach(plan, variants)
        return (yield from _remove_resources(plan))
    yield from delete_endpoint(seen, deadline=start + timeout, now=now, any_instance=instance is None)
    left = max(start + timeout - now(), 0.001)
    yield from until_gone(endpoint, timeout=left, now=now, progress=progress, created=seen.created)
    if not (yield from _is_back(endpoint)):
        plan = yield from _detach(plan, variants)
        if only is None:
            late, _ = yield from candidates(endpoint, None)
            new = [one for one in late if one not in (*plan.removed, *plan.kept)]
            more = [one.resource for one in (yield from ownership.owned_by(endpoint, new))]
            plan = attrs.evolve(plan, removed=(*plan.removed, *more))
    return (yield from _remove_resources(plan))


def _detach(plan: EndpointDeletion, variants: Sequence[str]) -> Flow[EndpointDeletion]:
    # What another client added since the survey is deleted too: it belonged to the deleted endpoint.
    attached, _ = yield from scaling_calls.read_if_allowed(plan.endpoint, variants)
    detached = tuple(dict.fromkeys([*plan.detached, *attached]))
    gone = [attached.get(one, scaling_calls.Attached(variant=one, target={})) for one in detached]
    yield from scaling_calls.detach(plan.endpoint, gone)
    return attrs.evolve(plan, detached=detached)


def _is_back(endpoint: str) -> Flow[bool]:
    """Return whether another client has created the endpoint again."""
    seen = yield from describe_if_exists(endpoint)
    return seen is not None and seen.status != "Deleting"


def _remove_resources(plan: EndpointDeletion) -> Flow[EndpointDeletion]:
    """Delete configurations and models. Stop if another client creates the endpoint again, because it may use them."""
    done = [one for one in plan.removed if one.kind == "endpoint"]
    kept, notes = list(plan.kept), list(plan.notes)
    mine = yield from ownership.owned_by(plan.endpoint, [one for one in plan.removed if one.kind != "endpoint"])
    # Deleting an endpoint takes minutes, in which others may have begun to use its resources.
    others = yield from ownership.used_elsewhere(plan.endpoint, mine)
    # Configurations first: they name the models.
    deleted = []
    for each in sorted(mine, key=lambda one: one.resource.kind):
        one = each.resource
        if one in others.used:
            kept.append(one)
            continue
        if (yield from _is_back(plan.endpoint)):
            notes.append(_BACK.format(plan.endpoint))
            break
        yield from none_if_missing(delete_call(one, plan.endpoint))
        done.append(one)
        deleted.append(each)
    restored = yield from restore_used(plan.endpoint, deleted)
    if restored:
        done = [one for one in done if one not in restored]
        kept += restored
        notes = list(dict.fromkeys([*notes, _BACK.format(plan.endpoint)]))
    return attrs.evolve(plan, removed=tuple(done), kept=tuple(kept), notes=tuple(notes), dry_run=False)


def delete_endpoint(seen: EndpointDescription, *, deadline: float, now: Now, any_instance: bool = False) -> Flow[None]:
    """Delete an endpoint alone; return when SageMaker has accepted that, or the endpoint does not exist.

    Args:
        seen: The endpoint.
        deadline: Time of the monotonic clock at which to give up.
        now: The monotonic clock.
        any_instance: Whether to delete an endpoint that another client has created with the same name since.

    Raises:
        WaitTimeoutError: SageMaker refuses the deletion until `deadline`, because the endpoint is changing.
    """
    if seen.status == "Deleting":
        return
    endpoint, pause = seen.name, 0.5
    while True:
        if not any_instance:
            current = yield from describe_if_exists(endpoint)
            if current is None or current.created != seen.created:
                return
        try:
            yield delete_call(Resource("endpoint", endpoint), endpoint)
        except NotFoundError:
            return
        except ConflictError as error:
            # SageMaker does not delete an endpoint that is being created or updated.
            left = deadline - now()
            if left <= 0:
                raise WaitTimeoutError(
                    f"endpoint {endpoint} could not be deleted in time: {error.message}",
                    hint="delete() again continues",
                    endpoint=endpoint,
                ) from error
            yield Sleep(min(pause, left))
            pause = min(pause * 1.5, 10.0)
        else:
            return
