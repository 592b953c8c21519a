"""Packages that import their names on first use offer each of them, and no other."""

from __future__ import annotations

from importlib import import_module

import pytest

PACKAGES = [
    "mme_sdk",
    "mme_sdk.aws",
    "mme_sdk.endpoints",
    "mme_sdk.integrations.mlflow",
    "mme_sdk.registry",
    "mme_sdk.runtime",
    "mme_sdk.runtime.transport",
    "mme_sdk.types",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_exported_name_is_there(name: str) -> None:
    package = import_module(name)
    for exported in package.__all__:
        assert getattr(package, exported) is not None
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_another_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = import_module(name).Nonsense
