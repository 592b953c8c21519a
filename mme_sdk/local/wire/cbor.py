"""Encode and decode CBOR (RFC 8949) for the rpc-v2-cbor protocol, with limits for requests from the network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, cast

from mme_sdk.errors import MissingExtraError

try:
    import cbor2
except ImportError as error:
    raise MissingExtraError("the embedded SageMaker needs cbor2", hint="pip install 'mme-sdk[local]'") from error

__all__ = ["dumps", "loads"]

_TIMESTAMP_TAG = 1
_MAX_DEPTH = 64
_READ_SIZE = 4096


def loads(data: bytes) -> Any:
    """Decode an item. A timestamp becomes a number of seconds.

    The decoder reads small chunks, so that other threads can run while it decodes a large item.

    Args:
        data: The encoded item.

    Returns:
        Dicts with keys of type str or bytes, lists, str, bytes, numbers, booleans and None.

    Raises:
        ValueError: The bytes are not exactly one item, a map has a key twice, the nesting is deeper than 64 levels, or
            a tag is not that of a timestamp.
    """
    source = _Source(data)
    try:
        value = cbor2.load(
            cast("IO[bytes]", source),
            semantic_decoders=_TAGS,
            tag_hook=_refuse_tag,
            read_size=_READ_SIZE,
            max_depth=_MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not valid CBOR: {_reason(error)}") from error
    if source.tell() != len(data):
        raise ValueError("not valid CBOR: more bytes follow the item")
    return value


def dumps(value: Any) -> bytes:
    """Encode an item.

    Args:
        value: Mappings, lists, str, bytes, numbers, booleans, None and datetimes with a time zone.

    Returns:
        The CBOR bytes.
    """
    encoded: bytes = cbor2.dumps(value, datetime_as_timestamp=True)
    return encoded


class _Source(io.RawIOBase):
    """A file object whose `read` is Python code, so that the interpreter can switch threads at each call."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        chunk = self._data[self._at : end]
        self._at += len(chunk)
        return chunk

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def _seconds(value: Any, _immutable: bool) -> int | float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError("a timestamp is not a number")
    return value


def _refuse_tag(*_: Any) -> Any:
    raise ValueError("a tag that is not that of a timestamp")


class _Tags(Mapping[int, Callable[[Any, bool], Any]]):
    """Decoders of tagged items. Every tag has one, so that cbor2 uses none of its own."""

    def __getitem__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _seconds if tag == _TIMESTAMP_TAG else _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter((_TIMESTAMP_TAG,))

    def __len__(self) -> int:
        return 1


_TAGS = _Tags()


def _reason(error: BaseException) -> str:
    """Return the innermost cause, because cbor2 wraps an error once for each level of nesting."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
