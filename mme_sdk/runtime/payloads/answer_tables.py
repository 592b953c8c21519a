"""Decode responses to tables: CSV, JSON, NPY and Parquet become typed columns. No number is rounded.

Columns have names only if the response contains names.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import MissingExtraError
from mme_sdk.types.matrix import NPY_MAGIC, has_header, is_exact, media_type, to_utf8

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "csv_columns",
    "csv_lines",
    "decode_frame",
    "import_pandas",
    "is_parquet",
    "is_split",
    "series_of",
    "split_columns",
]

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)")
_FLOAT = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?nan|[+-]?inf(inity)?", re.IGNORECASE)
_BOOLEANS = {"True": True, "False": False, "true": True, "false": False}


def import_pandas() -> Any:
    """Return the module `pandas`.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("data frames need pandas", hint="pip install 'mme-sdk[pandas]'") from error
    return pd


def is_parquet(body: bytes, content_type: str) -> bool:
    """Return whether a response is Parquet."""
    return body[:4] == b"PAR1" or media_type(content_type) == "application/x-parquet"


def decode_frame(body: bytes, content_type: str) -> pd.DataFrame:
    """Decode a response to a data frame.

    Args:
        body: The raw response.
        content_type: Its media type with parameters.

    Returns:
        The data frame. Columns without names are numbered from 0.

    Raises:
        ValueError: The response is not a table.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    pd = import_pandas()
    if is_parquet(body, content_type):
        try:
            return pd.read_parquet(io.BytesIO(body))
        except ImportError as error:
            raise MissingExtraError("decoding Parquet needs pyarrow", hint="pip install 'mme-sdk[pandas]'") from error
        except (OSError, NotImplementedError) as error:
            raise ValueError(str(error)) from error
    if body[:6] == NPY_MAGIC:
        import numpy as np

        array = np.load(io.BytesIO(body), allow_pickle=False)
        if array.ndim not in (1, 2):
            raise ValueError(f"an array of {array.ndim} dimensions is not a table")
        return pd.DataFrame(array.astype(array.dtype.newbyteorder("=")))
    labels: list[Any] | None = None
    if media_type(content_type) == "text/csv":
        columns = csv_columns(body, content_type)
    else:
        value = json.loads(to_utf8(body, content_type))
        if isinstance(value, dict) and value and all(isinstance(inner, dict) for inner in value.values()):
            return _by_label(value)
        if is_split(value):
            columns, labels = split_columns(value), value.get("index")
        else:
            columns = _json_columns(value)
    frame = pd.DataFrame({place: series_of(values) for place, (_, values) in enumerate(columns)})
    names = [name for name, _ in columns]
    if None not in names:
        frame.columns = names
    if labels is not None:
        frame.index = labels
    return frame


def is_split(value: Any) -> bool:
    """Return whether a JSON value has the form of `DataFrame.to_json(orient="split")`."""
    if not isinstance(value, dict) or value.keys() - {"index"} != {"columns", "data"}:
        return False
    return all(isinstance(member, list) for member in value.values())


def split_columns(value: dict[str, list[Any]]) -> list[tuple[str | None, list[Any]]]:
    """Return the columns of a value in pandas' "split" form, as pairs of a name and values.

    Raises:
        ValueError: The numbers of names, values and labels differ.
    """
    names, rows, labels = value["columns"], value["data"], value.get("index")
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise ValueError(f"a row does not have {len(names)} values, one for each column")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"it has {len(rows)} rows but {len(labels)} row labels")
    return [(str(name), [row[place] for row in rows]) for place, name in enumerate(names)]


def _by_label(value: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Decode the form of `DataFrame.to_json()`: an object of columns, each an object of values by row label."""
    pd = import_pandas()
    labels = list(next(iter(value.values())))
    if any(list(inner) != labels for inner in value.values()):
        raise ValueError("its columns do not have the same row labels")
    frame = pd.DataFrame({name: series_of(list(inner.values())) for name, inner in value.items()})
    if labels != [str(place) for place in range(len(labels))]:
        frame.index = labels
    return frame


