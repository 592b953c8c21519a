"""Values that are made on first use, and public names that a package imports on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

__all__ = ["Lazy", "lazy_names"]

T = TypeVar("T")


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


class Lazy(Generic[T]):
    """Value that is made on first use. Threads that race for it get the same value.

    Args:
        make: Makes the value. It may be called more than once; one value is kept.
        check: Called after the value is made, and whenever it is asked for. It raises if the value may not be used.
            None means that it always may.
    """

    def __init__(self, make: Callable[[], T], check: Callable[[], None] | None = None) -> None:
        self._make = make
        self._check = check
        self._made: dict[str, T] = {}

    @property
    def made(self) -> T | None:
        """The value, or None if it has not been created."""
        return self._made.get("value")

    def get(self) -> T:
        """Return the value."""
        found = self._made.get("value")
        if found is None:
            found = self._made.setdefault("value", self._make())
        if self._check is not None:
            self._check()
        return found
