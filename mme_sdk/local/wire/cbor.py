"""CBOR (RFC 8949) as AWS's rpc-v2-cbor protocol uses it: the package `cbor2`, bounded for bytes from the network."""

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

_EPOCH = 1  # the tag of a timestamp
_DEEPEST = 64
_CHUNK = 4096


def loads(data: bytes) -> Any:
    """Decode one item; a timestamp becomes its number of seconds.

    The decoder reads in small chunks, so that a thread that decodes a large item lets other threads run.

    Args:
        data: The encoded item.

    Returns:
        Dicts with keys of text or bytes, lists, str, bytes, numbers, booleans and None.

    Raises:
        ValueError: The bytes are not exactly one item, a map has a key twice, the nesting is deeper than 64,
            or a tag other than that of a timestamp is used.
    """
    source = _Source(data)
    try:
        value = cbor2.load(
            cast("IO[bytes]", source),
            semantic_decoders=_TAGS,
            tag_hook=_refuse_tag,
            read_size=_CHUNK,
            max_depth=_DEEPEST,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"no valid CBOR: {_reason(error)}") from error
    if source.tell() != len(data):
        raise ValueError("no valid CBOR: more bytes follow the item")
    return value


def dumps(value: Any) -> bytes:
    """Encode an item.

    Args:
        value: Mappings, lists, str, bytes, numbers, booleans, None and aware datetimes.

    Returns:
        CBOR.
    """
    encoded: bytes = cbor2.dumps(value, datetime_as_timestamp=True)
    return encoded


class _Source(io.RawIOBase):
    """Bytes as a file whose `read` is Python code: at each call the interpreter may switch to another thread."""

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
    raise ValueError("a tag other than that of a timestamp")


class _Tags(Mapping[int, Callable[[Any, bool], Any]]):
    """Decoders of tagged items: every tag has one, so that none of cbor2's own takes part."""

    def __getitem__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _seconds if tag == _EPOCH else _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter((_EPOCH,))

    def __len__(self) -> int:
        return 1


_TAGS = _Tags()


def _reason(error: BaseException) -> str:
    """The innermost cause: cbor2 wraps an error once for each level of nesting."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
