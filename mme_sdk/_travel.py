"""How clients, handles and registries travel between processes: as settings, which become one object a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mme_sdk.errors import InvalidInputError

__all__ = ["new_identity", "refuse_pickle", "revive"]

T = TypeVar("T")
_MAX_KEPT = 64  # objects that a process keeps alive; a program exceeds it only if it generates clients
_KEPT: dict[str, Any] = {}


def new_identity() -> str:
    """Return the identity of an object that travels. All of its pickles have the same one."""
    import uuid

    return uuid.uuid4().hex


def revive(identity: str, make: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Return the object of this process with an identity. It is made by the first call, and after it was closed.

    Args:
        identity: The identity.
        make: Makes the object. Threads that race may make several; one is kept.
        arguments: Arguments of `make`.
    """
    found = _KEPT.get(identity)
    if found is not None and not getattr(found, "_closed", False):
        kept: T = found
        return kept
    if found is not None:
        _KEPT.pop(identity, None)
    new: Any = make(*arguments)
    new._identity = identity  # a pickle of it is one of the same object
    made: T = _KEPT.setdefault(identity, new)
    while len(_KEPT) > _MAX_KEPT:
        _KEPT.pop(next(iter(_KEPT)), None)  # programs that have it can still use it
    return made


def refuse_pickle(what: str, instead: str) -> InvalidInputError:
    """Return the error of an object that cannot travel.

    Args:
        what: The object.
        instead: What to do instead.
    """
    return InvalidInputError(f"{what} cannot be pickled or copied to another process", hint=instead)
