"""Short tracebacks: an `MMEError` of a public call shows the caller's line, one line of this package, and the message.

The frames in between are of no use to the caller: an operation is a generator that an interpreter runs. A frame of the
caller, such as that of a function that was passed in, is kept. With DEBUG logging of `mme_sdk`, tracebacks are
complete.
"""

from __future__ import annotations

import functools
import inspect
import sys
from os import sep
from types import TracebackType
from typing import Any, TypeVar

from mme_sdk.errors import MMEError

__all__ = ["short_tracebacks", "shortened", "shortens_itself"]

T = TypeVar("T")
_PACKAGE = __file__.removesuffix("_tracebacks.py")
_LIBRARIES = ("attr", "attrs", "boto3", "botocore", "pydantic", "pydantic_core", "s3transfer", "tenacity", "urllib3")


def short_tracebacks(target: T) -> T:
    """Decorate a public function, or the public methods of a class, so that their errors have short tracebacks.

    Args:
        target: A function, or a class. Its constructor is decorated too.

    Returns:
        The decorated function, or the class itself.
    """
    if not inspect.isclass(target):
        return _wrapped(target)  # type: ignore[no-any-return]
    for name, member in list(vars(target).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, (classmethod, staticmethod)):
            setattr(target, name, type(member)(_wrapped(member.__func__)))
        elif isinstance(member, property):
            setattr(target, name, property(_wrapped(member.fget), member.fset, member.fdel, member.__doc__))
        elif inspect.isfunction(member):
            setattr(target, name, _wrapped(member))
    return target


def shortens_itself(function: T) -> T:
    """Mark a method that calls `shortened` itself: a wrapper would cost a call that is made often a microsecond."""
    function.shortens_itself = True  # type: ignore[attr-defined]
    return function


def _wrapped(function: Any) -> Any:
    if (
        inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
        or hasattr(function, "__wrapped__")
        or hasattr(function, "shortens_itself")
    ):
        return function  # it raises while its result is used, not when it is called
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            try:
                return await function(*args, **options)
            except MMEError as error:
                raise shortened(error)  # noqa: B904 - it is the same error

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return function(*args, **options)
        except MMEError as error:
            raise shortened(error)  # noqa: B904 - it is the same error

    return call


E = TypeVar("E", bound=BaseException)


def shortened(error: E) -> E:
    """Remove this package's frames from an error, and the causes that its message describes already.

    Args:
        error: The error, which is being handled.

    Returns:
        The error itself.
    """
    logging = sys.modules.get("logging")
    if logging is not None and logging.getLogger("mme_sdk").isEnabledFor(logging.DEBUG):
        return error
    cause = error.__cause__
    if cause is not None:
        if _helps(cause, error):
            cause.__traceback__ = _of_caller(cause.__traceback__)
        else:
            error.__cause__ = None
    # An exception that the caller was handling stays the context; those that this package handled do not.
    context, seen = error.__context__, {id(error)}
    while context is not None and id(context) not in seen and _is_ours(context.__traceback__):
        seen.add(id(context))
        context = context.__context__
    error.__context__ = None if context is not None and id(context) in seen else context
    error.__suppress_context__ = error.__cause__ is not None
    return error.with_traceback(_of_caller(error.__traceback__))


def _helps(cause: BaseException, error: BaseException) -> bool:
    """Return whether a cause says more than the message: it comes from the caller's code, or is a broken import."""
    if isinstance(cause, MMEError):
        return cause.message not in str(error)
    if isinstance(cause, ImportError):
        return not isinstance(cause, ModuleNotFoundError)
    frames = cause.__traceback__
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if not _is_internal(file) and not {"site-packages", "dist-packages"} & set(_parts(file)):
            return True
        frames = frames.tb_next
    return False


def _of_caller(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package and of what it calls."""
    kept: list[TracebackType] = []
    while frames is not None:
        if not _is_internal(frames.tb_frame.f_code.co_filename):
            kept.append(frames)
        frames = frames.tb_next
    found: TracebackType | None = None
    for one in reversed(kept):
        found = TracebackType(found, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return found


def _is_ours(frames: TracebackType | None) -> bool:
    return frames is None or _is_internal(frames.tb_frame.f_code.co_filename)


@functools.cache
def _is_internal(file: str) -> bool:
    if file.startswith(("<frozen", "<attrs")):
        return True
    if file.startswith(_PACKAGE):
        return True
    parts = _parts(file)
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return parts[len(parts) - parts[::-1].index(folder)].removesuffix(".py") in _LIBRARIES
    return file.startswith(_standard())


def _parts(file: str) -> tuple[str, ...]:
    from pathlib import Path

    return Path(file).parts


@functools.cache
def _standard() -> tuple[str, ...]:
    """Return the directories of the standard library, with a separator at the end."""
    import sysconfig

    return tuple(f"{sysconfig.get_path(name)}{sep}" for name in ("stdlib", "platstdlib"))
