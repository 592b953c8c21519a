"""Which request members the embedded SageMaker honours, stores or refuses: `fields.toml`, held against each request."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import attrs

from mme_sdk.local.wire.errors import ApiError

__all__ = ["FieldMarks", "check_supported", "load_marks", "request_structures", "unmarked_members"]


@attrs.frozen
class FieldMarks:
    """The marks of one shape.

    Attributes:
        honoured: Members that the host acts on.
        stored: Members that the host keeps and shows, without another effect.
        refused: Reason by member that the host refuses.
        only: Honoured values by member; the host refuses other values.
    """

    honoured: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    stored: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    refused: Mapping[str, str] = attrs.field(factory=dict)
    only: Mapping[str, list[Any]] = attrs.field(factory=dict)

    @property
    def members(self) -> frozenset[str]:
        """Every member that has a mark."""
        return self.honoured | self.stored | self.refused.keys() | self.only.keys()


@cache
def load_marks(service: str) -> Mapping[str, FieldMarks]:
    """The marks of a service, by shape.

    Args:
        service: botocore's name of the service, such as `sagemaker`.
    """
    table = tomllib.loads(files("mme_sdk.local.wire").joinpath("fields.toml").read_text(encoding="utf-8"))
    return {shape: FieldMarks(**marks) for shape, marks in table.get(service, {}).items()}


def check_supported(service: str, shape: Any, params: Mapping[str, Any]) -> None:
    """Refuse a request that holds a member which the host does not honour.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request; None where the operation takes no parameters.
        params: The request.

    Raises:
        ApiError: ValidationException that names each such member, with the reason.
    """
    found = list(_unsupported(load_marks(service), shape, params, "")) if shape is not None else []
    if found:
        raise ApiError("ValidationException", f"Not supported by the embedded SageMaker: {'; '.join(found)}.")


def _unsupported(marks: Mapping[str, FieldMarks], shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "list":
        for index, item in enumerate(value):
            yield from _unsupported(marks, shape.member, item, f"{path}[{index}]")
    elif shape.type_name == "structure":
        known = marks.get(shape.name, FieldMarks())
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name in known.refused:
                yield f"{where}: {known.refused[name]}"
            elif name in known.only and item not in known.only[name]:
                yield f"{where}={item!r}: this host honours {', '.join(map(repr, known.only[name]))}"
            elif name not in known.members:
                yield f"{where}: this edition of the host does not know it"
            else:
                yield from _unsupported(marks, shape.members[name], item, where)


def request_structures(service: str, shape: Any) -> dict[str, Any]:
    """The structures of a request, by name, below the members that the host does not refuse.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request; may be None.
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
            refused = marks.get(one.name, FieldMarks()).refused
            waiting += (member for name, member in one.members.items() if name not in refused)
    return found


def unmarked_members(service: str, shape: Any) -> list[str]:
    """Members of a request's structures that have no mark, as `Shape.Member`.

    Args:
        service: botocore's name of the service.
        shape: botocore's shape of the request; may be None.
    """
    marks = load_marks(service)
    return sorted(
        f"{name}.{member}"
        for name, structure in request_structures(service, shape).items()
        for member in structure.members
        if member not in marks.get(name, FieldMarks()).members
    )
