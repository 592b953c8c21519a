"""AWS's query protocol from the server's side, for STS and for CloudWatch of older clients: forms in, XML out."""

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

_MOST_FIELDS = 500_000
_DEEPEST = 20
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|NaN|-?Infinity")
_BOOLEANS = {"true": True, "false": False}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2

_Tree: TypeAlias = "dict[str, str | _Tree]"


def decode_form(body: bytes) -> dict[str, str]:
    """The fields of a form-encoded body.

    Raises:
        ApiError: Not UTF-8, a field twice, or too many fields.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError as error:
        raise ApiError("MalformedInput", "The request body is not form-encoded UTF-8 text.") from error
    except ValueError as error:
        raise ApiError("MalformedInput", f"The request body has more than {_MOST_FIELDS} fields.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ApiError("MalformedInput", "The request body has a field twice.")
    return fields


def parse_form_parameters(operation: Any, fields: Mapping[str, str]) -> dict[str, Any]:
    """Parse and check a request.

    Args:
        operation: botocore's operation model.
        fields: What `decode_form` read.

    Returns:
        The parameters.

    Raises:
        ApiError: Of another type, or against a constraint of the model.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    params: dict[str, Any] = _structure(shape, _tree(fields), "")
    check_constraints(shape, params)
    return params


def _tree(fields: Mapping[str, str]) -> _Tree:
    """`{"A.member.1": "x"}` as `{"A": {"member": {"1": "x"}}}`."""
    root: _Tree = {}
    for name, value in fields.items():
        steps = name.split(".", _DEEPEST)
        if len(steps) > _DEEPEST:
            raise ApiError("MalformedInput", f"A field's name has more than {_DEEPEST} parts.")
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
    return ApiError("MalformedInput", f"{name[:256]} is both a value and the beginning of other fields.")


def _read(shape: Any, node: str | _Tree, path: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, _branch(node, path, "a structure"), path)
    if kind == "list":
        if node == "":  # how clients write an empty list
            return []
        below = _branch(node, path, "a list")
        if not shape.serialization.get("flattened"):
            below, path = _only(below, "member", path), f"{path}.member"
        return _numbered(below, path, lambda item, where: _read(shape.member, item, where))
    if kind == "map":
        below = _only(_branch(node, path, "a map"), "entry", path)

        def entry(item: str | _Tree, where: str) -> tuple[str, Any]:
            pair = _branch(item, where, "a key and a value")
            if set(pair) != {"key", "value"} or not isinstance(pair["key"], str):
                raise ApiError("MalformedInput", f"{where} must have a key and a value.")
            return pair["key"], _read(shape.value, pair["value"], f"{where}.value")

        pairs = _numbered(below, f"{path}.entry", entry)
        if len(dict(pairs)) != len(pairs):
            raise ApiError("MalformedInput", f"{path} has a key twice.")
        return dict(pairs)
    if not isinstance(node, str):
        raise ApiError("MalformedInput", f"{path} must be of type {kind}.")
    return _value(kind, node, path)


def _structure(shape: Any, node: _Tree, path: str) -> dict[str, Any]:
    dot = f"{path}." if path else ""
    named = {name: member.serialization.get("name", name) for name, member in shape.members.items()}
    return {name: _read(shape.members[name], node[wire], dot + wire) for name, wire in named.items() if wire in node}


def _branch(node: str | _Tree, path: str, wanted: str) -> _Tree:
    if isinstance(node, str):
        raise ApiError("MalformedInput", f"{path} must be {wanted}.")
    return node


def _only(node: _Tree, step: str, path: str) -> _Tree:
    if set(node) != {step}:
        raise ApiError("MalformedInput", f"{path} must have fields {path}.{step}.1, {path}.{step}.2 and so on only.")
    return _branch(node[step], f"{path}.{step}", "numbered")


def _numbered(node: _Tree, path: str, read: Callable[[str | _Tree, str], Any]) -> list[Any]:
    found = [read(node[str(i)], f"{path}.{i}") for i in range(1, len(node) + 1) if str(i) in node]
    if len(found) != len(node):
        raise ApiError("MalformedInput", f"The fields below {path} must be numbered from 1 without a gap.")
    return found


def _value(kind: str, text: str, path: str) -> Any:
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
    """The body of an answer.

    Args:
        operation: botocore's operation model.
        result: The answer; None members are left out.
        request_id: The request's id.

    Returns:
        XML.
    """
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    root = ET.Element(f"{operation.name}Response", {"xmlns": namespace} if namespace else {})
    if operation.output_shape is not None:
        # Models that prefer JSON no longer say resultWrapper, but query clients still look for it.
        wrapper = operation.output_shape.serialization.get("resultWrapper", f"{operation.name}Result")
        _write(ET.SubElement(root, wrapper), operation.output_shape, result)
    ET.SubElement(ET.SubElement(root, "ResponseMetadata"), "RequestId").text = request_id
    answer: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return answer


def _write(node: ET.Element, shape: Any, value: Any) -> None:
    kind = shape.type_name
    if kind == "structure":
        for name, item in value.items():
            if item is not None:
                _write(ET.SubElement(node, name), shape.members[name], item)
    elif kind == "list":
        for item in value:
            _write(ET.SubElement(node, "member"), shape.member, item)
    elif kind == "timestamp":
        node.text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    elif kind == "boolean":
        node.text = "true" if value else "false"
    else:
        node.text = repr(float(value)) if kind in ("float", "double") else _xml_text(str(value))


def _xml_text(text: str) -> str:
    """The text with a replacement character for what XML 1.0 cannot carry in any form."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def serialize_xml_error(code: str, message: str, status: int, request_id: str) -> bytes:
    """The body of an error."""
    root = ET.Element("ErrorResponse")
    error = ET.SubElement(root, "Error")
    ET.SubElement(error, "Type").text = "Sender" if status < 500 else "Receiver"
    ET.SubElement(error, "Code").text = _xml_text(code)
    ET.SubElement(error, "Message").text = _xml_text(message)
    ET.SubElement(root, "RequestId").text = request_id
    answer: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return answer
