"""Making an endpoint's resources: whole or not at all.

Names come from content, so what another client removes meanwhile can be made again as it was. That, and looking at the
endpoint before anything is removed, is what keeps clients apart: SageMaker has no lock to offer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from mme_sdk.aws import Call, Flow, Sleep
from mme_sdk.endpoints.error_hints import add_hint
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
from mme_sdk.endpoints.state.resources import Resource, delete_call, describe_call
from mme_sdk.errors import ConflictError, EndpointNotFoundError, MMEError, NotFoundError

__all__ = ["call_with_config", "create_resources", "recreate_missing", "remove_created"]

_log = logging.getLogger(__name__)


def create_resources(requests: Requests, endpoint: str) -> Flow[tuple[Resource, ...]]:
    """Make the models and the configuration that are not there yet.

    Returns:
        What this call made; the models first.

    Raises:
        ConflictError: Something else exists under one of the names; it is left as it is.
        MMEError: A step failed; what this call had made is removed.
    """
    begun: dict[Resource, None] = {}
    try:
        for pause in (*CONSISTENCY, None):
            try:
                yield from _make_missing(requests, endpoint, begun)
                break
            except NotFoundError:
                # A model that was just made may not show yet; one that was there may have been removed since.
                if pause is None:
                    raise
                yield Sleep(pause)
    except GeneratorExit:
        raise  # nobody drives this flow any more
    except BaseException as error:
        yield from remove_created(list(begun), endpoint, error)
        raise
    return tuple(begun)


def _make_missing(requests: Requests, endpoint: str, begun: dict[Resource, None]) -> Flow[None]:
    wanted = [(Resource("model", one["ModelName"]), "create_model", one) for one in requests.models]
    wanted.append((Resource("config", requests.config_name), "create_endpoint_config", requests.config))
    # Looking first tells for certain what was there before: a create that is repeated after a lost answer does not.
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
                # An earlier attempt at this call, or a twin of this one, got there first; or somebody else did.
                seen = yield from none_if_missing(describe_call(one, endpoint))  # noqa: PLW2901
                if seen is not None:
                    _refuse_other(one, request, seen, endpoint)


def _refuse_other(one: Resource, request: dict[str, Any], seen: dict[str, Any], endpoint: str) -> None:
    """Refuse to use what has the name of something else: a name alone does not tell what it is."""
    clean = content.of_model if one.kind == "model" else content.of_config
    if clean(request) != ownership.as_made(endpoint, one, seen):
        raise ConflictError(
            f"{one} exists and has another content than its name says: somebody else made it",
            hint="rename or delete it, if nothing needs it, or choose another name for the endpoint",
            endpoint=endpoint,
        )


def call_with_config(call: Call, requests: Requests, endpoint: str, made: list[Resource]) -> Flow[Any]:
    """Make the call that brings a configuration into use; what is missing for it by then is made again.

    Args:
        call: CreateEndpoint or UpdateEndpoint.
        requests: What the configuration is.
        endpoint: The endpoint's name.
        made: What was made so far; what is made again is added.

    Returns:
        The call's answer.
    """
    for pause in CONSISTENCY:
        try:
            return (yield call)
        except EndpointNotFoundError:
            raise
        except NotFoundError:
            yield Sleep(pause)
            made += [one for one in (yield from create_resources(requests, endpoint)) if one not in made]
    return (yield call)


def recreate_missing(requests: Requests, endpoint: str) -> Flow[None]:
    """Make again what another client removed of a configuration just before it came into use.

    Nothing is raised: the change itself is done.
    """
    try:
        made = yield from create_resources(requests, endpoint)
        if made:
            said = yield from _remove_created(made, endpoint)  # where the endpoint is gone too, nothing may stay
            _log.warning("endpoint %s: %s had been removed by another client; %s", endpoint, made, said or "it is gone")
    except MMEError as trouble:
        _log.warning("whether endpoint %s still has its configuration is not known: %s", endpoint, trouble.message)


def remove_created(made: Sequence[Resource], endpoint: str, error: BaseException) -> Flow[None]:
    """Remove what a failed call made, last first; what cannot be removed is noted on the error."""
    add_hint(error)
    try:
        notes = yield from _remove_created(made, endpoint)
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the first one is raised
        notes = [_left(made, "the clean-up was ended")] if made else []
    for note in notes:
        error.add_note(note)


def _remove_created(made: Sequence[Resource], endpoint: str) -> Flow[list[str]]:
    try:
        seen = yield from describe_if_exists(endpoint)
        used = set() if seen is None else {seen.config_name, seen.pending_config}
        if any(one.kind == "config" and one.name in used for one in made):
            # The interrupted call, or a twin of it, is bringing the endpoint up with them: nothing is half-made.
            return [f"the change itself goes on: endpoint {endpoint} exists and is {seen.status if seen else ''}"]
        needed = yield from referenced_names(endpoint, used)
        mine = yield from ownership.owned_by(endpoint, made)
        others = yield from ownership.used_elsewhere(endpoint, mine)
    except MMEError as trouble:
        return [_left(made, trouble.message)] if made else []
    notes = [] if others.note is None else [f"left behind: {', '.join(map(str, made))} ({others.note})"]
    for one in reversed([one.resource for one in mine if one.resource not in others.used]):
        if one.kind == "model" and one.name in needed:
            continue  # a twin of this call, with the same model and another configuration, has won
        try:
            yield delete_call(one, endpoint)
        except NotFoundError:
            continue
        except MMEError as trouble:
            notes.append(_left([one], trouble.message))
    return notes


def _left(left: Iterable[Any], why: str) -> str:
    names = ", ".join(str(one) for one in left)
    return f"left behind: {names} ({why}); delete() of the endpoint's name removes them"
