"""Delete: the endpoint, its autoscaling, its configurations and models; and nothing that is not its own."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from mme_sdk.aws import Flow, Sleep
from mme_sdk.endpoints.autoscaling import scaling_calls
from mme_sdk.endpoints.operations.calls import Now, describe_if_exists, none_if_missing
from mme_sdk.endpoints.operations.wait import ProgressCallback, until_gone
from mme_sdk.endpoints.spec.requests import is_derived_name
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.resources import Resource, delete_call, describe_call
from mme_sdk.errors import AccessDeniedError, ConflictError, NotFoundError, WaitTimeoutError

__all__ = ["EndpointDeletion", "delete", "delete_endpoint"]


@attrs.frozen(kw_only=True)
class EndpointDeletion:
    """What a delete removes, or would remove.

    Attributes:
        endpoint: The endpoint's name.
        removed: Resources that belong to the endpoint, in the order of removal.
        detached: Variants whose autoscaling goes.
        kept: Resources that the endpoint uses, or that have such names as its own, but that this SDK did not make for
            it or that others use too.
        notes: What could not be looked at, and why.
        dry_run: Whether nothing was touched.
    """

    endpoint: str
    removed: tuple[Resource, ...] = ()
    detached: tuple[str, ...] = ()
    kept: tuple[Resource, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def __str__(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        lines = [f"{verb} {one}" for one in self.removed]
        lines += [f"{verb} autoscaling of variant {one}" for one in self.detached]
        lines += [f"kept {one}: others made it, or another endpoint uses it too" for one in self.kept]
        lines += self.notes
        return "\n".join(lines) or f"nothing of endpoint {self.endpoint} is there"


def candidates(endpoint: str, seen: EndpointDescription | None) -> Flow[tuple[tuple[Resource, ...], str | None]]:
    """Configurations and models that may be an endpoint's own by their names.

    Where the caller may not list, only those that the endpoint uses now; and why not more.
    """
    try:
        return (yield from ownership.resources_named_for(endpoint)), None
    except AccessDeniedError as error:
        note = f"configurations and models could not be listed, earlier ones may be left: {error.message}"
    name = None if seen is None else seen.config_name
    if name is None:
        return (), note
    config = yield from none_if_missing(describe_call(Resource("config", name), endpoint))
    some = [Resource("config", name), *(Resource("model", one) for one in content.model_names(config))]
    return tuple(one for one in some if is_derived_name(endpoint, one.name)), note


def survey(endpoint: str) -> Flow[tuple[EndpointDeletion, EndpointDescription | None, tuple[str, ...]]]:
    """What a delete would do; the endpoint, and its variants."""
    seen = yield from describe_if_exists(endpoint)
    named, unlisted = yield from candidates(endpoint, seen)
    notes = [] if unlisted is None else [unlisted]
    found = yield from ownership.inspect(named, endpoint)
    mine = [one for one in found if one.made_for == endpoint]
    others = yield from ownership.used_elsewhere(endpoint, mine)
    notes += [] if others.note is None else [f"what was made for endpoint {endpoint} is kept: {others.note}"]
    kept = [one.resource for one in found if one not in mine or one.resource in others.used]
    config = None
    if seen is not None and seen.config_name:
        used = Resource("config", seen.config_name)
        config = yield from none_if_missing(describe_call(used, endpoint))
        if config is not None and (used not in named or used in kept):
            # A model that a foreign configuration uses stays, whatever its name.
            kept += [used, *(Resource("model", one) for one in content.model_names(config))]
    kept = list(dict.fromkeys(kept))
    removed = tuple(one.resource for one in mine if one.resource not in kept)
    if seen is None:
        return (
            EndpointDeletion(endpoint=endpoint, removed=removed, kept=tuple(kept), notes=tuple(notes), dry_run=True),
            None,
            (),
        )
    # An endpoint that is being created or updated may not show all of its variants yet.
    variants = tuple(dict.fromkeys([*(one.name for one in seen.variants), *content.variant_names(config)]))
    attached, trouble = yield from scaling_calls.read_if_allowed(endpoint, variants)
    deletion = EndpointDeletion(
        endpoint=endpoint,
        removed=(Resource("endpoint", endpoint), *removed),
        detached=tuple(attached),
        kept=tuple(kept),
        notes=tuple(notes if trouble is None else [*notes, trouble]),
        dry_run=True,
    )
    return deletion, seen, variants


def delete(
    endpoint: str,
    *,
    timeout: float,
    now: Now,
    dry_run: bool = False,
    only: Sequence[Resource] | None = None,
    instance: EndpointDescription | None = None,
    progress: ProgressCallback | None = None,
) -> Flow[EndpointDeletion]:
    """Delete an endpoint and what belongs to it, and wait until it is gone. Resources that do not exist are skipped.

    Args:
        endpoint: EndpointName.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        dry_run: Return the plan and delete nothing.
        only: Delete no other configurations and models than these.
        instance: Delete this endpoint alone, and not one that another client created with its name since.
        progress: Called after each DescribeEndpoint.

    Returns:
        What was removed and what was kept.

    Raises:
        WaitTimeoutError: The endpoint is not deleted after `timeout` seconds; a further call continues.
    """
    plan, seen, variants = yield from survey(endpoint)
    if only is not None:
        plan = attrs.evolve(plan, removed=tuple(one for one in plan.removed if one in only))
    if instance is not None and seen is not None and seen.created != instance.created:
        return attrs.evolve(plan, removed=(), detached=())
    if dry_run:
        return plan
    try:
        return (
            yield from _delete(
                plan, seen, variants, timeout=timeout, now=now, only=only, instance=instance, progress=progress
            )
        )
    except (Exception, GeneratorExit):
        raise
    except BaseException as error:
        error.add_note(f"endpoint {endpoint}: the deletion was interrupted; delete() again continues it")
        raise


def _delete(
    plan: EndpointDeletion,
    seen: EndpointDescription | None,
    variants: Sequence[str],
    *,
    timeout: float,
    now: Now,
    only: Sequence[Resource] | None,
    instance: EndpointDescription | None,
    progress: ProgressCallback | None,
) -> Flow[EndpointDeletion]:
    start, endpoint = now(), plan.endpoint
    if seen is None:
        return (yield from _remove_resources(plan))
    yield from delete_endpoint(seen, deadline=start + timeout, now=now, any_instance=instance is None)
    left = max(start + timeout - now(), 0.001)
    yield from until_gone(endpoint, timeout=left, now=now, progress=progress, created=seen.created)
    if not (yield from _is_back(endpoint)):
        # What another client brought since the survey goes too: its change was to the endpoint that is gone.
        attached, _ = yield from scaling_calls.read_if_allowed(endpoint, variants)
        detached = tuple(dict.fromkeys([*plan.detached, *attached]))
        yield from scaling_calls.detach(endpoint, detached)
        plan = attrs.evolve(plan, detached=detached)
        if only is None:
            late, _ = yield from candidates(endpoint, None)
            new = [one for one in late if one not in (*plan.removed, *plan.kept)]
            more = [one.resource for one in (yield from ownership.owned_by(endpoint, new))]
            plan = attrs.evolve(plan, removed=(*plan.removed, *more))
    return (yield from _remove_resources(plan))


def _is_back(endpoint: str) -> Flow[bool]:
    """Whether another client has created the endpoint anew."""
    seen = yield from describe_if_exists(endpoint)
    return seen is not None and seen.status != "Deleting"


def _remove_resources(plan: EndpointDeletion) -> Flow[EndpointDeletion]:
    """Remove configurations and models, as long as nobody creates the endpoint again: it would need them."""
    done = [one for one in plan.removed if one.kind == "endpoint"]
    kept, notes = list(plan.kept), list(plan.notes)
    mine = yield from ownership.owned_by(plan.endpoint, [one for one in plan.removed if one.kind != "endpoint"])
    # Deleting an endpoint takes minutes: others may have begun to use what was made for it.
    others = yield from ownership.used_elsewhere(plan.endpoint, mine)
    # Configurations go first, whenever they were found: they are what names the models.
    for one in sorted((each.resource for each in mine), key=lambda one: one.kind):
        if one in others.used:
            kept.append(one)
            continue
        if (yield from _is_back(plan.endpoint)):
            notes.append(f"endpoint {plan.endpoint} was created again by another client: what it may use was left")
            break
        yield from none_if_missing(delete_call(one, plan.endpoint))
        done.append(one)
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
