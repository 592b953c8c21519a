"""The options of one invocation: one frozen object from the public keywords to the request."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from mme_sdk.errors import InvalidInputError

__all__ = ["NEW_SESSION", "CallOptions", "check_field", "check_options", "check_route"]

NEW_SESSION = "NEW_SESSION"
_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
_SESSION = re.compile(rf"{NEW_SESSION}|[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
_FILENAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*(?:\.[a-zA-Z0-9_-]*)?")
_FOLDERS = re.compile(r"(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+")
_WORDS = {
    _PRINTABLE: "printable ASCII characters without a space at either end",
    _NAME: "letters, digits and inner hyphens",
    _SESSION: "letters, digits and inner hyphens, or NEW_SESSION",
    _FILENAME: "letters, digits, '_', '-' and at most one '.', which begin with a letter or digit",
    _FOLDERS: "characters of a-z, A-Z, 0-9 and !_.*'()/-",
}
# The shapes of the runtime's inputs in botocore's service model. botocore itself does not check them.
_SHAPES = {
    "content_type": (1024, _PRINTABLE),
    "accept": (1024, _PRINTABLE),
    "target_variant": (63, _NAME),
    "target_container": (63, _NAME),
    "inference_component": (63, _NAME),
    "session_id": (256, _SESSION),
    "inference_id": (64, _PRINTABLE),
    "custom_attributes": (1024, _PRINTABLE),
    "enable_explanations": (64, _PRINTABLE),
    "prefix_aware_id": (64, _PRINTABLE),
    "filename": (32, _FILENAME),
    "output_path_extension": (512, _FOLDERS),
}


class CallOptions(NamedTuple):
    """What a caller says about an invocation beside endpoint, payload and model; `Endpoint.invoke` documents each.

    The order is that of the public signatures. Fields from `target_variant` to `prefix_aware_id`, and `accept`, are
    fields of `InvokeRequest` of the same name.
    """

    content_type: str | None = None
    accept: str | None = None
    deadline: float | None = None
    response_type: Any = None
    target_variant: str | None = None
    target_container: str | None = None
    inference_component: str | None = None
    session_id: str | None = None
    inference_id: str | None = None
    custom_attributes: str | None = None
    enable_explanations: str | None = None
    prefix_aware_id: str | None = None
    idempotent: bool = False
    sticky: str | None = None
    prefix: str | None = None


_SENT = slice(CallOptions._fields.index("target_variant"), CallOptions._fields.index("prefix_aware_id") + 1)
_FIELDS = CallOptions._fields[_SENT]
_NOTHING_SENT = (None,) * len(_FIELDS)


def check_options(options: CallOptions) -> None:
    """Refuse values that AWS would refuse, or that have no meaning.

    Args:
        options: The options.

    Raises:
        InvalidInputError: An option has a value that cannot be used; the message names the option.
    """
    sent: tuple[Any, ...] = tuple.__getitem__(options, _SENT)
    if sent != _NOTHING_SENT:
        for name, value in zip(_FIELDS, sent, strict=True):
            if value is not None:
                check_field(name, value)
        if options.inference_component is not None:
            check_route(options.inference_component, target_container=options.target_container)
    if options.content_type is not None:
        check_field("content_type", options.content_type)
    if options.accept is not None:
        check_field("accept", options.accept)
    deadline = options.deadline
    if deadline is not None and not (
        isinstance(deadline, (int, float)) and deadline is not True and math.isfinite(deadline) and deadline > 0
    ):
        raise InvalidInputError(f"deadline must be a positive number of seconds, not {deadline!r}")
    if options.idempotent is not False and options.idempotent is not True:
        raise InvalidInputError(f"idempotent must be True or False, not {options.idempotent!r}")
    if options.sticky is not None and not (isinstance(options.sticky, str) and options.sticky):
        raise InvalidInputError(f"sticky must be a key as text, not {options.sticky!r}")


def check_field(name: str, value: Any) -> None:
    """Refuse a value that no request may carry in this field.

    Args:
        name: Name of the field of `InvokeRequest`.
        value: Its value.

    Raises:
        InvalidInputError: The value has another type, is too long, or has characters that the field does not take.
    """
    limit, pattern = _SHAPES[name]
    if not isinstance(value, str) or len(value) > limit or pattern.fullmatch(value) is None:
        raise InvalidInputError(
            f"{name} must be 1 to {limit} {_WORDS[pattern]}, not {str(value)[:40]!r}",
            hint="encode anything else, for example with base64 or urllib.parse.quote"
            if pattern is _PRINTABLE
            else None,
        )


def check_route(inference_component: str, **others: str | None) -> None:
    """Refuse an inference component together with what only endpoints without components have.

    Args:
        inference_component: The component that is to answer.
        others: Other options that say which model or container is to answer.

    Raises:
        InvalidInputError: Both are given.
    """
    for name, value in others.items():
        if value is not None:
            raise InvalidInputError(
                f"{name} and inference_component ({inference_component}) exclude each other: "
                "an endpoint with inference components has no target models and no containers that can be named",
                hint=f"leave {name} or inference_component out",
            )
