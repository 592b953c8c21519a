"""Making an endpoint's resources: whole or not at all.

Names come from content, so what another client removes meanwhile can be made again as it was. That, and looking at the
endpoint before anything is removed, is what keeps clients apart: SageMaker has no lock to offer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import attrs

from mme_sdk.aws import Call, Flow, Sleep
from mme_sdk.endpoints.advice import advise
from mme_sdk.endpoints.calls import CONSISTENCY, absent_ok, look_if_there, needs, sagemaker, together
from mme_sdk.endpoints.requests import Requests
from mme_sdk.errors import ConflictError, EndpointNotFoundError, MMEError, NotFoundError

__all__ = ["Made", "complete", "make_config", "remove", "unmake", "using"]

_log = logging.getLogger(__name__)

Kind = Literal["endpoint", "config", "model"]
_NAMES: dict[Kind, tuple[str, str]] = {
    "endpoint": ("delete_endpoint", "EndpointName"),
    "config": ("delete_endpoint_config", "EndpointConfigName"),
    "model": ("delete_model", "ModelName"),
}


@attrs.frozen
class Made:
    """A resource that a call made, and that nothing else uses yet.

    Attributes:
        kind: `endpoint`, `config` or `model`.
        name: Its name.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def remove(one: Made, endpoint: str | None = None) -> Call:
    """The call that deletes a resource."""
    operation, parameter = _NAMES[one.kind]
    return sagemaker(operation, endpoint, **{parameter: one.name})


def make_config(requests: Requests, endpoint: str) -> Flow[tuple[Made, ...]]:
    """Make the models and the configuration that are not there yet.

    Their names come from their content, so whatever exists under a name is what is wanted.

    Returns:
        What this call made; the models first.

    Raises:
        MMEError: A step failed; what this call had made is removed.
    """
    begun: dict[Made, None] = {}
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
        yield from unmake(list(begun), endpoint, error)
        raise
    return tuple(begun)


def _make_missing(requests: Requests, endpoint: str, begun: dict[Made, None]) -> Flow[None]:
    calls: list[tuple[Made, Call, Call]] = [
        (
            Made("model", model["ModelName"]),
            sagemaker("describe_model", endpoint, ModelName=model["ModelName"]),
            sagemaker("create_model", endpoint, **model),
        )
        for model in requests.models
    ]
    calls.append(
        (
            Made("config", requests.config_name),
            sagemaker("describe_endpoint_config", endpoint, EndpointConfigName=requests.config_name),
            sagemaker("create_endpoint_config", endpoint, **requests.config),
        )
    )
    # Looking first tells for certain what was there before: a create that is repeated after a lost answer does not.
    there = yield from together([absent_ok(describe) for _, describe, _ in calls])
    for (made, _, create), seen in zip(calls, there, strict=True):
        if seen is None:
            begun[made] = None
            try:
                yield create
            except ConflictError:
                continue  # an earlier attempt at this call, or a twin of this one, got there first


def using(call: Call, requests: Requests, endpoint: str, made: list[Made]) -> Flow[Any]:
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
            made += [one for one in (yield from make_config(requests, endpoint)) if one not in made]
    return (yield call)


def complete(requests: Requests, endpoint: str) -> Flow[None]:
    """Make again what another client removed of a configuration just before it came into use.

    Nothing is raised: the change itself is done.
    """
    try:
        made = yield from make_config(requests, endpoint)
        if made:
            said = yield from _unmake(made, endpoint)  # where the endpoint is gone too, nothing may stay
            _log.warning("endpoint %s: %s had been removed by another client; %s", endpoint, made, said or "it is gone")
    except MMEError as trouble:
        _log.warning("whether endpoint %s still has its configuration is not known: %s", endpoint, trouble.message)


def unmake(made: Sequence[Made], endpoint: str, error: BaseException) -> Flow[None]:
    """Remove what a failed call made, last first; what cannot be removed is noted on the error."""
    advise(error)
    for note in (yield from _unmake(made, endpoint)):
        error.add_note(note)


def _unmake(made: Sequence[Made], endpoint: str) -> Flow[list[str]]:
    try:
        seen = yield from look_if_there(endpoint)
        used = set() if seen is None else {seen.config_name, seen.pending_config}
        if any(one.kind == "config" and one.name in used for one in made):
            # The interrupted call, or a twin of it, is bringing the endpoint up with them: nothing is half-made.
            return [f"the change itself goes on: endpoint {endpoint} exists and is {seen.status if seen else ''}"]
        needed = yield from needs(endpoint, used)
    except MMEError as trouble:
        return [_left(made, trouble)] if made else []
    notes = []
    for one in reversed(made):
        if one.kind == "model" and one.name in needed:
            continue  # a twin of this call, with the same model and another configuration, has won
        try:
            yield remove(one, endpoint)
        except NotFoundError:
            continue
        except MMEError as trouble:
            notes.append(_left([one], trouble))
    return notes


def _left(left: Iterable[Any], trouble: MMEError) -> str:
    names = ", ".join(str(one) for one in left)
    return f"left behind: {names} ({trouble.message}); delete() of the endpoint's name removes them"
