"""Encode payloads and decode responses, by their Python type and their media type.

This module does not import numpy and pandas, and imports pydantic only to decode. If the caller has not imported them,
no value is of their types.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime.payloads import arrow
from mme_sdk.types.matrix import array_of, charset_of, has_header, is_json, media_type, to_utf8

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["CSV", "JSON", "NPY", "OCTETS", "PARQUET", "Codec", "Codecs"]

JSON = "application/json"
NPY = "application/x-npy"
CSV = "text/csv"
PARQUET = "application/x-parquet"
OCTETS = "application/octet-stream"
_BYTES = (bytes, bytearray, memoryview)


class Codec(Protocol):
    """An encoder and decoder of one media type.

    Attributes:
        media_type: The media type, such as `application/x-npy`.

    Example:
        ```python
        class MsgPack:
            media_type = "application/msgpack"

            def accepts(self, data): return False  # only with content_type="application/msgpack"
            def encode(self, data): return msgpack.packb(data), self.media_type
            def decode(self, body, content_type): return msgpack.unpackb(body)

        client = MMEClient(codecs=Codecs([MsgPack()]))
        ```
    """

    media_type: str

    def accepts(self, data: Any) -> bool:
        """Tell whether this codec encodes a payload if the caller passes no content type.

        Args:
            data: The payload.

        Returns:
            True if it does.
        """
        ...

    def encode(self, data: Any) -> tuple[bytes, str]:
        """Encode a payload.

        Args:
            data: The payload.

        Returns:
            The body and its media type with parameters.

        Raises:
            ValueError: A value cannot be encoded.
            TypeError: A type cannot be encoded.
        """
        ...

    def decode(self, body: bytes, content_type: str) -> Any:
        """Decode a response.

        Args:
            body: The raw response.
            content_type: Its media type with parameters.

        Returns:
            The value.

        Raises:
            ValueError: The response cannot be decoded.
        """
        ...


class Codecs:
    """The encodings of payloads and the decodings of responses.

    Args:
        extra: Additional codecs. They take precedence over the built-in ones. Empty by default.

    Example:
        >>> Codecs().encode({"amount": 12.5})
        (b'{"amount":12.5}', 'application/json')
    """

    def __init__(self, extra: Sequence[Codec] = ()) -> None:
        self._extra = tuple(extra)
        self._by_type = {codec.media_type: codec for codec in self._extra}

    def encode(self, data: Any, content_type: str | None = None) -> tuple[bytes, str]:
        """Encode a payload.

        Args:
            data: Bytes, text, a value that JSON supports, a numpy array, a pandas data frame or series, a pydantic
                model, or a value that an additional codec accepts.
            content_type: Media type to encode to. If None, the type of `data` determines it. A data frame is encoded
                as CSV with a header row only for `text/csv; header=present`. Text is encoded in the charset of the
                content type, or in UTF-8 if it names none.

        Returns:
            The body and its content type.

        Raises:
            InvalidInputError: The payload cannot be encoded, or the model would decode other values. The text names
                the column.
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
            target = f" as {content_type}" if content_type else ""
            raise InvalidInputError(
                f"a payload of type {type(data).__qualname__} cannot be encoded{target}: {error}",
                hint=_encoding_hint(error),
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
        if _is_instance(data, "numpy", "ndarray"):
            return _encode_array(data, kind, content_type or NPY), content_type or NPY
        if arrow.is_table(data):
            data = arrow.to_pandas(data)
        if _is_instance(data, "pandas", "DataFrame") or _is_instance(data, "pandas", "Series"):
            return _encode_frame(data, kind or CSV, content_type or CSV), content_type or CSV
        if kind is not None and not is_json(kind):
            raise TypeError(f"no codec encodes to {kind}")
        if _is_instance(data, "pydantic.main", "BaseModel"):
            body = data.model_dump_json().encode()
            if b"null" in body:  # pydantic writes NaN and infinity as null; _to_json rejects them
                body = _to_json(data.model_dump(mode="json"))
            return body, content_type or JSON
        return _to_json(data), content_type or JSON

    def has(self, content_type: str) -> bool:
        """Tell whether an additional codec decodes a media type.

        Args:
            content_type: The media type; parameters are ignored.

        Returns:
            True if one does.
        """
        return bool(self._by_type) and media_type(content_type) in self._by_type

    def check_parquet(self, content_type: str | None = None, accept: str | None = None) -> None:
        """Check before a call that data frames can be sent, and their answers read, as these media types.

        Args:
            content_type: Media type of the request. None is not checked.
            accept: Media type of the response. None is not checked.

        Raises:
            MissingExtraError: One of them is Parquet, no additional codec has it, and pyarrow is not installed.
        """
        for doing, wanted in (("encoding as Parquet", content_type), ("decoding Parquet", accept)):
            if isinstance(wanted, str) and media_type(wanted) == PARQUET and not self.has(wanted):
                from mme_sdk.runtime.payloads.parquet import import_pyarrow

                import_pyarrow(doing)

    def accept(self, response_type: Any, asked: str | None = None) -> str | None:
        """Return the media type to request for a response type.

        Args:
            response_type: See `decode`.
            asked: Media type that the caller requests. Default: None.

        Returns:
            The value of the Accept header. None if the container chooses the media type.

        Raises:
            InvalidInputError: No codec decodes to this type.
            MissingExtraError: Decoding to this type needs a package that is not installed.
        """
        if response_type is bytes or response_type is str:
            return None
        if _is_class(response_type, "numpy", "ndarray"):
            return None
        if _is_class(response_type, "pandas", "DataFrame"):
            self.check_parquet(accept=asked)
            return None
        if arrow.table_class(response_type):
            arrow.check_installed()
            return None
        if _is_codec(response_type):
            return str(response_type.media_type)
        from pydantic import PydanticSchemaGenerationError, PydanticUserError

        try:
            _adapter(response_type)
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
            raise InvalidInputError(
                f"response_type={response_type!r} is not supported",
                hint="use bytes, str, numpy.ndarray, a data frame, a codec, or a type that pydantic supports",
            ) from error
        return JSON

    def decode(self, body: bytes, content_type: str, response_type: Any = None) -> Any:
        """Decode a response.

        Args:
            body: The raw response.
            content_type: Its media type with parameters.
            response_type: `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, a `Codec`, or any type that pydantic
                decodes from JSON (a model, a dataclass, `list[float]`, …). If None, the additional codec of the
                content type is used.

        Returns:
            A value of that type.

        Raises:
            UndecodableReplyError: The response cannot be decoded to that type. The error keeps the bytes.
            InvalidInputError: No codec decodes to that type.
        """
        if response_type is bytes:
            return body
        kind = media_type(content_type)
        try:
            if response_type is str:
                return to_utf8(body, content_type).decode()
            if response_type is None:
                return self._by_type[kind].decode(body, content_type)
            if _is_codec(response_type):
                return response_type.decode(body, content_type)
            if _is_class(response_type, "numpy", "ndarray"):
                return array_of(body, content_type)
            is_arrow = arrow.table_class(response_type)
            if is_arrow or _is_class(response_type, "pandas", "DataFrame"):
                from mme_sdk.runtime.payloads.answer_tables import decode_frame

                frame = decode_frame(body, content_type)
                return arrow.like(frame, response_type) if is_arrow else frame
            return _adapter(response_type).validate_json(to_utf8(body, content_type))
        except (ValueError, EOFError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
            name = getattr(response_type, "__qualname__", None) or str(response_type)
            raise UndecodableReplyError(
                f"the response ({content_type}) cannot be decoded to {name}: {_reason(error)}",
                hint=f"it starts with {body[:60]!r}; ask for another response_type, or correct the model's output",
                body=body,
                content_type=content_type,
            ) from error
        except RuntimeError as error:
            if _is_instance(error, "pydantic.errors", "PydanticUserError"):
                raise InvalidInputError(f"response_type={response_type!r} is not supported") from error
            raise


def _reason(error: Exception) -> str:
    """Return what is wrong with a response on one line."""
    if not _is_instance(error, "pydantic_core", "ValidationError"):
        return str(error)
    details: Any = error
    first, *others = details.errors(include_url=False, include_input=False)
    where = ".".join(map(str, first["loc"]))
    more = f", and {len(others)} more" if others else ""
    text = str(first["msg"])
    return (f"{where}: " if where else "") + text[:1].lower() + text[1:] + more


@lru_cache(maxsize=256)
def _adapter(response_type: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(response_type)


def _is_codec(response_type: Any) -> bool:
    return hasattr(response_type, "decode") and hasattr(response_type, "media_type")


def _is_instance(data: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None)  # another thread may be importing the module
    return kind is not None and isinstance(data, kind)


def _is_class(wanted: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and wanted is getattr(loaded, name)


class _UnsupportedTypeError(TypeError):
    def __init__(self, value: Any) -> None:
        super().__init__(f"it contains a value of the type {type(value).__qualname__}, which JSON does not support")
        self.value = value


def _encoding_hint(error: Exception) -> str:
    if "Out of range float" in str(error):
        return "JSON has no NaN and no infinity: send None in their place, or send a numpy array"
    value = error.value if isinstance(error, _UnsupportedTypeError) else None
    if hasattr(value, "read_bytes") or hasattr(value, "read"):
        return "read the file, and pass its bytes and content_type=…"
    if hasattr(value, "toarray"):  # a sparse matrix of scipy
        return "call toarray(), and pass the numpy array"
    if hasattr(value, "__dataclass_fields__"):
        return "pass dataclasses.asdict(…) of it"
    if type(value).__module__ in ("datetime", "decimal", "uuid"):
        return "convert it to text or a number, or send a pydantic model, which does this"
    return "encode it to bytes and pass content_type=…, or add a codec to the client"


def _to_json(data: Any) -> bytes:
    # JSON has no NaN. Containers that are not written in Python reject it without a reason.
    return _ENCODER.encode(data).encode()


def _to_json_value(value: Any) -> Any:
    if _is_instance(value, "pydantic.main", "BaseModel"):
        return value.model_dump(mode="json")
    if _is_instance(value, "numpy", "ndarray") or _is_instance(value, "numpy", "generic"):
        from mme_sdk.runtime.payloads.tables import array_to_json

        return array_to_json(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        raise TypeError("a set has no order; send a list")
    raise _UnsupportedTypeError(value)


_ENCODER = json.JSONEncoder(default=_to_json_value, separators=(",", ":"), allow_nan=False)


def _encode_array(array: Any, kind: str | None, content_type: str) -> bytes:
    from mme_sdk.runtime.payloads.npy import array_to_npy
    from mme_sdk.runtime.payloads.tables import array_to_csv, array_to_json

    if kind is None or kind == NPY:
        return array_to_npy(array)
    if is_json(kind):
        return _to_json(array_to_json(array))
    if kind == CSV:
        if has_header(content_type):
            raise ValueError("a numpy array has no column names for a header; send a data frame")
        return array_to_csv(array)
    raise TypeError(f"a numpy array can be encoded as {NPY}, {JSON} or {CSV}")


def _encode_frame(frame: Any, kind: str, content_type: str) -> bytes:
    from mme_sdk.runtime.payloads.tables import frame_to_csv, frame_to_json, frame_to_npy

    if kind == CSV:
        return frame_to_csv(frame, header=has_header(content_type))
    if is_json(kind):
        return frame_to_json(frame)
    if kind == PARQUET:
        from mme_sdk.runtime.payloads.parquet import frame_to_parquet

        return frame_to_parquet(frame)
    if kind == NPY:
        return frame_to_npy(frame)
    raise TypeError(f"a data frame can be encoded as {CSV}, {JSON}, {NPY} or {PARQUET}")
