"""The wire protocols of the control plane: JSON, query and CBOR."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from mme_sdk.local.wire import cbor
from mme_sdk.local.wire.errors import ApiError, shape_and_headers
from mme_sdk.local.wire.parameters import decode_json, parse_parameters
from mme_sdk.local.wire.query import decode_form, parse_form_parameters, serialize_xml, serialize_xml_error
from mme_sdk.local.wire.responses import check_response, serialize_json

__all__ = ["WireProtocol", "detect_protocol"]

_FORM = "application/x-www-form-urlencoded"
_JSON_TYPES = ("application/x-amz-json-1.0", "application/x-amz-json-1.1")
_CBOR_PATH = re.compile(r"/service/(\w+)/operation/(\w+)")


class WireProtocol(Protocol):
    """A request in its protocol."""

    uses_signed_service: bool
    """Whether the credential scope of the signature identifies the service. Otherwise `target` identifies it."""

    @property
    def target(self) -> tuple[str, str]:
        """Target prefix of the service and name of the operation; empty if the request does not have them."""
        ...

    def parse(self, operation: Any) -> dict[str, Any]:
        """Return the parameters after checking them against the service model."""
        ...

    def serialize_response(
        self, operation: Any, result: Mapping[str, Any], request_id: str, /
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a response."""
        ...

    def serialize_error(self, error: ApiError, request_id: str, model: Any, /) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of an error. `model` is that of the service, or None if it is not known."""
        ...


def detect_protocol(headers: Mapping[str, str], path: str, body: bytes) -> WireProtocol:
    """Return the protocol of a request.

    Args:
        headers: Header values by lower-case name.
        path: The path.
        body: The body.

    Raises:
        ApiError: The body is a form that cannot be decoded.
    """
    if headers.get("smithy-protocol") == "rpc-v2-cbor":
        return _Cbor(path, body)
    if headers.get("content-type", "").startswith(_FORM):
        return _Query(body)
    return _Json(headers, body)


class _Json:
    uses_signed_service = False

    def __init__(self, headers: Mapping[str, str], body: bytes) -> None:
        self._body = body
        prefix, _, name = headers.get("x-amz-target", "").partition(".")
        self.target = (prefix, name)
        given = headers.get("content-type", "")
        self._content_type = given if given in _JSON_TYPES else _JSON_TYPES[-1]

    def parse(self, operation: Any) -> dict[str, Any]:
        return parse_parameters(operation, decode_json(self._body))

    def serialize_response(
        self, operation: Any, result: Mapping[str, Any], _request_id: str
    ) -> tuple[bytes, dict[str, str]]:
        return serialize_json(operation, result), {"Content-Type": self._content_type}

    def serialize_error(self, error: ApiError, _request_id: str, model: Any) -> tuple[bytes, dict[str, str]]:
        shape, headers = shape_and_headers(model, error)
        body = json.dumps({"__type": shape, "message": error.message, "Message": error.message}).encode()
        return body, {"Content-Type": self._content_type, "x-amzn-ErrorType": shape, **headers}


class _Query:
    uses_signed_service = True
    _content_type: ClassVar[dict[str, str]] = {"Content-Type": "text/xml"}

    def __init__(self, body: bytes) -> None:
        self._fields = decode_form(body)
        self.target = ("", self._fields.get("Action", ""))

    def parse(self, operation: Any) -> dict[str, Any]:
        return parse_form_parameters(operation, self._fields)

    def serialize_response(
        self, operation: Any, result: Mapping[str, Any], request_id: str
    ) -> tuple[bytes, dict[str, str]]:
        return serialize_xml(operation, result, request_id), self._content_type

    def serialize_error(self, error: ApiError, request_id: str, _model: Any) -> tuple[bytes, dict[str, str]]:
        return serialize_xml_error(error.code, error.message, error.status, request_id), self._content_type


class _Cbor:
    uses_signed_service = False
    _content_type: ClassVar[dict[str, str]] = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}

    def __init__(self, path: str, body: bytes) -> None:
        self._body = body
        found = _CBOR_PATH.fullmatch(path)
        self.target = ("", "") if found is None else (found[1], found[2])

    def parse(self, operation: Any) -> dict[str, Any]:
        try:
            raw = cbor.loads(self._body) if self._body else {}
        except ValueError as error:
            raise ApiError("SerializationException", f"The request body is {error}.") from error
        return parse_parameters(operation, raw)

    def serialize_response(
        self, operation: Any, result: Mapping[str, Any], _request_id: str
    ) -> tuple[bytes, dict[str, str]]:
        return cbor.dumps(check_response(operation, result)), self._content_type

    def serialize_error(self, error: ApiError, _request_id: str, model: Any) -> tuple[bytes, dict[str, str]]:
        shape, headers = shape_and_headers(model, error)
        return cbor.dumps({"__type": shape, "message": error.message}), {**self._content_type, **headers}
