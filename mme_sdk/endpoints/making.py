"""Making an endpoint's resources: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import attrs

from mme_sdk.aws import Call, Flow
from mme_sdk.endpoints.advice import advise
from mme_sdk.endpoints.calls import absent_ok, look_if_there, patiently, sagemaker, together
from mme_sdk.endpoints.requests import Requests
from mme_sdk.errors import ConflictError, MMEError, NotFoundError

__all__ = ["Made", "make_config", "remove", "unmake"]

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
    absent = [(made, create) for (made, _, create), seen in zip(calls, there, strict=True) if seen is None]
    begun: list[Made] = []
    try:
        for made, create in absent:
            begun.append(made)
            try:
                yield from patiently(create)
            except ConflictError:
                continue  # an earlier attempt at this call, or a twin of this one, got there first
    except GeneratorExit:
        raise  # nobody drives this flow any more
    except BaseException as error:
        yield from unmake(begun, endpoint, error)
        raise
    return tuple(begun)


def unmake(made: Sequence[Made], endpoint: str, error: BaseException) -> Flow[None]:
    """Remove what a failed call made, last first; what cannot be removed is noted on the error."""
    advise(error)
    try:
        seen = yield from look_if_there(endpoint)
    except MMEError as trouble:
        _note(error, made, trouble)
        return
    used = set() if seen is None else {seen.config_name, seen.pending_config}
    if any(one.kind == "config" and one.name in used for one in made):
        # The interrupted call, or a twin of it, is bringing the endpoint up with them: nothing is half-made.
        error.add_note(f"the change itself goes on: endpoint {endpoint} exists and is {seen.status if seen else ''}")
        return
    try:
        shared = yield from _models_of(endpoint, used)
    except MMEError as trouble:
        _note(error, made, trouble)
        return
    for one in reversed(made):
        if one.kind == "model" and one.name in shared:
            continue  # a twin of this call, with the same model and another configuration, has won
        try:
            yield remove(one, endpoint)
        except NotFoundError:
            continue
        except MMEError as trouble:
            _note(error, [one], trouble)


def _models_of(endpoint: str, configs: Iterable[str | None]) -> Flow[set[str]]:
    found: set[str] = set()
    for name in configs:
        if name is not None:
            config = yield from absent_ok(sagemaker("describe_endpoint_config", endpoint, EndpointConfigName=name))
            found |= {one.get("ModelName", "") for one in (config or {}).get("ProductionVariants", [])}
    return found


def _note(error: BaseException, left: Iterable[Any], trouble: MMEError) -> None:
    names = ", ".join(str(one) for one in left)
    if names:
        error.add_note(f"left behind: {names} ({trouble.message}); delete() of the endpoint's name removes them")
