"""The operation Search, for endpoints and models.

Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Search.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mme_sdk.local.control.sagemaker.endpoints import Endpoints
from mme_sdk.local.control.sagemaker.resources import Resources, paginate
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.service_model import load_service_model

__all__ = ["Search"]

_ARN = {"Endpoint": "EndpointArn", "Model": "ModelArn"}
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "GreaterThan": lambda one, other: one > other,
    "GreaterThanOrEqualTo": lambda one, other: one >= other,
    "LessThan": lambda one, other: one < other,
    "LessThanOrEqualTo": lambda one, other: one <= other,
}
_NOT = {"NotEquals": "Equals", "NotExists": "Exists"}
_ABSENT = object()


class Search:
    """Finds resources by their properties and tags.

    Args:
        resources: Models and tags.
        endpoints: Endpoints.
    """

    def __init__(self, resources: Resources, endpoints: Endpoints) -> None:
        self._resources = resources
        self._endpoints = endpoints

    def search(self, params: dict[str, Any]) -> dict[str, Any]:
        """Search."""
        kind = params["Resource"]
        known = load_service_model("sagemaker").shape_for(kind).members
        expression = params.get("SearchExpression", {})
        for name in [*_names(expression), *([params["SortBy"]] if "SortBy" in params else [])]:
            if name.split(".")[0] not in known:
                raise ApiError("ValidationException", f"Unknown property name: {name}")
        found = [one for one in self._documents(kind, known) if _matches(one, expression)]
        key = params.get("SortBy", "LastModifiedTime" if kind == "Endpoint" else "CreationTime")
        found.sort(key=lambda one: _sortable(one, key), reverse=params.get("SortOrder", "Descending") == "Descending")
        records = [{kind: one} if kind == "Endpoint" else {kind: {"Model": one}} for one in found]
        return paginate(records, params, "Results")

    def _documents(self, kind: str, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        every = (
            self._endpoints.describe_all()
            if kind == "Endpoint"
            else [one for _, one in self._resources.store.all("model")]
        )
        for document in every:
            shown = {name: value for name, value in document.items() if name in known}
            tags = self._resources.store.get("tags", document[_ARN[kind]]) or {}
            yield shown | {"Tags": [{"Key": name, "Value": value} for name, value in tags.items()]}


def _names(expression: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the properties of a SearchExpression."""
    yield from (one["Name"] for one in expression.get("Filters", []))
    for nested in expression.get("NestedFilters", []):
        yield nested["NestedPropertyName"]
        yield from (one["Name"] for one in nested["Filters"])
    for inner in expression.get("SubExpressions", []):
        yield from _names(inner)


def _matches(document: Mapping[str, Any], expression: Mapping[str, Any]) -> bool:
    results = [
        *(_passes(_values(document, one["Name"]), one) for one in expression.get("Filters", [])),
        *(_matches_nested(document, one) for one in expression.get("NestedFilters", [])),
        *(_matches(document, one) for one in expression.get("SubExpressions", [])),
    ]
    every = expression.get("Operator", "And") == "And"
    return not results or (all(results) if every else any(results))


def _matches_nested(document: Mapping[str, Any], nested: Mapping[str, Any]) -> bool:
    """Return whether one item of a list passes all filters."""
    start = f"{nested['NestedPropertyName']}."
    items = [one for one in _values(document, nested["NestedPropertyName"]) if isinstance(one, Mapping)]
    return any(
        all(_passes(_values(item, one["Name"].removeprefix(start)), one) for one in nested["Filters"]) for item in items
    )


def _values(value: Any, path: str) -> list[Any]:
    """Return the values of a property; several if a list is on the way. `Tags.KEY` is the value of a tag."""
    if path.startswith("Tags.") and isinstance(value, Mapping) and "Tags" in value:
        return [one["Value"] for one in value["Tags"] if one["Key"] == path.removeprefix("Tags.")]
    found: Sequence[Any] = [value]
    for part in path.split("."):
        inner = [one.get(part) for one in found if isinstance(one, Mapping)]
        found = [item for one in inner if one is not None for item in (one if isinstance(one, list) else [one])]
    return list(found)


def _passes(values: Sequence[Any], condition: Mapping[str, Any]) -> bool:
    operator, wanted = condition.get("Operator", "Equals"), condition.get("Value")
    if operator in _NOT:
        return not _passes(values, {**condition, "Operator": _NOT[operator]})
    if operator == "Exists":
        return bool(values)
    if wanted is None:
        raise ApiError("ValidationException", f"Value must be specified for the operator {operator}.")
    if operator in _ORDERED:
        return any(_ORDERED[operator](one, _like(one, wanted, operator)) for one in values)
    texts = [_text(one) for one in values]
    if operator == "Contains":
        return any(wanted in one for one in texts)
    choices = wanted.split(",") if operator == "In" else [wanted]
    return any(
        text in choices or any(_equal(one, choice) for choice in choices)
        for one, text in zip(values, texts, strict=True)
    )


def _equal(value: Any, wanted: str) -> bool:
    try:
        return bool(value == _like(value, wanted, "Equals"))
    except ApiError:
        return False


def _like(value: Any, wanted: str, operator: str) -> Any:
    """Return the text of a filter as a value that can be compared with a property."""
    try:
        if isinstance(value, datetime):
            given = datetime.fromisoformat(wanted)
            return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(wanted)
    except ValueError as error:
        raise ApiError("ValidationException", f"Value {wanted!r} cannot be compared with the property.") from error
    raise ApiError("ValidationException", f"The operator {operator} needs a property that is a number or a time.")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sortable(document: Mapping[str, Any], path: str) -> tuple[int, Any]:
    """Return the key for sorting; documents without the property come first."""
    value = next(iter(_values(document, path)), _ABSENT)
    if value is _ABSENT:
        return (0, "")
    if isinstance(value, datetime):
        return (1, value.timestamp())
    return (1, value) if isinstance(value, int | float) else (2, str(value))
