"""Public methods name all their options, so that notebooks complete them and type checkers refuse a misspelt one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from mme_sdk import endpoints
from mme_sdk.endpoints import AsyncEndpoint, AsyncEndpoints, Autoscaling, Endpoint, Endpoints, EndpointSpec


def public() -> Iterator[tuple[str, Any]]:
    for name in endpoints.__all__:
        value = getattr(endpoints, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            members = inspect.getmembers(value, inspect.isroutine)
            yield from ((f"{name}.{key}", one) for key, one in members if not key.startswith("_"))


def test_no_public_callable_takes_arbitrary_keywords():
    found = [
        name
        for name, one in public()
        if any(each.kind is each.VAR_KEYWORD for each in inspect.signature(one).parameters.values())
    ]
    assert found == []


@pytest.mark.parametrize("kind", [Endpoints, AsyncEndpoints])
def test_create_completes_its_options(kind):
    found = inspect.signature(kind.create).parameters
    assert list(found) == ["self", "spec", "wait", "check", "timeout", "progress"]
    assert (found["wait"].default, found["timeout"].default, found["progress"].default) == (True, 1800, False)
    assert all(one.kind is one.KEYWORD_ONLY for name, one in found.items() if name not in ("self", "spec"))


def test_the_factories_take_every_field_of_what_they_make():
    fields = {"network_isolation", "vpc", "kms_key", "tags", "config_tags", "explainer", "extra"}
    for factory in (EndpointSpec.multi_model, EndpointSpec.single_model):
        assert fields | {"data_capture", "async_inference"} <= set(inspect.signature(factory).parameters)
    assert {"scale_in_cooldown", "scale_out_cooldown", "scale_in", "schedule"} <= set(
        inspect.signature(Autoscaling.for_rps).parameters
    )


@pytest.mark.parametrize(("sync", "twin"), [(Endpoint, AsyncEndpoint), (Endpoints, AsyncEndpoints)])
def test_both_facades_have_the_same_methods_and_options(sync, twin):
    for name, one in inspect.getmembers(sync, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(one).parameters) == list(inspect.signature(getattr(twin, name)).parameters), (
                name
            )
