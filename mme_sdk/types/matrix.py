"""Decode arrays from JSON, CSV and NPY. Every value is exact, or a ValueError names the value that is not."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "EXACT",
    "NPY_MAGIC",
    "array_of",
    "charset_of",
    "from_csv",
    "from_json",
    "has_header",
    "is_exact",
    "is_json",
    "media_type",
    "to_utf8",
]

EXACT = 2**53  # the largest magnitude up to which a 64-bit float holds every integer
NPY_MAGIC = b"\x93NUMPY"
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_GAP = re.compile(r"(^|,)[ \t]*(?=,|$)", re.MULTILINE)
# Not the digits after a decimal point or in an exponent: 1.9976856708526611 is the shortest text of a float.
_INTEGER = re.compile(r"(?<![\d.eE])(?<![eE][+-])[+-]?\d{16,}")


def media_type(content_type: str) -> str:
    """Return a content type in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Return whether a media type without parameters is JSON."""
    return kind == "application/json" or kind.endswith("+json")


def has_header(content_type: str) -> bool:
    """Return whether a content type declares a header row (RFC 4180: `text/csv; header=present`).

    Raises:
        ValueError: The parameter `header` is neither `present` nor `absent`.
    """
    if ";" not in content_type:
        return False
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "header":
            header = value.strip().strip('"').lower()
            if header not in ("present", "absent"):
                raise ValueError(f"header={header} in {content_type!r} must be 'present' or 'absent'")
            return header == "present"
    return False


def charset_of(content_type: str) -> str | None:
    """Return the charset of a content type; None if it is UTF-8 or ASCII, or if the content type names none.

    Raises:
        ValueError: Python does not support the charset.
    """
    found = None if ";" not in content_type else _CHARSET.search(content_type)
    if found is None:
        return None
    try:
        "".encode(found[1])  # lookup alone also accepts codecs that do not encode text, such as base64
        name = codecs.lookup(found[1]).name
    except LookupError:
        raise ValueError(f"charset={found[1]} in {content_type!r} is not supported") from None
    return None if name in ("utf-8", "ascii") else name


def to_utf8(body: bytes, content_type: str) -> bytes:
    """Return a body in UTF-8, converted from the charset of its content type if it names another one.

    Raises:
        ValueError: Python does not support the charset, or the body is not valid in it.
    """
    charset = charset_of(content_type)
    return body if charset is None else body.decode(charset).encode()


def is_exact(number: int) -> bool:
    """Return whether a 64-bit float holds an integer exactly."""
    try:
        return int(float(number)) == number
    except OverflowError:
        return False


def array_of(body: bytes, content_type: str) -> npt.NDArray[Any]:
    """Decode NPY, CSV or JSON to an array.

    Args:
        body: The bytes.
        content_type: Their media type with parameters. NPY is detected by its first bytes.

    Returns:
        The array. A CSV of one column has one dimension, any other CSV two.

    Raises:
        ValueError: The body is none of these, or the array cannot hold a value exactly.
    """
    import numpy as np

    if body[:6] == NPY_MAGIC:
        return np.load(io.BytesIO(body), allow_pickle=False)  # type: ignore[no-any-return]
    body = to_utf8(body, content_type)
    if media_type(content_type) == "text/csv":
        text = body.decode("utf-8-sig")
        table = from_csv(text, header=has_header(content_type))
        for found in _INTEGER.finditer(text):
            if not is_exact(int(found[0])):
                raise ValueError(f"{found[0]} has more digits than a float; use response_type=pandas.DataFrame or str")
        return table[:, 0] if table.shape[1] == 1 else table
    return from_json(json.loads(body))


def from_json(value: Any, *, lenient: bool = False) -> npt.NDArray[Any]:
    """Convert a JSON value to an array.

    Args:
        value: Nested lists, or a number.
        lenient: Whether null among numbers becomes NaN, and text beside other values stays an object. The containers of
            AWS do so. False by default.

    Returns:
        The array.

    Raises:
        ValueError: The lists have different lengths, contain objects, or mix types that an array would convert.
    """
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "OUf":
        return array
    leaves = list(_leaves(value))
    if array.dtype.kind == "U":
        if all(isinstance(leaf, str) for leaf in leaves):
            return array
        if lenient:
            return np.asarray(value, dtype=object)
        raise ValueError("it does not contain only numbers: text and other values are mixed")
    if array.dtype.kind == "O":
        if any(isinstance(leaf, dict) for leaf in leaves):
            raise ValueError("it does not contain only numbers: its lists contain objects")
        if not lenient:
            raise ValueError("it does not contain only numbers")
        if any(isinstance(leaf, str) for leaf in leaves):
            return array
        array = np.asarray(value, dtype=float)
    if not lenient:
        for leaf in leaves:
            if isinstance(leaf, int) and not is_exact(leaf):
                raise ValueError(f"{leaf} has more digits than a float, and the array has floats")
    return array


def from_csv(text: str, *, header: bool = False) -> npt.NDArray[Any]:
    """Decode a CSV of numbers to an array of two dimensions.

    Args:
        text: The CSV. An empty field becomes NaN.
        header: Whether the first line has the names of the columns. False by default.

    Returns:
        The array.

    Raises:
        ValueError: There are no rows, the rows have different lengths, or a field is not a number.
    """
    import numpy as np

    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    if header:
        text = text.partition("\n")[2]
    if not text.strip():
        raise ValueError("it has no rows")
    lines = text.split("\n")
    empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None:
        raise ValueError(f"line {empty} is empty; write a missing value as nan")
    try:
        return np.loadtxt(io.StringIO(_GAP.sub(r"\1nan", text)), delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        if not all(map(_is_number, lines[0].split(","))):
            raise ValueError(
                f"the first line, {lines[0][:60]!r}, is not only numbers. Remove the header row, or use the "
                "content type 'text/csv; header=present'"
            ) from error
        raise


def _is_number(field: str) -> bool:
    try:
        float(field or "nan")
    except ValueError:
        return False
    return True


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
