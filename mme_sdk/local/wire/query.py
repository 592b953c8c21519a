"""The query protocol of STS and of older CloudWatch clients: parse form-encoded requests, serialize XML responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, TypeAlias
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.parameters import check_constraints, parse_scalar

__all__ = ["decode_form", "parse_form_parameters", "serialize_xml", "serialize_xml_error"]

_MAX_FIELDS = 500_000
_MAX_PARTS = 20
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|NaN|-?Infinity")
_BOOLEANS = {"true": True, "false": False}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2

_Tree: TypeAlias = "dict[str, str | _Tree]"


def decode_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form-encoded body.

    Raises:
        ApiError: The body is not UTF-8, has a field twice, or has too many fields.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError as error:
        raise ApiError("MalformedInput", "The request body is not form-encoded UTF-8 text.") from error
    except ValueError as error:
        raise ApiError("MalformedInput", f"The request body has more than {_MAX_FIELDS} fields.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ApiError("MalformedInput", "The request body has a field twice.")
    return fields


def parse_form_parameters(operation: Any, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a request after checking them against the service model.

    Args:
        operation: botocore's operation model.
        fields: The fields, from `decode_form`.

    Returns:
        The parameters.

    Raises:
        ApiError: A parameter has the wrong type or violates a constraint of the model.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    params: dict[str, Any] = _parse_structure(shape, _nest(fields), "")
    check_constraints(shape, params)
    return params


def _nest(fields: Mapping[str, str]) -> _Tree:
    """Convert `{"A.member.1": "x"}` to `{"A": {"member": {"1": "x"}}}`."""
    root: _Tree = {}
    for name, value in fields.items():
        steps = name.split(".", _MAX_PARTS)
        if len(steps) > _MAX_PARTS:
            raise ApiError("MalformedInput", f"A field's name has more than {_MAX_PARTS} parts.")
        node = root
        for step in steps[:-1]:
            below = node.setdefault(step, {})
            if isinstance(below, str):
                raise _contradiction(name)
            node = below
        if steps[-1] in node:
            raise _contradiction(name)
        node[steps[-1]] = value
    return root


def _contradiction(name: str) -> ApiError:
    return ApiError("MalformedInput", f"{name[:256]} is a value and also the prefix of other fields.")


def _parse_value(shape: Any, node: str | _Tree, path: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _parse_structure(shape, _expect_fields(node, path, "a structure"), path)
    if kind == "list":
        if node == "":  # an empty list
            return []
        below = _expect_fields(node, path, "a list")
        if not shape.serialization.get("flattened"):
            below, path = _expect_single_field(below, "member", path), f"{path}.member"
        return _parse_numbered(below, path, lambda item, where: _parse_value(shape.member, item, where))
    if kind == "map":
        below = _expect_single_field(_expect_fields(node, path, "a map"), "entry", path)

        def entry(item: str | _Tree, where: str) -> tuple[str, Any]:
            pair = _expect_fields(item, where, "a key and a value")
            if set(pair) != {"key", "value"} or not isinstance(pair["key"], str):
                raise ApiError("MalformedInput", f"{where} must have a key and a value.")
            return pair["key"], _parse_value(shape.value, pair["value"], f"{where}.value")

        pairs = _parse_numbered(below, f"{path}.entry", entry)
        if len(dict(pairs)) != len(pairs):
            raise ApiError("MalformedInput", f"{path} has a key twice.")
        return dict(pairs)
    if not isinstance(node, str):
        raise ApiError("MalformedInput", f"{path} must be of type {kind}.")
    return _parse_text(kind, node, path)


def _parse_structure(shape: Any, node: _Tree, path: str) -> dict[str, Any]:
    dot = f"{path}." if path else ""
    named = {name: member.serialization.get("name", name) for name, member in shape.members.items()}
    return {
        name: _parse_value(shape.members[name], node[wire], dot + wire) for name, wire in named.items() if wire in node
    }


def _expect_fields(node: str | _Tree, path: str, wanted: str) -> _Tree:
    if isinstance(node, str):
        raise ApiError("MalformedInput", f"{path} must be {wanted}.")
    return node


def _expect_single_field(node: _Tree, step: str, path: str) -> _Tree:
    if set(node) != {step}:
        raise ApiError(
            "MalformedInput", f"{path} must have only the fields {path}.{step}.1, {path}.{step}.2 and so on."
        )
    return _expect_fields(node[step], f"{path}.{step}", "numbered")


def _parse_numbered(node: _Tree, path: str, read: Callable[[str | _Tree, str], Any]) -> list[Any]:
    found = [read(node[str(i)], f"{path}.{i}") for i in range(1, len(node) + 1) if str(i) in node]
    if len(found) != len(node):
        raise ApiError("MalformedInput", f"The fields below {path} must be numbered from 1 without a gap.")
    return found


def _parse_text(kind: str, text: str, path: str) -> Any:
    raw: Any = text
    wrong = ApiError("MalformedInput", f"{path} must be of type {kind}, not {text[:256]!r}.")
    if kind in ("integer", "long"):
        if not _INTEGER.fullmatch(text):
            raise wrong
        raw = int(text)
    elif kind in ("float", "double"):
        if not _NUMBER.fullmatch(text):
            raise wrong
        raw = float(text)
    elif kind == "boolean":
        if text not in _BOOLEANS:
            raise wrong
        raw = _BOOLEANS[text]
    try:
        return parse_scalar(kind, raw, path)
    except ApiError as error:
        raise ApiError(
            "MalformedInput" if error.code == "SerializationException" else error.code, error.message
        ) from error


def serialize_xml(operation: Any, result: Mapping[str, Any], request_id: str) -> bytes:
    """Return the XML body of a response.

    Args:
        operation: botocore's operation model.
        result: The members of the response. Those that are None are omitted.
        request_id: The request's id.

    Returns:
        XML.
    """
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    root = ET.Element(f"{operation.name}Response", {"xmlns": namespace} if namespace else {})
    if operation.output_shape is not None:
        # Models that prefer JSON have no resultWrapper, but query clients need it.
        wrapper = operation.output_shape.serialization.get("resultWrapper", f"{operation.name}Result")
        _append(ET.SubElement(root, wrapper), operation.output_shape, result)
    ET.SubElement(ET.SubElement(root, "ResponseMetadata"), "RequestId").text = request_id
    answer: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return answer


def _append(node: ET.Element, shape: Any, value: Any) -> None:
    kind = shape.type_name
    if kind == "structure":
        for name, item in value.items():
            if item is not None:
                _append(ET.SubElement(node, name), shape.members[name], item)
    elif kind == "list":
        for item in value:
            _append(ET.SubElement(node, "member"), shape.member, item)
    elif kind == "timestamp":
        node.text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    elif kind == "boolean":
        node.text = "true" if value else "false"
    else:
        node.text = repr(float(value)) if kind in ("float", "double") else _xml_text(str(value))


def _xml_text(text: str) -> str:
    """Replace the characters that XML 1.0 does not allow."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def serialize_xml_error(code: str, message: str, status: int, request_id: str) -> bytes:
    """Return the XML body of an error."""
    root = ET.Element("ErrorResponse")
    error = ET.SubElement(root, "Error")
    ET.SubElement(error, "Type").text = "Sender" if status < 500 else "Receiver"
    ET.SubElement(error, "Code").text = _xml_text(code)
    ET.SubElement(error, "Message").text = _xml_text(message)
    ET.SubElement(root, "RequestId").text = request_id
    answer: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return answer
