"""Completion of a creation: attach its autoscaling, or remove what a failed one created.

CreateEndpoint returns minutes before the endpoint is in service. The work that is left for then is written into tags of
the endpoint, in the CreateEndpoint request itself:

- `mme_sdk:creation` says that the creation is not complete. If it fails, the endpoint is removed with its configuration
  and models.
- `mme_sdk:pending:…` holds the autoscaling to attach (see `autoscaling.backup`).

Any client can complete the creation from these tags, also after the process that began it has ended. Two clients may do
so at the same time: each step has the same effect when it is repeated. The tags are deleted last.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from mme_sdk.aws import Flow
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.autoscaling import backup, scaling_calls
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.endpoints.operations.calls import Now, describe_if_exists, none_if_missing
from mme_sdk.endpoints.operations.delete import delete_endpoint
from mme_sdk.endpoints.operations.wait import until_gone, until_settled
from mme_sdk.endpoints.spec.requests import MAX_TAGS
from mme_sdk.endpoints.spec.scaling_requests import scaling_requests
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.describe import Live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.ownership import tags_of
from mme_sdk.endpoints.state.resources import Resource, delete_call, describe_call
from mme_sdk.errors import EndpointFailedError, EndpointNotFoundError, MMEError

__all__ = ["attach_pending", "pending_tags", "remove_failed", "scaling_of", "settle"]

_log = logging.getLogger(__name__)

_REMOVAL = 600.0  # seconds in which a failed endpoint is deleted


def scaling_of(spec: EndpointSpec) -> list[Attached]:
    """Return the autoscaling that a spec gives to its variants."""
    return [
        scaling_calls.from_requests(
            variant.name,
            scaling_requests(spec.name, variant.name, variant.runs_on, variant.autoscaling),
            variant.runs_on,
        )
        for variant in spec.variants
        if variant.autoscaling is not None and variant.has_instances
    ]


def pending_tags(spec: EndpointSpec) -> list[dict[str, str]]:
    """Return the tags for CreateEndpoint that say what is left to do; none if the endpoint would have over 50 tags."""
    tags = [
        {"Key": backup.CREATION_TAG, "Value": "incomplete"},
        *backup.to_tags(scaling_of(spec), backup.PENDING_PREFIX),
    ]
    if len(spec.tags) + len(tags) <= MAX_TAGS:
        return tags
    _log.warning(
        "endpoint %s has too many tags to note what is left of its creation: only create() and apply() complete it",
        spec.name,
    )
    return []


def settle(
    name: str,
    *,
    timeout: float,
    now: Now,
    progress: Reporter | None = None,
    just_created: bool = False,
    own: bool = False,
) -> Flow[EndpointDescription]:
    """Wait until an endpoint is in service; remove it if its creation failed and was never completed.

    Args:
        name: EndpointName.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        progress: Reports each DescribeEndpoint.
        just_created: Whether DescribeEndpoint may not find the endpoint yet.
        own: Whether this client made the endpoint. If True, the endpoint's tags are not checked.

    Returns:
        The endpoint in service.

    Raises:
        EndpointFailedError: The endpoint ended in another status.
        WaitTimeoutError: The endpoint is not in service after `timeout`.
    """
    try:
        return (yield from until_settled(name, timeout=timeout, now=now, progress=progress, just_created=just_created))
    except EndpointFailedError as error:
        # Any other status means that the endpoint has served requests, and may serve them still.
        if error.history[-1][1] == "Failed":
            yield from remove_failed(name, error, now=now, own=own)
        raise


def remove_failed(name: str, error: MMEError, *, now: Now, own: bool = False) -> Flow[bool]:
    """Remove an endpoint whose creation failed, with its configuration and models.

    The endpoint is deleted last. As long as it exists, no other client can create an endpoint of its name, and any
    client can continue an interrupted removal.

    Args:
        name: EndpointName.
        error: The failure. It gets a note if something could not be removed.
        now: The monotonic clock.
        own: Whether this client made the endpoint. If True, the endpoint's tags are not checked.

    Returns:
        Whether the endpoint was removed. False if its tags do not say that its creation is incomplete.
    """
    try:
        seen = yield from describe_if_exists(name)
        if seen is None or seen.status != "Failed":
            return False  # another client has removed or replaced it
        if not own and backup.CREATION_TAG not in ((yield from tags_of(seen.arn, name)) or {}):
            return False
        yield from _remove_resources(name, seen, error)
        yield from delete_endpoint(seen, deadline=now() + _REMOVAL, now=now)
        yield from until_gone(name, timeout=_REMOVAL, now=now, created=seen.created)
    except MMEError as cleanup_error:
        error.add_note(
            f"endpoint {name} was not removed: {cleanup_error.message}; endpoints.delete({name!r}) removes it"
        )
        return False
    return True


def _remove_resources(name: str, seen: EndpointDescription, error: MMEError) -> Flow[None]:
    if seen.config_name is None:
        return
    used = Resource("config", seen.config_name)
    config = yield from none_if_missing(describe_call(used, name))
    # The configuration after the models, whose names it holds.
    resources = [*(Resource("model", model) for model in content.model_names(config)), used]
    mine = yield from ownership.owned_by(name, resources)
    others = yield from ownership.used_elsewhere(name, mine)
    if others.note is not None:
        error.add_note(f"left behind: {', '.join(str(found.resource) for found in mine)} ({others.note})")
    for found in mine:
        if found.resource not in others.used:
            yield from none_if_missing(delete_call(found.resource, name))


def attach_pending(live: Live, more: Iterable[Attached] = ()) -> Flow[bool]:
    """Complete the creation of an endpoint in service: attach its autoscaling and delete the tags that ask for it.

    Args:
        live: The endpoint with its tags and autoscaling.
        more: Autoscaling of variants that the tags do not mention; attached to those that have none.

    Returns:
        Whether anything was changed.

    Raises:
        MMEError: Autoscaling could not be read or attached; the tags stay.
    """
    name, seen = live.description.name, live.description
    pending = {key: value for key, value in live.own_tags.items() if backup.is_pending_tag(key)}
    noted, others = backup.read_backups(pending), list(more)
    attached = live.attached
    if attached is None and (noted or others):
        attached = yield from scaling_calls.read(name, [variant.name for variant in seen.variants])
    attached = attached or {}
    missing = [one for one in noted.values() if _is_missing(attached.get(one.variant), one, seen)]
    missing += [one for one in others if one.variant not in noted and one.variant not in attached]
    try:
        yield from scaling_calls.attach_all(name, missing)
    except EndpointNotFoundError:
        raise  # another client has deleted it
    except MMEError as error:
        variants = ", ".join(one.variant for one in missing)
        error.add_note(f"endpoint {name} is in service; autoscaling of {variants} is not attached yet: wait() again")
        raise
    yield from backup.remove(name, seen.arn, list(pending))
    return bool(pending or missing)


def _is_missing(there: Attached | None, noted: Attached, seen: EndpointDescription) -> bool:
    if there is None or backup.is_missing(there, noted):
        return True
    # A scalable target outlives its endpoint: one that is older than this endpoint belongs to an earlier one.
    made = there.target.get("CreationTime")
    return made is not None and seen.created is not None and made < seen.created
