"""Public names that a package imports on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, names: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that imports its public names on first use.

    Args:
        package: Name of the package.
        names: For each name, the module that defines it, relative to `mme_sdk`.
        modules: For each name that is a module itself, the module, relative to `mme_sdk`.

    Returns:
        A function that returns the value of a name, and keeps it in the package.
    """

    def load(name: str) -> Any:
        if modules is not None and name in modules:
            return import_module(f"mme_sdk.{modules[name]}")
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"mme_sdk.{names[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