def series_of(values: Sequence[Any]) -> pd.Series:
    """Return a column of Python values. Integers that a float cannot hold stay integers beside missing values."""
    pd = import_pandas()
    rounded = any(value is None or isinstance(value, float) for value in values) and any(
        isinstance(value, int) and not is_exact(value) for value in values
    )
    return pd.Series(list(values), dtype=object if rounded or not values else None)


def csv_lines(body: bytes, content_type: str) -> list[list[str]]:
    """Return the fields of each line of a CSV, without empty lines at its end.

    Raises:
        ValueError: The body is not CSV, or not in the charset of its content type (UTF-8 if it names none).
    """
    try:
        lines = list(csv.reader(io.StringIO(to_utf8(body, content_type).decode("utf-8-sig"), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    while lines and not lines[-1]:
        lines.pop()
    return lines


def csv_columns(body: bytes, content_type: str) -> list[tuple[str | None, list[Any]]]:
    """Return the columns of a CSV, as pairs of a name and values.

    A name is None unless the content type declares a header row.

    Raises:
        ValueError: The lines have different numbers of fields.
    """
    lines = csv_lines(body, content_type)
    names = lines.pop(0) if lines and has_header(content_type) else None
    width = max(map(len, lines), default=0) if names is None else len(names)
    if width == 1:
        lines = [line or [""] for line in lines]
    ragged = next((number for number, line in enumerate(lines, 1) if len(line) != width), None)
    if ragged is not None:
        raise ValueError(f"row {ragged} has {len(lines[ragged - 1])} fields, the others have {width}")
    columns = [_typed([line[place] for line in lines]) for place in range(width)]
    return list(zip([None] * width if names is None else names, columns, strict=True))


def _typed(fields: list[str]) -> list[Any]:
    """Convert fields to numbers or booleans if every non-empty field is one; else to text. An empty field is None."""
    filled = [field for field in fields if field]
    if all(map(_INTEGER.fullmatch, filled)):
        return [int(field) if field else None for field in fields]
    if all(map(_FLOAT.fullmatch, filled)):
        if all(not _INTEGER.fullmatch(field) or is_exact(int(field)) for field in filled):
            return [float(field) if field else None for field in fields]
        return [None if not field else int(field) if _INTEGER.fullmatch(field) else float(field) for field in fields]
    if all(field in _BOOLEANS for field in filled):
        return [_BOOLEANS[field] if field else None for field in fields]
    return [field or None for field in fields]


def _json_columns(value: Any) -> list[tuple[str | None, list[Any]]]:
    if isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list) and inner and isinstance(inner[0], (dict, list)):
            value = inner  # such as {"predictions": [...]}
    if isinstance(value, dict):
        lengths = {len(member) for member in value.values() if isinstance(member, list)}
        if len(lengths) != 1 or any(isinstance(member, dict) for member in value.values()):
            raise ValueError("an object is a table only if its lists have one length and no member is an object")
        (length,) = lengths
        return [(name, member if isinstance(member, list) else [member] * length) for name, member in value.items()]
    if not isinstance(value, list):
        raise ValueError("it is not a list of rows")
    kinds = {"object" if isinstance(row, dict) else "list" if isinstance(row, list) else "value" for row in value}
    if len(kinds) > 1:
        raise ValueError(f"its rows have different types: {', '.join(sorted(kinds))}")
    if kinds == {"object"}:
        names = dict.fromkeys(name for row in value for name in row)
        return [(name, [row.get(name) for row in value]) for name in names]
    if kinds == {"list"}:
        if len(set(map(len, value))) > 1:
            raise ValueError("its rows have different lengths")
        return [(None, list(column)) for column in _transposed(value)]
    return [(None, value)] if value else []


def _transposed(rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))
