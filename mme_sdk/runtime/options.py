"""`InvokeOptions`: the options of one invocation, from the public keywords to the request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError

__all__ = [
    "DEFAULT_ASYNC_INFERENCE_OPTIONS",
    "DEFAULT_OPTIONS",
    "NEW_SESSION",
    "AsyncInferenceOptions",
    "InvokeOptions",
    "check_field",
    "check_options",
    "check_route",
    "check_unsupported",
]

NEW_SESSION = "NEW_SESSION"
_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
_SESSION = re.compile(rf"{NEW_SESSION}|[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
_FILENAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*(?:\.[a-zA-Z0-9_-]*)?")
_FOLDERS = re.compile(r"(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+")
_DESCRIPTIONS = {
    _PRINTABLE: "printable ASCII characters without a space at either end",
    _NAME: "letters, digits and inner hyphens",
    _SESSION: "letters, digits and inner hyphens, or NEW_SESSION",
    _FILENAME: "letters, digits, '_', '-' and at most one '.', which begin with a letter or digit",
    _FOLDERS: "characters of a-z, A-Z, 0-9 and !_.*'()/-",
}
# Largest length and pattern of each field, from botocore's service model. botocore itself does not check them.
_PATTERNS = {
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


class InvokeOptions(NamedTuple):
    """The options of an invocation, beside endpoint, payload and model. Immutable.

    `Endpoint` takes these as keywords; invokers take this object. The fields from `target_variant` to
    `prefix_aware_id`, and `accept`, have the same names in `InvokeRequest`. A named tuple, because one is made for each
    call.

    Attributes:
        content_type: Media type of the payload. None chooses it by the type of the payload.
        accept: Media type of the answer. None lets the container choose.
        deadline: Seconds for the call with all its attempts. None means the deadline of `Timeouts`.
        response_type: Type or codec that the answer is decoded to. None decodes by the answer's media type.
        target_variant: Production variant that answers. None lets SageMaker choose.
        target_container: Host name of the container that answers, for an endpoint with direct invocation.
        inference_component: Inference component that answers.
        session_id: Stateful session of the call, or `NEW_SESSION` to open one.
        inference_id: Id that SageMaker writes to captured data.
        custom_attributes: Text that is passed to the container unchanged.
        enable_explanations: JMESPath expression that replaces the one of the endpoint's explainer.
        prefix_aware_id: Requests with the same id go to the same instance, where the variant routes by prefix.
        idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
        sticky: Key of a weighted alias: the same key always gets the same version.
        prefix: S3 prefix of a multi-model endpoint's models. None reads it from SageMaker when an alias needs it.
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


DEFAULT_OPTIONS = InvokeOptions()


class AsyncInferenceOptions(NamedTuple):
    """The options that only an asynchronous inference has. Immutable.

    Attributes:
        upload_to: S3 prefix that the payload is uploaded to. None sends the payload in the request, or it is in S3.
        time_to_live: Seconds that the request may wait in SageMaker's queue, 60 to 21600. None means SageMaker's 21600.
        invocation_timeout: Seconds that the model may take, 1 to 3600. None means SageMaker's 900.
        filename: Name of the answer's object below the endpoint's output path. None lets SageMaker choose.
        output_path_extension: Folders between the endpoint's output path and the answer's object. None means none.
    """

    upload_to: str | None = None
    time_to_live: int | None = None
    invocation_timeout: int | None = None
    filename: str | None = None
    output_path_extension: str | None = None


DEFAULT_ASYNC_INFERENCE_OPTIONS = AsyncInferenceOptions()

_SENT = slice(InvokeOptions._fields.index("target_variant"), InvokeOptions._fields.index("prefix_aware_id") + 1)
_SENT_FIELDS = InvokeOptions._fields[_SENT]
_NOTHING_SENT = (None,) * len(_SENT_FIELDS)


def check_options(options: InvokeOptions) -> None:
    """Raise InvalidInputError if an option has a value that AWS would reject, or that has no meaning.

    Args:
        options: The options.

    Raises:
        InvalidInputError: An option has an invalid value. The message names the option.
    """
    sent: tuple[Any, ...] = tuple.__getitem__(options, _SENT)
    if sent != _NOTHING_SENT:
        for name, value in zip(_SENT_FIELDS, sent, strict=True):
            if value is not None:
                check_field(name, value)
        if options.inference_component is not None:
            check_route(options.inference_component, target_container=options.target_container)
    if options.content_type is not None:
        check_field("content_type", options.content_type)
    if options.accept is not None:
        check_field("accept", options.accept)
    deadline = options.deadline
    if deadline is not None and not (type(deadline) is float and 0 < deadline < math.inf):  # the quick way
        check_number("deadline", deadline, over=0)
    if options.idempotent is not False and options.idempotent is not True:
        raise InvalidInputError(f"idempotent must be True or False, not {options.idempotent!r}")
    if options.sticky is not None and not (isinstance(options.sticky, str) and options.sticky):
        raise InvalidInputError(f"sticky must be a non-empty str, not {options.sticky!r}")


def check_unsupported(method: str, options: InvokeOptions, names: Iterable[str]) -> None:
    """Raise InvalidInputError if an option is set that a method does not support.

    Args:
        method: Name of the method, for the message.
        options: The options.
        names: Options that the method does not support.

    Raises:
        InvalidInputError: One of them is set. The message names it.
    """
    for name in names:
        if getattr(options, name) != InvokeOptions._field_defaults[name]:
            raise InvalidInputError(f"{method} does not support the option {name}", hint=f"leave {name} out")


def check_field(name: str, value: Any) -> None:
    """Raise InvalidInputError if a field of a request cannot have this value.

    Args:
        name: Name of the field in `InvokeRequest`.
        value: Its value.

    Raises:
        InvalidInputError: The value has another type, is too long, or has characters that the field does not accept.
    """
    limit, pattern = _PATTERNS[name]
    if not isinstance(value, str) or len(value) > limit or pattern.fullmatch(value) is None:
        raise InvalidInputError(
            f"{name} must be 1 to {limit} {_DESCRIPTIONS[pattern]}, not {str(value)[:40]!r}",
            hint=_encoding_hint(name, pattern),
        )


def _encoding_hint(name: str, pattern: re.Pattern[str]) -> str | None:
    if name in ("content_type", "accept"):
        return "pass a media type, such as application/json or text/csv"
    return "encode the value, for example with base64 or urllib.parse.quote" if pattern is _PRINTABLE else None


def check_route(inference_component: str, **others: str | None) -> None:
    """Raise InvalidInputError if an inference component is combined with another choice of what answers.

    Args:
        inference_component: The inference component that answers.
        others: Other options that choose the model or container that answers.

    Raises:
        InvalidInputError: One of the other options is set.
    """
    for name, value in others.items():
        if value is not None:
            raise InvalidInputError(
                f"{name} and inference_component ({inference_component}) exclude each other: "
                "an endpoint with inference components has no target models and no containers that can be named",
                hint=f"leave {name} or inference_component out",
            )
