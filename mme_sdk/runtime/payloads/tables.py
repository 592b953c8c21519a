"""Encode data frames and arrays. The model receives equal values, or an error names the column that cannot be encoded.

CSV has no header row and no types. It holds numbers, and text that no reader mistakes for a number or a missing value.
JSON holds the values that JSON supports. NPY holds one matrix of numbers.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.payloads.npy import array_to_npy, without_mask
from mme_sdk.types.matrix import EXACT

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

__all__ = [
    "array_to_csv",
    "array_to_json",
    "as_frame",
    "frame_to_csv",
    "frame_to_json",
    "frame_to_npy",
    "label_of",
    "reject",
    "text_names",
]

# Text that pandas and numpy read as a number, a boolean or a missing value.
_AMBIGUOUS_TEXT = re.compile(
    r"\s*([+-]?(\d[\d_]*\.?[\d_]*|\.\d+)([eE][+-]?\d+)?[jJ]?|[+-]?inf(inity)?|true|false|[+-]?nan|null|none|n/?a|<na>|"
    r"#n/?a( n/a)?|[+-]?1\.#(ind|qnan))?\s*",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'[,"\r\n]|^\s|\s$')
_NUMBERS = frozenset({"bool", "int", "float"})


@attrs.frozen(eq=False)
class _Column:
    """One column as Python values.

    Attributes:
        label: Its name in error messages.
        kind: `bool`, `int`, `float`, `text`, or the name of another type.
        values: Its values. None stands for a missing value.
        gaps: Whether a value is missing.
    """

    label: str
    kind: str
    values: list[Any]
    gaps: bool = False


def frame_to_csv(data: pd.DataFrame | pd.Series, *, header: bool) -> bytes:
    """Encode a data frame as CSV.

    Args:
        data: A data frame, or a series, which is one column.
        header: Whether the first line has the names of the columns.

    Returns:
        The CSV in UTF-8, one line for each row.

    Raises:
        InvalidInputError: A column cannot be encoded exactly, or the frame is empty.
    """
    frame = as_frame(data)
    _check_size(frame, "CSV")
    names = text_names(frame, "a CSV header") if header else None
    matrix = _matrix(frame)
    if matrix is not None:
        return _lines([",".join(map(repr, row)) for row in matrix.tolist()], names)
    return _csv([_column(series, label_of(name)) for name, series in frame.items()], names)


def _matrix(frame: pd.DataFrame) -> npt.NDArray[Any] | None:
    """Return a frame as one matrix; None unless one 64-bit type holds all of its values exactly."""
    import numpy as np

    if not all(map(_is_number, frame.dtypes)):
        return None
    kinds = {dtype.kind for dtype in frame.dtypes}
    matrix: npt.NDArray[Any] = frame.to_numpy(dtype=float)
    if kinds & {"i", "u"}:
        whole = matrix[:, [dtype.kind in "iu" for dtype in frame.dtypes]]
        if not (np.abs(whole) < EXACT).all():
            return None
    return matrix if "f" in kinds else matrix.astype("int64")


def frame_to_json(data: pd.DataFrame | pd.Series) -> bytes:
    """Encode a data frame as JSON.

    Args:
        data: A data frame or a series.

    Returns:
        A JSON list of rows. A row is an object by column name, or a list if the columns have no names. A series is a
        list of its values.

    Raises:
        InvalidInputError: A column cannot be encoded exactly, or the frame is empty.
    """
    frame = as_frame(data)
    _check_size(frame, "JSON")
    names = None if data.ndim == 1 or _unnamed(frame) else text_names(frame, "JSON")
    rows = _json_matrix(frame)
    if rows is None:
        columns = [_column(series, label_of(name)) for name, series in frame.items()]
        # A reader converts rows that are lists to one array of one type, and rows that are objects to typed columns.
        together = names is None and not all(map(_fits_int64, columns))
        parts = [_json_values(column, together or column.kind == "float" or column.gaps) for column in columns]
        rows = zip(*parts, strict=True)
    if data.ndim == 1:
        rows = (value for (value,) in rows)
    elif names is not None:
        rows = (dict(zip(names, row, strict=True)) for row in rows)
    return json.dumps(list(rows), separators=(",", ":"), allow_nan=False).encode()


def _json_matrix(frame: pd.DataFrame) -> Iterable[Any] | None:
    """Return the rows of a frame that contains only finite floats or only integers; None for any other frame."""
    import numpy as np

    kinds = {getattr(dtype, "kind", "O") for dtype in frame.dtypes}
    if kinds != {"f"} and not kinds <= {"i", "u"}:
        return None
    matrix = _matrix(frame)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    rows: list[Any] = matrix.tolist()
    return rows


def frame_to_npy(data: pd.DataFrame | pd.Series) -> bytes:
    """Encode a data frame of numbers as one NPY matrix, and a series as one NPY vector.

    Args:
        data: A data frame or a series.

    Returns:
        The NPY file.

    Raises:
        InvalidInputError: A column holds other values, or the matrix cannot hold a column exactly.
    """
    import numpy as np

    frame = as_frame(data)
    columns = [_column(series, label_of(name)) for name, series in frame.items()]
    for column in columns:
        if column.kind not in _NUMBERS:
            reject(column.label, f"it holds {column.kind}, but NPY holds one matrix of numbers", "send Parquet")
    kinds = {column.kind for column in columns}
    if "float" in kinds or any(column.gaps for column in columns):
        lists = [[math.nan if value is None else value for value in _floats(column, "NPY")] for column in columns]
        matrix: npt.NDArray[Any] = np.array(lists, dtype=float)
    else:
        matrix = np.array([column.values for column in columns], dtype=bool if kinds == {"bool"} else None)
        if matrix.dtype.kind not in "biu" and matrix.size:
            wide = next(column for column in columns if not _fits_int64(column))
            reject(wide.label, "no 64-bit type holds its integers and those of the other columns", "send Parquet")
    matrix = matrix.reshape(frame.shape[1], len(frame)).T
    return array_to_npy(matrix[:, 0] if data.ndim == 1 else matrix)


def array_to_csv(array: npt.NDArray[Any]) -> bytes:
    """Encode an array of two dimensions as CSV, one line for each row.

    Raises:
        InvalidInputError: The array is not a table, or a column cannot be encoded exactly.
    """
    array = without_mask(array)
    if array.ndim != 2 or array.dtype.names:
        raise InvalidInputError(
            f"CSV holds a table, but the array has {array.ndim} dimension{'' if array.ndim == 1 else 's'}"
            f"{' of records' if array.dtype.names else ''}",
            hint="use array.reshape(1, -1) for one row or array.reshape(-1, 1) for one column, or send NPY",
        )
    if not array.size:
        raise InvalidInputError("the array is empty, and CSV does not store its shape", hint="send NPY")
    kind = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "text"}.get(array.dtype.kind)
    if kind is None or (kind == "float" and array.dtype.itemsize > 8):
        raise InvalidInputError(f"CSV does not support an array of {array.dtype}", hint="send NPY")
    columns = zip(*array.tolist(), strict=True)
    return _csv([_Column(f"column {place}", kind, list(one)) for place, one in enumerate(columns)], None)


def array_to_json(array: npt.NDArray[Any]) -> Any:
    """Return an array as nested lists for JSON.

    Raises:
        TypeError: JSON does not support its dtype.
        ValueError: It contains NaN or infinity.
    """
    import numpy as np

    array = without_mask(np.asanyarray(array))
    if array.dtype.kind not in "biufUO" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise TypeError(f"JSON does not support an array of {array.dtype}; send NPY, or convert it")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("JSON does not support NaN and infinity; send NPY or CSV")
    return array.tolist()


def reject(label: str, why: str, hint: str) -> NoReturn:
    """Raise InvalidInputError for a column."""
    raise InvalidInputError(f"{label}: {why}", hint=hint)


def as_frame(data: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """Return a data frame unchanged, and a series as a data frame of one column."""
    return cast("pd.DataFrame", data.to_frame() if data.ndim == 1 else data)


def label_of(name: Any) -> str:
    """Return the name of a column for error messages."""
    return f"column {name!r}"


def _check_size(frame: pd.DataFrame, form: str) -> None:
    missing = "rows" if not len(frame) else "columns" if not frame.shape[1] else ""
    if missing:
        message = f"the data frame has no {missing}, and {form} does not store its shape"
        raise InvalidInputError(message, hint="skip this call, or send NPY")


def _unnamed(frame: pd.DataFrame) -> bool:
    """Return whether the columns are numbered from 0, as pandas does without names."""
    return bool(frame.columns.nlevels == 1) and frame.columns.tolist() == list(range(frame.shape[1]))


def text_names(frame: pd.DataFrame, form: str) -> list[str]:
    """Return the names of the columns.

    Raises:
        InvalidInputError: A name is not text, or two columns have the same name.
    """
    names: list[str] = frame.columns.tolist()
    for name in names:
        if not isinstance(name, str):
            reject(
                label_of(name),
                f"{form} requires names of type str, not {type(name).__name__}",
                "set frame.columns = [str(name) for name in frame.columns], or send CSV, which has no names",
            )
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        reject(label_of(twice), f"{form} needs different names of columns", "rename one, or send CSV without names")
    return names


def _column(series: pd.Series, label: str) -> _Column:
    import pandas as pd

    types = pd.api.types
    if _is_number(series.dtype):
        return _numbers(series.to_numpy(), label)
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    elif isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    dtype = series.dtype
    convert: Callable[[Any], Any] | None
    if types.is_bool_dtype(dtype):
        kind, convert = "bool", bool
    elif types.is_integer_dtype(dtype):
        kind, convert = "int", int
    elif types.is_float_dtype(dtype) and getattr(dtype, "itemsize", 8) <= 8:
        kind, convert = "float", float
    elif not types.is_object_dtype(dtype) and not types.is_string_dtype(dtype):
        kind, convert = str(dtype), None
    else:
        series = series.astype(object)
        found = types.infer_dtype(series, skipna=True)
        kind, convert = _OBJECTS.get(found, (found, None))
    missing = series.isna()
    if kind == "text":
        _check_text("".join(series[~missing]), label)
    if not missing.any():
        return _Column(label, kind, series.tolist() if convert is None else [convert(one) for one in series.tolist()])
    pairs = zip(series.tolist(), missing.tolist(), strict=True)
    values = [None if gap else value if convert is None else convert(value) for value, gap in pairs]
    return _Column(label, kind, values, gaps=True)


def _is_number(dtype: Any) -> bool:
    """Return whether a dtype is a number of numpy with at most 64 bits."""
    import numpy as np

    return isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 8


def _numbers(array: npt.NDArray[Any], label: str) -> _Column:
    import numpy as np

    kind = {"b": "bool", "f": "float"}.get(array.dtype.kind, "int")
    missing = np.isnan(array) if kind == "float" else None
    if missing is None or not missing.any():
        return _Column(label, kind, array.tolist())
    pairs = zip(array.tolist(), missing.tolist(), strict=True)
    return _Column(label, kind, [None if gap else value for value, gap in pairs], gaps=True)


def _check_text(text: str, label: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        wrong = text[error.start : error.end]
        reject(label, f"UTF-8 cannot encode its text {wrong!r}", "use text.encode('utf-8', 'surrogateescape')")


def _number(value: Any) -> int | float:
    return int(value) if isinstance(value, numbers.Integral) else float(value)


_OBJECTS: dict[str, tuple[str, Callable[[Any], Any] | None]] = {
    "string": ("text", str),
    "boolean": ("bool", bool),
    "integer": ("int", int),
    "floating": ("float", float),
    "mixed-integer-float": ("float", _number),
    "empty": ("float", None),
}  # by the result of pandas.api.types.infer_dtype


def _floats(column: _Column, form: str) -> Iterable[float | None]:
    for value in column.values:
        if isinstance(value, int) and not -EXACT <= value <= EXACT:
            reject(
                column.label,
                f"readers of {form} use floats, and {value} has more digits than a float",
                "send Parquet, or convert the column to text",
            )
        yield None if value is None else float(value)


def _csv(columns: list[_Column], names: list[str] | None) -> bytes:
    numeric = all(column.kind in _NUMBERS for column in columns)
    # numpy.genfromtxt returns records, not a matrix, for integers beside floats. Write all numbers in one form.
    floats = numeric and any(column.kind == "float" or column.gaps for column in columns)
    fields = []
    for column in columns:
        if column.kind == "text":
            fields.append([_text(value, column.label) for value in column.values])
        elif column.kind in _NUMBERS:
            values = list(_floats(column, "CSV"))
            if floats or column.kind == "float" or column.gaps:
                fields.append(["nan" if value is None else repr(value) for value in values])
            else:
                fields.append([str(int(value)) for value in values if value is not None])
        else:
            reject(
                column.label, f"CSV does not support {column.kind}", "convert it to numbers or text, or send Parquet"
            )
    return _lines([",".join(line) or '""' for line in zip(*fields, strict=True)], names)


def _lines(lines: list[str], names: list[str] | None) -> bytes:
    if names is not None:
        lines.insert(0, ",".join(map(_quoted, names)))
    return ("\n".join(lines) + "\n").encode()


def _text(value: str | None, label: str) -> str:
    if value is None:
        return ""
    if _AMBIGUOUS_TEXT.fullmatch(value):
        reject(label, f"readers of CSV take the text {value!r} for a number or a missing value", "send JSON")
    if "\0" in value or value.startswith("\ufeff"):
        reject(label, f"CSV does not support the text {value!r}", "send JSON")
    return _quoted(value)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if not value or _QUOTED.search(value) else value


def _json_values(column: _Column, rounded: bool) -> list[Any]:
    if column.kind == "text":
        return column.values
    if column.kind in _NUMBERS:
        if rounded and any(type(value) is int for value in column.values):
            list(_floats(column, "JSON"))  # raises an error for an integer that the reader would round
        if math.inf in column.values or -math.inf in column.values:
            reject(column.label, "JSON does not support infinity", "send CSV, NPY or Parquet")
        return column.values
    if column.kind not in ("mixed", "mixed-integer"):
        reject(column.label, f"JSON does not support {column.kind}", "convert it to numbers or text, or send Parquet")
    return [_json_value(value, column.label) for value in column.values]


def _fits_int64(column: _Column) -> bool:
    return column.kind in ("bool", "int") and not column.gaps and all(-(2**63) <= one < 2**63 for one in column.values)


def _json_value(value: Any, label: str) -> Any:
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        try:
            return _json_value(array_to_json(value), label)
        except (TypeError, ValueError) as error:
            reject(label, str(error), "convert it, or send Parquet")
    if isinstance(value, str):
        _check_text(value, label)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_json_value(inner, label) for inner in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _json_value(inner, label) for name, inner in value.items()}
    shown = value if isinstance(value, float) else f"a {type(value).__name__}"
    reject(label, f"it contains {shown}, which JSON does not support", "convert it to numbers or text, or send Parquet")
