"""Answers as tables: CSV, JSON, NPY and Parquet to typed columns, without a guess at names and without rounding."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import MissingExtraError
from mme_sdk.types.matrix import NPY_MAGIC, has_header, in_utf8, is_exact, media_type

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
_TRUTH = {"True": True, "False": False, "true": True, "false": False}


def import_pandas() -> Any:
    """The module pandas.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("data frames need pandas", hint="pip install 'mme-sdk[pandas]'") from error
    return pd


def is_parquet(body: bytes, content_type: str) -> bool:
    """Whether an answer is Parquet."""
    return body[:4] == b"PAR1" or media_type(content_type) == "application/x-parquet"


def decode_frame(body: bytes, content_type: str) -> pd.DataFrame:
    """An answer as a data frame; columns without names are numbered from 0.

    Raises:
        ValueError: It is not a table.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    pd = import_pandas()
    if is_parquet(body, content_type):
        try:
            return pd.read_parquet(io.BytesIO(body))
        except ImportError as error:
            raise MissingExtraError("Parquet needs pyarrow", hint="pip install 'mme-sdk[pandas]'") from error
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
        value = json.loads(in_utf8(body, content_type))
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
    """Whether a JSON value is what `DataFrame.to_json(orient="split")` writes: names, rows, and labels of the rows."""
    if not isinstance(value, dict) or value.keys() - {"index"} != {"columns", "data"}:
        return False
    return all(isinstance(member, list) for member in value.values())


def split_columns(value: dict[str, list[Any]]) -> list[tuple[str | None, list[Any]]]:
    """Columns of a value that `is_split`.

    Raises:
        ValueError: Names, rows and labels do not fit together.
    """
    names, rows, labels = value["columns"], value["data"], value.get("index")
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise ValueError(f"its rows have not {len(names)} values, one for each of its columns")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"it has {len(rows)} rows and {len(labels)} labels of rows")
    return [(str(name), [row[place] for row in rows]) for place, name in enumerate(names)]


def _by_label(value: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A frame of `DataFrame.to_json()`: columns, and in each the rows by their label."""
    pd = import_pandas()
    labels = list(next(iter(value.values())))
    if any(list(inner) != labels for inner in value.values()):
        raise ValueError("its columns have not the same rows")
    frame = pd.DataFrame({name: series_of(list(inner.values())) for name, inner in value.items()})
    if labels != [str(place) for place in range(len(labels))]:
        frame.index = labels
    return frame


def series_of(values: Sequence[Any]) -> pd.Series:
    """A column of Python values; integers that floats would round stay integers beside missing ones."""
    pd = import_pandas()
    rounded = any(value is None or isinstance(value, float) for value in values) and any(
        isinstance(value, int) and not is_exact(value) for value in values
    )
    return pd.Series(list(values), dtype=object if rounded or not values else None)


def csv_lines(body: bytes, content_type: str) -> list[list[str]]:
    """Fields of each line of a CSV; empty lines at the end are left out.

    Raises:
        ValueError: It is not CSV in UTF-8, or in the charset that its content type names.
    """
    try:
        lines = list(csv.reader(io.StringIO(in_utf8(body, content_type).decode("utf-8-sig"), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    while lines and not lines[-1]:
        lines.pop()
    return lines


def csv_columns(body: bytes, content_type: str) -> list[tuple[str | None, list[Any]]]:
    """Columns of a CSV; with names only where its content type says that it has a header row.

    Raises:
        ValueError: The lines are not of one length.
    """
    lines = csv_lines(body, content_type)
    names = lines.pop(0) if lines and has_header(content_type) else None
    width = max(map(len, lines), default=0) if names is None else len(names)
    if width == 1:
        lines = [line or [""] for line in lines]
    ragged = next((number for number, line in enumerate(lines, 1) if len(line) != width), None)
    if ragged is not None:
        raise ValueError(f"row {ragged} has {len(lines[ragged - 1])} fields, others have {width}")
    columns = [_typed([line[place] for line in lines]) for place in range(width)]
    return list(zip([None] * width if names is None else names, columns, strict=True))


def _typed(fields: list[str]) -> list[Any]:
    """Numbers or truth values where each field is one or empty; else text. An empty field is None."""
    said = [field for field in fields if field]
    if all(map(_INTEGER.fullmatch, said)):
        return [int(field) if field else None for field in fields]
    if all(map(_FLOAT.fullmatch, said)):
        if all(not _INTEGER.fullmatch(field) or is_exact(int(field)) for field in said):
            return [float(field) if field else None for field in fields]
        return [None if not field else int(field) if _INTEGER.fullmatch(field) else float(field) for field in fields]
    if all(field in _TRUTH for field in said):
        return [_TRUTH[field] if field else None for field in fields]
    return [field or None for field in fields]


def _json_columns(value: Any) -> list[tuple[str | None, list[Any]]]:
    if isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list) and inner and isinstance(inner[0], (dict, list)):
            value = inner  # {"predictions": [...]} and its like
    if isinstance(value, dict):
        lengths = {len(member) for member in value.values() if isinstance(member, list)}
        if len(lengths) != 1 or any(isinstance(member, dict) for member in value.values()):
            raise ValueError("an object is a table where members are lists of one length, and others hold for each row")
        (length,) = lengths
        return [(name, member if isinstance(member, list) else [member] * length) for name, member in value.items()]
    if not isinstance(value, list):
        raise ValueError("it is not a list of rows")
    kinds = {"object" if isinstance(row, dict) else "list" if isinstance(row, list) else "value" for row in value}
    if len(kinds) > 1:
        raise ValueError(f"its rows are not of one kind: {', '.join(sorted(kinds))}")
    if kinds == {"object"}:
        names = dict.fromkeys(name for row in value for name in row)
        return [(name, [row.get(name) for row in value]) for name in names]
    if kinds == {"list"}:
        if len(set(map(len, value))) > 1:
            raise ValueError("its rows are not of one length")
        return [(None, list(column)) for column in _transposed(value)]
    return [(None, value)] if value else []


def _transposed(rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))
