"""Signatures of the registry: typed keywords that an editor or a notebook can complete."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mme_sdk.registry import AsyncModelRegistry, ModelRegistry

METHODS = [name for name in vars(ModelRegistry) if not name.startswith("_")]


@pytest.mark.parametrize("registry", [ModelRegistry, AsyncModelRegistry])
def test_the_constructor_has_typed_keywords(registry: Any) -> None:
    parameters = inspect.signature(registry).parameters
    assert list(parameters) == ["aws", "uri", "key", "options", "staleness"]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("key", "options", "staleness"))


@pytest.mark.parametrize("registry", [ModelRegistry, AsyncModelRegistry])
@pytest.mark.parametrize("name", METHODS)
def test_each_parameter_is_named_and_typed(registry: Any, name: str) -> None:
    parameters = list(inspect.signature(getattr(registry, name)).parameters.values())[1:]
    kinds = {parameter.kind for parameter in parameters}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters)


def test_register_completes_all_its_options() -> None:
    assert list(inspect.signature(ModelRegistry.register).parameters)[1:] == [
        "name",
        "source",
        "version",
        "framework",
        "metadata",
        "image",
        "multi_model",
        "check_layout",
        "compressed",
        "progress",
    ]


@pytest.mark.parametrize("name", METHODS)
def test_the_twins_have_the_same_parameters(name: str) -> None:
    one, other = (inspect.signature(getattr(kind, name)).parameters for kind in (ModelRegistry, AsyncModelRegistry))
    assert list(one) == list(other)
    assert [parameter.default for parameter in one.values()] == [parameter.default for parameter in other.values()]
