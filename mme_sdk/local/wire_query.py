"""AWS's query protocol from the server's side, for STS and for CloudWatch of older clients: forms in, XML out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from mme_sdk.local.wire import ApiError, check_input

__all__ = ["error_xml", "parse_query", "query_fields", "query_xml"]


def query_fields(body: bytes) -> dict[str, str]:
    """The fields of a form-encoded body.

    Raises:
        ApiError: Not UTF-8.
    """
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except UnicodeDecodeError as error:
        raise ApiError("MalformedInput", "The body is no form-encoded text.") from error


def parse_query(operation: Any, fields: Mapping[str, str]) -> dict[str, Any]:
    """Parse and check a request.

    Args:
        operation: botocore's operation model.
        fields: What `query_fields` read.

    Returns:
        The parameters.

    Raises:
        ApiError: Of another type, or against a constraint of the model.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    params: dict[str, Any] = _read(shape, fields, "") or {}
    check_input(shape, params)
    return params


def _read(shape: Any, fields: Mapping[str, str], prefix: str) -> Any:
    """The value under a prefix; None where there is none."""
    kind = shape.type_name
    if kind == "structure":
        dot = f"{prefix}." if prefix else ""
        read = {
            name: _read(member, fields, dot + member.serialization.get("name", name))
            for name, member in shape.members.items()
        }
        found = {name: value for name, value in read.items() if value is not None}
        return found if found or not prefix else None
    if kind == "list":
        step = prefix if shape.serialization.get("flattened") else f"{prefix}.member"
        return _numbered(lambda path: _read(shape.member, fields, path), step)
    if kind == "map":
        pairs = _numbered(
            lambda path: None if f"{path}.key" not in fields else (fields[f"{path}.key"], fields[f"{path}.value"]),
            f"{prefix}.entry",
        )
        return None if pairs is None else dict(pairs)
    text = fields.get(prefix)
    if text is None:
        return None
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "timestamp":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError as error:
        raise ApiError("MalformedInput", f"{prefix} must be of type {kind}, not {text!r}") from error
    return text == "true" if kind == "boolean" else text


def _numbered(read: Any, step: str) -> list[Any] | None:
    found: list[Any] = []
    while (value := read(f"{step}.{len(found) + 1}")) is not None:
        found.append(value)
    return found or None


def query_xml(operation: Any, result: Mapping[str, Any], request_id: str) -> bytes:
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
        node.text = repr(float(value)) if kind in ("float", "double") else str(value)


def error_xml(code: str, message: str, status: int, request_id: str) -> bytes:
    """The body of an error."""
    root = ET.Element("ErrorResponse")
    error = ET.SubElement(root, "Error")
    ET.SubElement(error, "Type").text = "Sender" if status < 500 else "Receiver"
    ET.SubElement(error, "Code").text = code
    ET.SubElement(error, "Message").text = message
    ET.SubElement(root, "RequestId").text = request_id
    answer: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return answer
