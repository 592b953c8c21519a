"""Helpers to deprecate public names: they emit DeprecationWarning and keep the old name usable until its removal.

| what | how |
| --- | --- |
| function, method, class, property | `@deprecated("…")`, which type checkers report as well |
| keyword of a function or method | `@renamed_keyword("old", "new", removed_in="0.4")` |
| attribute of a class | `old = renamed_attribute("new", removed_in="0.4")` |
| name of a module | `__getattr__ = renamed_names(__name__, {"Old": "New"}, removed_in="0.4")` |

Type checkers read the text of `@deprecated` only if it is a string literal. Write it in the form of `message`, for
example `@deprecated("Endpoint.ask is deprecated and will be removed in mme_sdk 0.4; use Endpoint.invoke")`. For a
property, put it below `@property`; type checkers report this form, and do not report `renamed_attribute`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from typing_extensions import deprecated

__all__ = ["deprecated", "message", "renamed_attribute", "renamed_keyword", "renamed_names"]

P = ParamSpec("P")
R = TypeVar("R")


def message(old: str, new: str, *, removed_in: str) -> str:
    """Return the text of a deprecation warning.

    Args:
        old: The deprecated name.
        new: The replacement.
        removed_in: Version of mme_sdk that no longer has the old name.

    Returns:
        One sentence without a full stop.

    Example:
        >>> message("Endpoint.ask", "Endpoint.invoke", removed_in="0.4")
        'Endpoint.ask is deprecated and will be removed in mme_sdk 0.4; use Endpoint.invoke'
    """
    return f"{old} is deprecated and will be removed in mme_sdk {removed_in}; use {new}"


def renamed_keyword(old: str, new: str, *, removed_in: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that accepts a keyword's old name as well and warns about it.

    The warning names the line of the call, for coroutine functions too. Type checkers refuse the old name, because the
    signature does not have it.

    Args:
        old: The old name of the keyword.
        new: The new name.
        removed_in: Version of mme_sdk that no longer accepts the old name.

    Returns:
        The decorator. The decorated function raises TypeError if a call passes both names.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"{function.__qualname__}() got both {new!r} and its deprecated name {old!r}")
                text = message(f"keyword {old!r} of {function.__qualname__}", repr(new), removed_in=removed_in)
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return _marked(wrapper) if inspect.iscoroutinefunction(function) else wrapper

    return decorate


def _marked(wrapper: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that returns a coroutine as a coroutine function."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(wrapper)
    wrapper._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return wrapper


class renamed_attribute:  # noqa: N801 - used like a function
    """A descriptor for an attribute's old name; it warns, and reads or sets the attribute of the new name.

    Args:
        new: The new name.
        removed_in: Version of mme_sdk that no longer has the old name.
    """

    def __init__(self, new: str, *, removed_in: str) -> None:
        self._new, self._removed_in = new, removed_in
        self._text = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._text = message(f"{owner.__name__}.{name}", f"{owner.__name__}.{self._new}", removed_in=self._removed_in)

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        warnings.warn(self._text, DeprecationWarning, stacklevel=2)
        return getattr(instance, self._new)

    def __set__(self, instance: Any, value: Any) -> None:
        warnings.warn(self._text, DeprecationWarning, stacklevel=2)
        setattr(instance, self._new, value)


def renamed_names(module: str, names: Mapping[str, str], *, removed_in: str) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562) that resolves old names and warns about them.

    Args:
        module: Name of the module: `__name__`.
        names: The new name for each old name; both are names in the module.
        removed_in: Version of mme_sdk that no longer has the old names.

    Returns:
        The function to assign to `__getattr__`.
    """

    def resolve(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        text = message(f"{module}.{name}", f"{module}.{names[name]}", removed_in=removed_in)
        level = 3 if sys._getframe(1).f_code.co_filename == "<frozen importlib._bootstrap>" else 2
        warnings.warn(text, DeprecationWarning, stacklevel=level)
        return getattr(sys.modules[module], names[name])

    return resolve
