"""Create: the models, the configuration and the endpoint, or nothing."""

from __future__ import annotations

from typing import Any

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints.autoscaling import backup as parking
from mme_sdk.endpoints.autoscaling import scaling_calls as autoscaling
from mme_sdk.endpoints.operations import delete as deleting
from mme_sdk.endpoints.operations.calls import Now, look_if_there, sagemaker
from mme_sdk.endpoints.operations.create_resources import complete, make_config, unmake, using
from mme_sdk.endpoints.operations.wait import ProgressCallback, failure, until_settled
from mme_sdk.endpoints.spec.requests import scaling_requests
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.endpoints.state.describe import Live, read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.diff import differences
from mme_sdk.endpoints.state.resources import Made
from mme_sdk.errors import ConflictError, EndpointFailedError, MMEError

__all__ = ["Creation", "create", "finish"]


_MOST_TAGS = 50


@attrs.define(kw_only=True, eq=False)
class Creation:
    """A creation that was begun.

    Attributes:
        spec: What was asked for.
        made: What the call made; empty where the endpoint was there already.
        seen: The endpoint, where it was there already.
        finished: Whether a wait has brought it to its end: what goes wrong later is no failed creation.
    """

    spec: EndpointSpec
    made: tuple[Made, ...] = ()
    seen: EndpointDescription | None = None
    finished: bool = False

    @property
    def is_new(self) -> bool:
        """Whether the call made the endpoint."""
        return any(one.kind == "endpoint" for one in self.made)


def create(spec: EndpointSpec) -> Flow[Creation]:
    """Make what a spec describes; asking again for what exists is no error.

    Raises:
        ConflictError: An endpoint of this name exists and is something else; the message says what differs.
        EndpointFailedError: An endpoint of this name exists and has failed.
        MMEError: A step failed; everything that this call made is removed.
    """
    check_spec(spec)
    requests = spec.to_requests()
    seen = yield from look_if_there(spec.name)
    if seen is not None:
        yield from _same_or_raise(spec, seen)
        return Creation(spec=spec, seen=seen)
    made = list((yield from make_config(requests, spec.name)))
    request = dict(requests.endpoint)
    notes = _pending_autoscaling(spec)
    if notes and len(tags := [*request.get("Tags", []), *notes]) <= _MOST_TAGS:
        request["Tags"] = tags
    try:
        yield from using(sagemaker("create_endpoint", spec.name, **request), requests, spec.name, made)
    except GeneratorExit:
        raise  # nobody drives this flow any more
    except BaseException as error:
        there = (yield from _there_anyway(spec.name, error)) if isinstance(error, MMEError) else None
        if there is None or there.config_name != requests.config_name:
            yield from unmake(made, spec.name, error)
            raise
        # It answered badly and yet made the endpoint, or a twin of this call did.
    return Creation(spec=spec, made=(*made, Made("endpoint", spec.name)))


def _pending_autoscaling(spec: EndpointSpec) -> list[dict[str, str]]:
    """Autoscaling as tags of the new endpoint: another client that waits for it, or applies its spec, attaches it."""
    pending = []
    for one in spec.variants:
        if one.autoscaling is not None and one.has_instances:
            requests = scaling_requests(spec.name, one.name, one.runs_on, one.autoscaling)
            pending.append(autoscaling.from_requests(one.name, requests, one.runs_on))
    return parking.notes_of(pending, parking.PENDING)


def _there_anyway(name: str, error: MMEError) -> Flow[EndpointDescription | None]:
    if error.sent is False:
        return None
    try:
        return (yield from look_if_there(name))
    except MMEError:
        return None  # the first error says more


def _same_or_raise(spec: EndpointSpec, seen: EndpointDescription) -> Flow[None]:
    facts: dict[str, Any] = {"endpoint": spec.name}
    if seen.status == "Failed":
        error = failure(seen, ())
        error.hint = f"endpoints.apply(spec) deletes it and creates it again; {error.hint}"
        raise error
    if seen.status == "Deleting":
        raise ConflictError(
            f"endpoint {spec.name} is being deleted", hint="wait until it is gone, then create it again", **facts
        )
    live: Live = yield from read_live(spec.name, all_tags=True)
    same = seen.config_name == spec.to_requests().config_name
    changes = [
        one
        for one in differences(live, spec)
        # An interrupted creation has not come to its autoscaling yet; and an endpoint that was scaled is the same one.
        if (one.old is not None if ".autoscaling" in one.field else not same)
    ]
    if changes:
        listed = "\n".join(f"  {one}" for one in changes)
        raise ConflictError(
            f"endpoint {spec.name} exists and is something else:\n{listed}",
            hint="endpoints.apply(spec) changes it to match; endpoints.get(name) takes it as it is",
            **facts,
        )


def finish(
    creation: Creation, *, timeout: float, now: Now, progress: ProgressCallback | None = None
) -> Flow[EndpointDescription]:
    """Wait for a creation to end: attach autoscaling, or remove what was made.

    Raises:
        EndpointFailedError: It failed, with SageMaker's reason; everything that the creation made is removed.
        MMEError: Autoscaling could not be attached; everything that the creation made is removed.
        WaitTimeoutError: The time is over; the creation goes on.
    """
    spec, name = creation.spec, creation.spec.name
    try:
        seen = yield from until_settled(name, timeout=timeout, now=now, progress=progress, just_made=creation.is_new)
    except EndpointFailedError as error:
        # What is in another bad state has served, and may serve still: that is no failed creation.
        if creation.is_new and error.history[-1][1] == "Failed":
            yield from _undo(creation, error, now)
        raise
    if creation.is_new:
        yield from complete(spec.to_requests(), name)
    try:
        yield from _attach_missing(creation)
    except MMEError as error:
        if creation.is_new:
            yield from _undo(creation, error, now)
        raise
    creation.finished = True
    keys = [one["Key"] for one in _pending_autoscaling(spec)] if creation.is_new else []
    yield from parking.forget(name, seen.arn, keys)
    return seen


def _attach_missing(creation: Creation) -> Flow[None]:
    spec = creation.spec
    scaled = {one.name: one for one in spec.variants if one.autoscaling is not None and one.has_instances}
    # What a new endpoint finds attached is of an earlier one of its name.
    missing = bool(scaled) and not creation.is_new
    attached = (yield from autoscaling.read(spec.name, list(scaled))) if missing else {}
    for variant, one in scaled.items():
        if variant not in attached and one.autoscaling is not None:
            requests = scaling_requests(spec.name, variant, one.runs_on, one.autoscaling)
            yield from autoscaling.attach(spec.name, variant, requests)


def _undo(creation: Creation, error: MMEError, now: Now) -> Flow[None]:
    try:
        yield from deleting.delete(creation.spec.name, only=creation.made, timeout=600, now=now)
    except MMEError as trouble:
        error.add_note(f"cleaning up failed: {trouble.message}; delete() of the endpoint's name goes on with it")
