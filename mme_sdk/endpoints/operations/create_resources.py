"""Create an endpoint's models and configuration, all or none.

SageMaker has no locks. Two rules protect clients from each other: names are derived from content, so that a resource
that another client deletes can be created again unchanged; and the endpoint is described before anything is deleted,
and again afterwards, because another client may have begun to use it in between.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from mme_sdk.aws import Call, Flow, Sleep
from mme_sdk.aws.failure_hints import add_hint
from mme_sdk.endpoints.operations.calls import (
    CONSISTENCY,
    describe_if_exists,
    gather,
    none_if_missing,
    referenced_names,
    sagemaker_call,
)
from mme_sdk.endpoints.spec.requests import Requests
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.ownership import DescribedResource
from mme_sdk.endpoints.state.resources import Resource, delete_call, describe_call
from mme_sdk.errors import ConflictError, EndpointNotFoundError, MMEError, NotFoundError

__all__ = ["call_with_config", "create_resources", "recreate_missing", "remove_created", "restore_used"]

_log = logging.getLogger(__name__)


def create_resources(requests: Requests, endpoint: str) -> Flow[tuple[Resource, ...]]:
    """Create the models and the configuration that do not exist.

    Returns:
        What this call created, models first.

    Raises:
        ConflictError: A resource with other content has one of the names; it is not changed.
        MMEError: A step failed; what this call created is removed.
    """
    begun: dict[Resource, None] = {}
    try:
        for pause in (*CONSISTENCY, None):
            try:
                yield from _make_missing(requests, endpoint, begun)
                break
            except NotFoundError:
                # A new model may not be visible yet, or another client may have deleted an existing one.
                if pause is None:
                    raise
                yield Sleep(pause)
    except GeneratorExit:
        raise  # the flow was abandoned: no effect can be carried out
    except BaseException as error:
        yield from remove_created(list(begun), endpoint, error)
        raise
    return tuple(begun)


def _make_missing(requests: Requests, endpoint: str, begun: dict[Resource, None]) -> Flow[None]:
    wanted = [(Resource("model", one["ModelName"]), "create_model", one) for one in requests.models]
    wanted.append((Resource("config", requests.config_name), "create_endpoint_config", requests.config))
    # Describing first shows reliably what existed before. A create call does not: it may be a repetition whose first
    # answer was lost.
    there = yield from gather([none_if_missing(describe_call(one, endpoint)) for one, _, _ in wanted])
    for (one, _, request), seen in zip(wanted, there, strict=True):
        if seen is not None:
            _refuse_other(one, request, seen, endpoint)
    for (one, operation, request), seen in zip(wanted, there, strict=True):
        if seen is None:
            begun[one] = None
            try:
                yield sagemaker_call(operation, endpoint, **request)
            except ConflictError:
                # An earlier attempt of this call created it, or another client did.
                seen = yield from none_if_missing(describe_call(one, endpoint))  # noqa: PLW2901
                if seen is not None:
                    _refuse_other(one, request, seen, endpoint)


def _refuse_other(one: Resource, request: dict[str, Any], seen: dict[str, Any], endpoint: str) -> None:
    """Raise ConflictError if an existing resource has other content than the one to create."""
    clean = content.of_model if one.kind == "model" else content.of_config
    if clean(request) != ownership.as_made(endpoint, one, seen):
        raise ConflictError(
            f"{one} exists with other content than this SDK gives that name: it was created by hand or by another tool",
            hint="delete it if nothing needs it, or choose another name for the endpoint",
            endpoint=endpoint,
        )


def call_with_config(call: Call, requests: Requests, endpoint: str, created: list[Resource]) -> Flow[Any]:
    """Make a call that uses a configuration; create the configuration again if another client has deleted it.

    Args:
        call: CreateEndpoint or UpdateEndpoint.
        requests: The requests that create the configuration and its models.
        endpoint: EndpointName.
        created: What was created so far; what is created again is added.

    Returns:
        The answer of the call.
    """
    for pause in CONSISTENCY:
        try:
            return (yield call)
        except EndpointNotFoundError:
            raise
        except NotFoundError:
            yield Sleep(pause)
            created += [one for one in (yield from create_resources(requests, endpoint)) if one not in created]
    return (yield call)


def recreate_missing(requests: Requests, endpoint: str) -> Flow[None]:
    """Create the models and the configuration of an endpoint again if another client has deleted them.

    A failure is logged and not raised, because the endpoint itself is in service.
    """
    try:
        created = yield from create_resources(requests, endpoint)
        if created:
            notes = yield from _remove_created(created, endpoint)  # if the endpoint is deleted too, nothing may stay
            _log.warning(
                "endpoint %s: another client had deleted %s; %s", endpoint, created, notes or "they are deleted again"
            )
    except MMEError as cleanup_error:
        _log.warning(
            "could not check that the configuration of endpoint %s exists: %s", endpoint, cleanup_error.message
        )


def restore_used(endpoint: str, deleted: Sequence[DescribedResource]) -> Flow[tuple[Resource, ...]]:
    """Create again what this client has deleted although the endpoint uses it.

    Another client may start the endpoint, or update it, after this client described it and before this client deleted
    a configuration. A failure is logged and not raised.

    Args:
        endpoint: EndpointName.
        deleted: What this client has deleted, as described before.

    Returns:
        What was created again, models first.
    """
    if not deleted:
        return ()
    try:
        seen = yield from describe_if_exists(endpoint)
        used = set() if seen is None else {seen.config_name, seen.pending_config}
        needed = yield from referenced_names(endpoint, used)
        for one in deleted:
            if one.resource.kind == "config" and one.resource.name in used:
                needed |= set(content.model_names(one.description))
        missing = [one for one in deleted if one.resource.name in needed]
        missing.sort(key=lambda one: one.resource.kind, reverse=True)  # models first
        for one in missing:
            try:
                yield _creation(one, endpoint)
            except ConflictError:
                continue  # the other client has created it again
    except MMEError as error:
        _log.warning("could not create again what endpoint %s uses: %s", endpoint, error.message)
        return ()
    return tuple(one.resource for one in missing)


def _creation(one: DescribedResource, endpoint: str) -> Call:
    """Return the call that creates a described resource."""
    request = dict(ownership.as_made(endpoint, one.resource, one.description))
    request["Tags"] = [{"Key": key, "Value": value} for key, value in (one.tags or {}).items()]
    if one.resource.kind == "config":
        return sagemaker_call("create_endpoint_config", endpoint, EndpointConfigName=one.resource.name, **request)
    if one.description.get("PrimaryContainer"):
        (request["PrimaryContainer"],) = request.pop("Containers")
    return sagemaker_call("create_model", endpoint, ModelName=one.resource.name, **request)


def remove_created(
    created: Sequence[Resource], endpoint: str, error: BaseException, maybe: Sequence[Resource] = ()
) -> Flow[None]:
    """Remove what a failed call created, in reverse order. The error gets a note on what could not be removed.

    Args:
        created: What the call created.
        endpoint: EndpointName.
        error: The error of the call.
        maybe: What SageMaker may have created too; named in the note if the clean-up is interrupted.
    """
    add_hint(error)
    try:
        notes = yield from _remove_created(created, endpoint)
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the caller raises the first error
        left = (*maybe, *created)
        notes = [_left(left, "the clean-up was interrupted")] if left else []
    for note in notes:
        error.add_note(note)


def _remove_created(created: Sequence[Resource], endpoint: str) -> Flow[list[str]]:
    try:
        seen = yield from describe_if_exists(endpoint)
        used = set() if seen is None else {seen.config_name, seen.pending_config}
        if any(one.kind == "config" and one.name in used for one in created):
            # The interrupted call, or one of another client, is starting the endpoint with these resources.
            return [f"the change itself continues: endpoint {endpoint} exists and is {seen.status if seen else ''}"]
        needed = yield from referenced_names(endpoint, used)
        mine = yield from ownership.owned_by(endpoint, created)
        others = yield from ownership.used_elsewhere(endpoint, mine)
    except MMEError as cleanup_error:
        return [_left(created, cleanup_error.message)] if created else []
    notes = [] if others.note is None else [f"left behind: {', '.join(map(str, created))} ({others.note})"]
    deleted = []
    for each in reversed([one for one in mine if one.resource not in others.used]):
        if each.resource.kind == "model" and each.resource.name in needed:
            continue  # another client uses the same model in another configuration
        try:
            yield delete_call(each.resource, endpoint)
        except NotFoundError:
            continue
        except MMEError as cleanup_error:
            notes.append(_left([each.resource], cleanup_error.message))
        else:
            deleted.append(each)
    yield from restore_used(endpoint, deleted)
    return notes


def _left(left: Iterable[Any], why: str) -> str:
    names = ", ".join(str(one) for one in left)
    return f"left behind: {names} ({why}); delete() of the endpoint's name removes them"
