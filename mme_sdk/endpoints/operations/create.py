"""Create an endpoint with its models and configuration, or create nothing."""

from __future__ import annotations

from typing import Any

import attrs

from mme_sdk.aws import Flow, noting
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.autoscaling import backup, scaling_calls
from mme_sdk.endpoints.operations import complete_creation
from mme_sdk.endpoints.operations.calls import Now, describe_if_exists, sagemaker_call
from mme_sdk.endpoints.operations.create_resources import (
    call_with_config,
    create_resources,
    recreate_missing,
    remove_created,
)
from mme_sdk.endpoints.operations.delete import delete
from mme_sdk.endpoints.operations.wait import failure
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.endpoints.state.describe import read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.endpoints.state.diff import diff
from mme_sdk.endpoints.state.resources import Resource
from mme_sdk.errors import ConflictError, MMEError

__all__ = ["Creation", "begin", "create", "finish"]


@attrs.frozen(kw_only=True, eq=False)
class Creation:
    """A creation that SageMaker has accepted.

    Attributes:
        spec: The spec.
        began: Time of the monotonic clock at which CreateEndpoint was called.
        created: What the call made, the endpoint included; empty if the endpoint existed.
        seen: The endpoint, if it existed.
    """

    spec: EndpointSpec
    began: float
    created: tuple[Resource, ...] = ()
    seen: EndpointDescription | None = None

    @property
    def is_new(self) -> bool:
        """Whether the call made the endpoint."""
        return any(resource.kind == "endpoint" for resource in self.created)


def create(
    spec: EndpointSpec, *, timeout: float, now: Now, progress: Reporter | None = None
) -> Flow[EndpointDescription]:
    """Create an endpoint, wait until it is in service and attach its autoscaling.

    Raises:
        ConflictError: An endpoint of this name exists and differs from the spec.
        EndpointFailedError: The creation failed; what it made is removed.
        MMEError: A step failed; what this call made is removed.
        WaitTimeoutError: The endpoint is not in service after `timeout` seconds; its creation continues.
    """
    creation = yield from begin(spec, now=now)
    return (yield from finish(creation, timeout=timeout, now=now, progress=progress))


def begin(spec: EndpointSpec, *, now: Now) -> Flow[Creation]:
    """Create the models, the configuration and the endpoint, and return before the endpoint is in service.

    An endpoint that exists and matches the spec is returned as it is.

    Raises:
        ConflictError: An endpoint of this name exists and differs from the spec.
        EndpointFailedError: The creation of an endpoint of this name has failed. It is removed if this SDK began it.
        MMEError: A step failed; what this call made is removed.
    """
    check_spec(spec)
    requests = spec.to_requests()
    seen = yield from describe_if_exists(spec.name)
    if seen is not None:
        yield from _check_same(spec, seen, now)
        return Creation(spec=spec, began=now(), seen=seen)
    created = list((yield from create_resources(requests, spec.name)))
    request = dict(requests.endpoint)
    if tags := complete_creation.pending_tags(spec):
        request["Tags"] = [*request.get("Tags", []), *tags]
    began = now()
    try:
        yield from call_with_config(
            sagemaker_call("create_endpoint", spec.name, **request), requests, spec.name, created
        )
    except GeneratorExit:
        raise  # the flow was abandoned: no effect can be carried out
    except BaseException as error:
        there = (yield from _exists_anyway(spec.name, error)) if isinstance(error, MMEError) else None
        if there is None or there.config_name != requests.config_name:
            maybe = () if isinstance(error, Exception) else (Resource("endpoint", spec.name),)
            yield from remove_created(created, spec.name, error, maybe)
            raise
        # The call made the endpoint although it raised, or another client created it from the same spec.
    return Creation(spec=spec, began=began, created=(*created, Resource("endpoint", spec.name)))


def _exists_anyway(name: str, error: MMEError) -> Flow[EndpointDescription | None]:
    if error.sent is False:
        return None
    try:
        return (yield from describe_if_exists(name))
    except MMEError:
        return None  # the first error is the one to report


def _check_same(spec: EndpointSpec, seen: EndpointDescription, now: Now) -> Flow[None]:
    """Raise unless an existing endpoint matches a spec, autoscaling that it lacks aside."""
    facts: dict[str, Any] = {"endpoint": spec.name}
    if seen.status == "Failed":
        error = failure(seen, ())
        removed = yield from complete_creation.remove_failed(spec.name, error, now=now)
        then = "it is removed now: create it again" if removed else "endpoints.apply(spec) replaces it"
        error.hint = f"{then}; {error.hint}"
        raise error
    if seen.status == "Deleting":
        raise ConflictError(
            f"endpoint {spec.name} is being deleted", hint="create it again once it is deleted", **facts
        )
    live = yield from read_live(spec.name, all_tags=True)
    if seen.status == "InService" and (yield from complete_creation.attach_pending(live)):
        live = yield from read_live(spec.name, all_tags=True)
    same = seen.config_name == spec.to_requests().config_name
    changes = [
        change
        for change in diff(live, spec)
        # Missing autoscaling is attached later. If the configuration is the one of the spec, only instance counts and
        # weights can differ, because they change without a new configuration.
        if (change.old is not None if ".autoscaling" in change.field else not same)
    ]
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise ConflictError(
            f"endpoint {spec.name} exists and differs from the spec:\n{listed}",
            hint="endpoints.apply(spec) changes it to match; endpoints.get(name) returns it unchanged",
            **facts,
        )


def finish(
    creation: Creation, *, timeout: float, now: Now, progress: Reporter | None = None
) -> Flow[EndpointDescription]:
    """Wait until a created endpoint is in service and attach its autoscaling.

    If this client made the endpoint, a failure of the endpoint or of autoscaling removes everything that was made.

    Raises:
        EndpointFailedError: The creation failed, with SageMaker's reason.
        MMEError: Autoscaling could not be attached.
        WaitTimeoutError: The endpoint is not in service after `timeout` seconds; its creation continues.
    """
    name = creation.spec.name
    with noting(
        f"the creation of endpoint {name} is not complete: endpoints.wait({name!r}) completes it, "
        f"endpoints.delete({name!r}) removes it"
    ):
        return (yield from _finish(creation, timeout=timeout, now=now, progress=progress))


def _finish(creation: Creation, *, timeout: float, now: Now, progress: Reporter | None) -> Flow[EndpointDescription]:
    spec, name = creation.spec, creation.spec.name
    seen = yield from complete_creation.settle(
        name, timeout=timeout, now=now, progress=progress, just_created=creation.is_new, own=creation.is_new
    )
    if not creation.is_new:
        yield from complete_creation.attach_pending((yield from read_live(name)), complete_creation.scaling_of(spec))
        return seen
    yield from recreate_missing(spec.to_requests(), name)
    try:
        # Without reading first: what a new endpoint has attached belongs to an earlier endpoint of its name.
        yield from scaling_calls.attach_all(name, complete_creation.scaling_of(spec))
    except MMEError as error:
        try:
            yield from delete(name, only=creation.created, instance=seen, timeout=600, now=now)
        except MMEError as cleanup_error:
            error.add_note(
                f"endpoint {name} was not removed: {cleanup_error.message}; endpoints.delete({name!r}) removes it"
            )
        raise
    tags = complete_creation.pending_tags(spec)
    yield from backup.remove(name, seen.arn, [tag["Key"] for tag in tags])
    return seen
