"""Arrays out of JSON, CSV and NPY: every value exactly, or a ValueError that says which value cannot be kept."""

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
    "in_utf8",
    "is_exact",
    "media_type",
]

EXACT = 2**53  # the largest magnitude up to which a 64-bit float holds every integer
NPY_MAGIC = b"\x93NUMPY"
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_GAP = re.compile(r"(^|,)[ \t]*(?=,|$)", re.MULTILINE)
_INTEGER = re.compile(r"[+-]?\d{16,}")


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def has_header(content_type: str) -> bool:
    """Whether a CSV content type says that the first line names the columns (RFC 4180: `text/csv; header=present`).

    Raises:
        ValueError: The parameter has another value than `present` and `absent`.
    """
    if ";" not in content_type:
        return False
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "header":
            said = value.strip().strip('"').lower()
            if said not in ("present", "absent"):
                raise ValueError(f"header={said} in {content_type!r}: it is 'present' or 'absent'")
            return said == "present"
    return False


def charset_of(content_type: str) -> str | None:
    """The charset that a content type names, where it is another than UTF-8; None of any other.

    Raises:
        ValueError: Python has no codec of this name.
    """
    found = None if ";" not in content_type else _CHARSET.search(content_type)
    if found is None:
        return None
    try:
        "".encode(found[1])  # unlike lookup, it refuses codecs that are not of text, such as base64
        name = codecs.lookup(found[1]).name
    except LookupError:
        raise ValueError(f"charset={found[1]} in {content_type!r} is unknown") from None
    return None if name in ("utf-8", "ascii") else name


def in_utf8(body: bytes, content_type: str) -> bytes:
    """A body whose content type names another charset, as UTF-8; any other as it is.

    Raises:
        ValueError: The charset is unknown, or the body is not in it.
    """
    charset = charset_of(content_type)
    return body if charset is None else body.decode(charset).encode()


def is_exact(number: int) -> bool:
    """Whether a 64-bit float holds this integer."""
    try:
        return int(float(number)) == number
    except OverflowError:
        return False


def array_of(body: bytes, content_type: str) -> npt.NDArray[Any]:
    """An answer as an array: NPY, CSV or JSON. A CSV of one column has one dimension, any other CSV two.

    Raises:
        ValueError: It is none of these, or a value cannot be kept exactly.
    """
    import numpy as np

    if body[:6] == NPY_MAGIC:
        return np.load(io.BytesIO(body), allow_pickle=False)  # type: ignore[no-any-return]
    body = in_utf8(body, content_type)
    if media_type(content_type) == "text/csv":
        text = body.decode("utf-8-sig")
        table = from_csv(text, header=has_header(content_type))
        for found in _INTEGER.finditer(text):
            if not is_exact(int(found[0])):
                raise ValueError(f"{found[0]} has more digits than a float: read it as a DataFrame or as text")
        return table[:, 0] if table.shape[1] == 1 else table
    return from_json(json.loads(body))


def from_json(value: Any, *, lenient: bool = False) -> npt.NDArray[Any]:
    """An array of a JSON value.

    Args:
        value: Nested lists, or a number.
        lenient: Read as a model's container does: null among numbers is NaN, text beside other values stays an object.

    Raises:
        ValueError: The lists are ragged, hold objects, or mix what an array would change without a word.
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
        raise ValueError("it holds no numbers alone: text and other values are mixed")
    if array.dtype.kind == "O":
        if any(isinstance(leaf, dict) for leaf in leaves):
            raise ValueError("it holds no numbers alone: there are objects in its lists")
        if not lenient:
            raise ValueError("it holds no numbers alone")
        if any(isinstance(leaf, str) for leaf in leaves):
            return array
        array = np.asarray(value, dtype=float)
    if not lenient:
        for leaf in leaves:
            if isinstance(leaf, int) and not is_exact(leaf):
                raise ValueError(f"{leaf} has more digits than the floats beside it")
    return array


def from_csv(text: str, *, header: bool = False) -> npt.NDArray[Any]:
    """A table of numbers, two dimensions; an empty field is NaN.

    Args:
        text: The CSV.
        header: Whether the first line names the columns.

    Raises:
        ValueError: There are no rows, they are not of one length, or a field is no number.
    """
    import numpy as np

    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    if header:
        text = text.partition("\n")[2]
    if not text.strip():
        raise ValueError("no rows")
    lines = text.split("\n")
    empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None:
        raise ValueError(f"line {empty} is empty: a missing value is written as nan")
    try:
        return np.loadtxt(io.StringIO(_GAP.sub(r"\1nan", text)), delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        if not all(map(_is_number, lines[0].split(","))):
            raise ValueError(
                f"the first line, {lines[0][:60]!r}, holds other than numbers. CSV has no header row: leave it out, or "
                "send it as 'text/csv; header=present'"
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
