"""Delete: the endpoint, its autoscaling, its configurations and models; and nothing that is not its own."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from mme_sdk.aws import Flow, Sleep
from mme_sdk.endpoints.autoscaling import scaling_calls as autoscaling
from mme_sdk.endpoints.operations.calls import Now, absent_ok, look_if_there
from mme_sdk.endpoints.operations.wait import ProgressCallback, until_gone
from mme_sdk.endpoints.spec.requests import is_derived_name
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.resources import Made, describe, remove
from mme_sdk.errors import AccessDeniedError, ConflictError, NotFoundError, WaitTimeoutError

__all__ = ["Deletion", "delete", "survey"]


@attrs.frozen(kw_only=True)
class Deletion:
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
    removed: tuple[Made, ...] = ()
    detached: tuple[str, ...] = ()
    kept: tuple[Made, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def __str__(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        lines = [f"{verb} {one}" for one in self.removed]
        lines += [f"{verb} autoscaling of variant {one}" for one in self.detached]
        lines += [f"kept {one}: others made it, or another endpoint uses it too" for one in self.kept]
        lines += self.notes
        return "\n".join(lines) or f"nothing of endpoint {self.endpoint} is there"


def parts_of(endpoint: str, seen: EndpointDescription | None) -> Flow[tuple[tuple[Made, ...], str | None]]:
    """Configurations and models that may be an endpoint's own by their names.

    Where the caller may not list, only those that the endpoint uses now; and why not more.
    """
    try:
        return (yield from ownership.look_alikes(endpoint)), None
    except AccessDeniedError as error:
        note = f"configurations and models could not be listed, earlier ones may be left: {error.message}"
    name = None if seen is None else seen.config_name
    if name is None:
        return (), note
    config = yield from absent_ok(describe(Made("config", name), endpoint))
    some = [Made("config", name), *(Made("model", one) for one in content.model_names(config))]
    return tuple(one for one in some if is_derived_name(endpoint, one.name)), note


def survey(endpoint: str) -> Flow[tuple[Deletion, EndpointDescription | None, tuple[str, ...]]]:
    """What a delete would do; the endpoint, and its variants."""
    seen = yield from look_if_there(endpoint)
    named, unlisted = yield from parts_of(endpoint, seen)
    notes = [] if unlisted is None else [unlisted]
    found = yield from ownership.inspect(named, endpoint)
    mine = [one for one in found if one.made_for == endpoint]
    others = yield from ownership.used_elsewhere(endpoint, mine)
    notes += [] if others.note is None else [f"what was made for endpoint {endpoint} is kept: {others.note}"]
    kept = [one.one for one in found if one not in mine or one.one in others.used]
    config = None
    if seen is not None and seen.config_name:
        used = Made("config", seen.config_name)
        config = yield from absent_ok(describe(used, endpoint))
        if config is not None and (used not in named or used in kept):
            # A model that a foreign configuration uses stays, whatever its name.
            kept += [used, *(Made("model", one) for one in content.model_names(config))]
    kept = list(dict.fromkeys(kept))
    removed = tuple(one.one for one in mine if one.one not in kept)
    if seen is None:
        return (
            Deletion(endpoint=endpoint, removed=removed, kept=tuple(kept), notes=tuple(notes), dry_run=True),
            None,
            (),
        )
    # An endpoint that is being created or updated may not show all of its variants yet.
    variants = tuple(dict.fromkeys([*(one.name for one in seen.variants), *content.variant_names(config)]))
    attached, trouble = yield from autoscaling.read_if_allowed(endpoint, variants)
    deletion = Deletion(
        endpoint=endpoint,
        removed=(Made("endpoint", endpoint), *removed),
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
    only: Sequence[Made] | None = None,
    progress: ProgressCallback | None = None,
) -> Flow[Deletion]:
    """Delete an endpoint and what belongs to it, and wait until it is gone; what is not there is no error.

    Args:
        endpoint: The endpoint's name.
        timeout: Seconds to wait at most.
        now: The clock.
        dry_run: Only say what would go.
        only: Remove no other configurations and models than these.
        progress: Told of every look.

    Returns:
        What was removed and what was kept.

    Raises:
        WaitTimeoutError: The time is over; delete again to go on.
    """
    plan, seen, variants = yield from survey(endpoint)
    if only is not None:
        plan = attrs.evolve(plan, removed=tuple(one for one in plan.removed if one in only))
    if dry_run:
        return plan
    try:
        return (yield from _delete(plan, seen, variants, timeout=timeout, now=now, only=only, progress=progress))
    except (Exception, GeneratorExit):
        raise
    except BaseException as error:
        error.add_note(f"endpoint {endpoint}: the deletion was ended; delete() again goes on where it stopped")
        raise


def _delete(
    plan: Deletion,
    seen: EndpointDescription | None,
    variants: Sequence[str],
    *,
    timeout: float,
    now: Now,
    only: Sequence[Made] | None,
    progress: ProgressCallback | None,
) -> Flow[Deletion]:
    start, endpoint = now(), plan.endpoint
    if seen is None:
        return (yield from _remove_parts(plan))
    yield from _delete_endpoint(endpoint, seen, deadline=start + timeout, now=now)
    left = max(start + timeout - now(), 0.001)
    yield from until_gone(endpoint, timeout=left, now=now, progress=progress, created=seen.created)
    if not (yield from _is_back(endpoint)):
        # What another client brought since the survey goes too: its change was to the endpoint that is gone.
        attached, _ = yield from autoscaling.read_if_allowed(endpoint, variants)
        detached = tuple(dict.fromkeys([*plan.detached, *attached]))
        yield from autoscaling.detach(endpoint, detached)
        plan = attrs.evolve(plan, detached=detached)
        if only is None:
            late, _ = yield from parts_of(endpoint, None)
            new = [one for one in late if one not in (*plan.removed, *plan.kept)]
            more = [one.one for one in (yield from ownership.own(endpoint, new))]
            plan = attrs.evolve(plan, removed=(*plan.removed, *more))
    return (yield from _remove_parts(plan))


def _is_back(endpoint: str) -> Flow[bool]:
    """Whether another client has created the endpoint anew."""
    seen = yield from look_if_there(endpoint)
    return seen is not None and seen.status != "Deleting"


def _remove_parts(plan: Deletion) -> Flow[Deletion]:
    """Remove configurations and models, as long as nobody creates the endpoint again: it would need them."""
    done = [one for one in plan.removed if one.kind == "endpoint"]
    kept, notes = list(plan.kept), list(plan.notes)
    mine = yield from ownership.own(plan.endpoint, [one for one in plan.removed if one.kind != "endpoint"])
    # Deleting an endpoint takes minutes: others may have begun to use what was made for it.
    others = yield from ownership.used_elsewhere(plan.endpoint, mine)
    # Configurations go first, whenever they were found: they are what names the models.
    for one in sorted((each.one for each in mine), key=lambda one: one.kind):
        if one in others.used:
            kept.append(one)
            continue
        if (yield from _is_back(plan.endpoint)):
            notes.append(f"endpoint {plan.endpoint} was created again by another client: what it may use was left")
            break
        yield from absent_ok(remove(one, plan.endpoint))
        done.append(one)
    return attrs.evolve(plan, removed=tuple(done), kept=tuple(kept), notes=tuple(notes), dry_run=False)


def _delete_endpoint(endpoint: str, seen: EndpointDescription, *, deadline: float, now: Now) -> Flow[None]:
    if seen.status == "Deleting":
        return
    pause = 0.5
    while True:
        try:
            yield remove(Made("endpoint", endpoint), endpoint)
        except NotFoundError:
            return
        except ConflictError as error:
            # An endpoint that is being created or updated cannot be deleted yet.
            left = deadline - now()
            if left <= 0:
                raise WaitTimeoutError(
                    f"endpoint {endpoint} could not be deleted in time: {error.message}",
                    hint="delete() again: it goes on where it stopped",
                    endpoint=endpoint,
                ) from error
            yield Sleep(min(pause, left))
            pause = min(pause * 1.5, 10.0)
        else:
            return
