"""Payloads to bytes and back, by their Python type and media type.

numpy, pandas and the like are never imported here before the caller has: a value cannot be an array of a library that
is not loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime.payloads.answer_tables import decode_frame
from mme_sdk.runtime.payloads.parquet import frame_to_parquet
from mme_sdk.runtime.payloads.tables import (
    array_to_csv,
    array_to_json,
    array_to_npy,
    frame_to_csv,
    frame_to_json,
    frame_to_npy,
)
from mme_sdk.types.matrix import array_of, charset_of, has_header, in_utf8, media_type

__all__ = ["CSV", "JSON", "NPY", "PARQUET", "Codec", "Codecs"]

JSON = "application/json"
NPY = "application/x-npy"
CSV = "text/csv"
PARQUET = "application/x-parquet"
OCTETS = "application/octet-stream"
_BYTES = (bytes, bytearray, memoryview)


class Codec(Protocol):
    """How values travel in one media type.

    Attributes:
        media_type: Such as `application/x-npy`.
    """

    media_type: str

    def accepts(self, data: Any) -> bool:
        """Whether a payload is encoded with this codec where the caller names no content type."""
        ...

    def encode(self, data: Any) -> tuple[bytes, str]:
        """Bytes of a payload and their whole media type; raises ValueError or TypeError where that cannot be."""
        ...

    def decode(self, body: bytes, content_type: str) -> Any:
        """Value of an answer; raises ValueError where it cannot be read."""
        ...


class Codecs:
    """What payloads can be, and what replies can become.

    Args:
        extra: Codecs of your own; they are asked first.

    Example:
        >>> Codecs().encode({"amount": 12.5})
        (b'{"amount":12.5}', 'application/json')
    """

    def __init__(self, extra: Sequence[Codec] = ()) -> None:
        self._extra = tuple(extra)
        self._by_type = {codec.media_type: codec for codec in self._extra}

    def encode(self, data: Any, content_type: str | None = None) -> tuple[bytes, str]:
        """Bytes and media type of a payload.

        Args:
            data: bytes, str, anything JSON can say, a numpy array, a pandas frame, a pydantic model, or what an extra
                codec accepts.
            content_type: Media type to encode to; by the type of `data` where None. A frame as CSV has a header row
                only with `text/csv; header=present`. Text is in the charset that it names, or in UTF-8.

        Returns:
            The body and its content type.

        Raises:
            InvalidInputError: It cannot be encoded, or would be read as other values; the message names the column.
        """
        if type(data) is bytes:
            return data, content_type or OCTETS
        try:
            body, encoded_as = self._encode(data, content_type)
            charset = None if content_type is None or isinstance(data, _BYTES) else charset_of(content_type)
            return body if charset is None else body.decode().encode(charset), encoded_as
        except (ValueError, TypeError, OverflowError, RecursionError, AttributeError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(
                f"a {type(data).__qualname__} cannot be encoded as {content_type or 'a payload'}: {error}",
                hint="send bytes with content_type=…, or add a codec",
            ) from error

    def _encode(self, data: Any, content_type: str | None) -> tuple[bytes, str]:
        kind = None if content_type is None else media_type(content_type)
        codec = self._by_type.get(kind) if kind else next((c for c in self._extra if c.accepts(data)), None)
        if codec is not None and not isinstance(data, (*_BYTES, str)):
            body, encoded_as = codec.encode(data)
            return body, encoded_as if content_type is None or media_type(
                content_type
            ) == content_type else content_type
        if isinstance(data, _BYTES):
            return bytes(data), content_type or OCTETS
        if isinstance(data, str):
            return data.encode(), content_type or "text/plain"
        if _is(data, "numpy", "ndarray"):
            return _encode_array(data, kind, content_type or NPY), content_type or NPY
        if _is(data, "pandas", "DataFrame") or _is(data, "pandas", "Series"):
            return _encode_frame(data, kind or CSV, content_type or CSV), content_type or CSV
        if kind is not None and not _is_json(kind):
            raise TypeError(f"there is no codec for {kind}")
        if isinstance(data, BaseModel):
            body = data.model_dump_json().encode()
            if b"null" in body:  # pydantic writes NaN and infinity as null, which _to_json refuses
                body = _to_json(data.model_dump(mode="json"))
            return body, content_type or JSON
        return _to_json(data), content_type or JSON

    def has(self, content_type: str) -> bool:
        """Whether an extra codec decodes this media type."""
        return bool(self._by_type) and media_type(content_type) in self._by_type

    def accept(self, response_type: Any) -> str | None:
        """The media type to ask for, so that the answer can become this type; None leaves it to the container.

        Raises:
            InvalidInputError: Nothing can decode to this type.
        """
        if response_type is bytes or response_type is str:
            return None
        if _is_class(response_type, "numpy", "ndarray") or _is_class(response_type, "pandas", "DataFrame"):
            return None
        if _is_codec(response_type):
            return str(response_type.media_type)
        try:
            _adapter(response_type)
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
            raise InvalidInputError(
                f"response_type={response_type!r}: no codec knows this type",
                hint="bytes, str, numpy.ndarray, pandas.DataFrame, a codec, or a type that pydantic reads from JSON",
            ) from error
        return JSON

    def decode(self, body: bytes, content_type: str, response_type: Any = None) -> Any:
        """Value of an answer.

        Args:
            body: The raw answer.
            content_type: Its media type.
            response_type: `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, a `Codec`, or any type that pydantic
                reads from JSON (a model, a dataclass, `list[float]`, …); an extra codec of the content type where None.

        Returns:
            A value of that type.

        Raises:
            UndecodableReplyError: The answer is not that; the error keeps the bytes.
            InvalidInputError: Nothing can decode to this type.
        """
        if response_type is bytes:
            return body
        kind = media_type(content_type)
        try:
            if response_type is str:
                return in_utf8(body, content_type).decode()
            if response_type is None:
                return self._by_type[kind].decode(body, content_type)
            if _is_codec(response_type):
                return response_type.decode(body, content_type)
            if _is_class(response_type, "numpy", "ndarray"):
                return array_of(body, content_type)
            if _is_class(response_type, "pandas", "DataFrame"):
                return decode_frame(body, content_type)
            return _adapter(response_type).validate_json(in_utf8(body, content_type))
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise InvalidInputError(f"response_type={response_type!r}: no codec knows this type") from error
        except (ValidationError, ValueError, EOFError, RecursionError) as error:
            name = getattr(response_type, "__qualname__", None) or str(response_type)
            raise UndecodableReplyError(
                f"the model's answer ({content_type}) is not a readable {name}: {error}; it starts with {body[:60]!r}",
                body=body,
                content_type=content_type,
            ) from error


@lru_cache(maxsize=256)
def _adapter(response_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(response_type)


def _is_codec(response_type: Any) -> bool:
    return hasattr(response_type, "decode") and hasattr(response_type, "media_type")


def _is_json(kind: str) -> bool:
    return kind == JSON or kind.endswith("+json")


def _is(data: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(data, getattr(loaded, name))


def _is_class(wanted: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and wanted is getattr(loaded, name)


def _to_json(data: Any) -> bytes:
    # NaN is not JSON: containers that are not Python refuse it, and do not say why.
    return json.dumps(data, default=_plain, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if _is(value, "numpy", "ndarray") or _is(value, "numpy", "generic"):
        return array_to_json(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        raise TypeError("a set has no order: send a list")
    raise TypeError(f"a {type(value).__qualname__} in it is nothing that JSON can say")


def _encode_array(array: Any, kind: str | None, content_type: str) -> bytes:
    if kind is None or kind == NPY:
        return array_to_npy(array)
    if _is_json(kind):
        return _to_json(array_to_json(array))
    if kind == CSV:
        if has_header(content_type):
            raise ValueError("an array has no column names for a header: send a data frame")
        return array_to_csv(array)
    raise TypeError(f"a numpy array goes as {NPY}, {JSON} or {CSV}")


def _encode_frame(frame: Any, kind: str, content_type: str) -> bytes:
    if kind == CSV:
        return frame_to_csv(frame, header=has_header(content_type))
    if _is_json(kind):
        return frame_to_json(frame)
    if kind == PARQUET:
        return frame_to_parquet(frame)
    if kind == NPY:
        return frame_to_npy(frame)
    raise TypeError(f"a pandas frame goes as {CSV}, {JSON}, {NPY} or {PARQUET}")
