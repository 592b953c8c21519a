"""The table `fields.toml`: the members of requests that the embedded SageMaker honours, stores or refuses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import attrs

from mme_sdk.local.wire.errors import ApiError

__all__ = [
    "FieldMarks",
    "check_headers_supported",
    "check_supported",
    "load_marks",
    "request_structures",
    "unmarked_members",
]


@attrs.frozen
class FieldMarks:
    """The marks of the members of one shape.

    Attributes:
        honoured: Members that change what the host does.
        stored: Members that the host stores and returns, without another effect.
        refused: Reason by member that the host refuses.
        only: Honoured values by member. The host refuses other values.
    """

    honoured: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    stored: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    refused: Mapping[str, str] = attrs.field(factory=dict)
    only: Mapping[str, list[Any]] = attrs.field(factory=dict)

    @cached_property
    def members(self) -> frozenset[str]:
        """Every member that has a mark."""
        return self.honoured | self.stored | self.refused.keys() | self.only.keys()

    @cached_property
    def supported(self) -> frozenset[str]:
        """Members that the host accepts with every value."""
        return (self.honoured | self.stored) - self.refused.keys() - self.only.keys()


_NO_MARKS = FieldMarks()


@cache
def load_marks(service: str) -> Mapping[str, FieldMarks]:
    """Return the marks of a service by shape.

    Args:
        service: botocore's name of the service, such as `sagemaker`.
    """
    table = tomllib.loads(files("mme_sdk.local.wire").joinpath("fields.toml").read_text(encoding="utf-8"))
    return {shape: FieldMarks(**marks) for shape, marks in table.get(service, {}).items()}


def check_supported(service: str, shape: Any, params: Mapping[str, Any], *, code: str = "ValidationException") -> None:
    """Raise ApiError if a request has a member or a value that the host does not support.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request; None if the operation has no parameters.
        params: The parameters of the request.
        code: Error code of the service for an invalid request.

    Raises:
        ApiError: The message has each such member with the reason.
    """
    found = list(_unsupported(load_marks(service), shape, params, "")) if shape is not None else []
    if found:
        raise ApiError(code, f"Not supported by the embedded SageMaker: {'; '.join(found)}.")


def check_headers_supported(service: str, shape: Any, headers: Mapping[str, str], *, code: str) -> None:
    """Raise ApiError if a request has a header whose member the host does not support.

    Headers that are not members of the shape are not checked. Values are compared as text.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request.
        headers: Header values by lower-case name.
        code: Error code of the service for an invalid request.

    Raises:
        ApiError: The message has each such member with the reason.
    """
    names = _header_members(shape)
    supported = load_marks(service).get(shape.name, _NO_MARKS).supported
    to_check = {names[key]: value for key, value in headers.items() if key in names and names[key] not in supported}
    if to_check:
        check_supported(service, shape, to_check, code=code)


@cache
def _header_members(shape: Any) -> Mapping[str, str]:
    """Return the member for each header of a request, by lower-case header name."""
    return {
        member.serialization["name"].lower(): name
        for name, member in shape.members.items()
        if member.serialization.get("location") == "header"
    }


def _unsupported(marks: Mapping[str, FieldMarks], shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "list":
        for index, item in enumerate(value):
            yield from _unsupported(marks, shape.member, item, f"{path}[{index}]")
    elif shape.type_name == "structure":
        known = marks.get(shape.name, _NO_MARKS)
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name in known.refused:
                yield f"{where}: {known.refused[name]}"
            elif name in known.only and item not in known.only[name]:
                yield f"{where}={item!r}: this host honours {', '.join(map(repr, known.only[name]))}"
            elif name not in known.members:
                yield f"{where}: this version of the host does not know this member"
            else:
                yield from _unsupported(marks, shape.members[name], item, where)


def request_structures(service: str, shape: Any) -> dict[str, Any]:
    """Return the structures of a request by name, except those that occur in refused members only.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request, or None.
    """
    marks = load_marks(service)
    found: dict[str, Any] = {}
    waiting = [shape] if shape is not None else []
    while waiting:
        one = waiting.pop()
        if one.type_name == "list":
            waiting.append(one.member)
        elif one.type_name == "map":
            waiting += (one.key, one.value)
        elif one.type_name == "structure" and one.name not in found:
            found[one.name] = one
            refused = marks.get(one.name, _NO_MARKS).refused
            waiting += (member for name, member in one.members.items() if name not in refused)
    return found


def unmarked_members(service: str, shape: Any) -> list[str]:
    """Return the members of a request's structures that have no mark, as `Shape.Member`.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request, or None.
    """
    marks = load_marks(service)
    return sorted(
        f"{name}.{member}"
        for name, structure in request_structures(service, shape).items()
        for member in structure.members
        if member not in marks.get(name, _NO_MARKS).members
    )
