"""Encode data frames as Parquet. Parquet keeps types; a column that it would change is an error that names it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.runtime.payloads.tables import as_frame, label_of, reject, text_names
from mme_sdk.types.matrix import is_exact

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_to_parquet", "import_pyarrow"]


def import_pyarrow(doing: str) -> tuple[Any, Any]:
    """Return the modules `pyarrow` and `pyarrow.parquet`.

    Args:
        doing: What needs them, such as `encoding as Parquet`, for the error.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError(f"{doing} needs pyarrow", hint="pip install 'mme-sdk[pandas]'") from error
    return pa, pq


def frame_to_parquet(data: pd.DataFrame | pd.Series) -> bytes:
    """Encode a data frame as Parquet, without its index.

    Args:
        data: A data frame, or a series, which is one column.

    Returns:
        The Parquet file.

    Raises:
        InvalidInputError: Parquet does not support a type, or would change a value or a name.
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = import_pyarrow("encoding as Parquet")
    frame = as_frame(data)
    text_names(frame, "Parquet")
    if not frame.shape[1]:
        raise InvalidInputError(
            "the data frame has no columns",
            hint="add a column; Parquet does not store a number of rows without columns",
        )
    for name, series in frame.items():
        _check_parquet(series, label_of(name))
    dense = frame.copy(deep=False)
    for place, dtype in enumerate(frame.dtypes):
        if hasattr(dtype, "fill_value"):  # sparse columns of pandas, which pyarrow rejects
            dense.isetitem(place, frame.iloc[:, place].sparse.to_dense())
    out = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pandas(dense, preserve_index=False), out)
    except _arrow_errors(pa) as error:
        for name, series in dense.items():
            try:
                pa.Array.from_pandas(series)
            except _arrow_errors(pa):
                reject(
                    label_of(name), f"Parquet does not support its values: {error.args[0]}", "convert it, or send JSON"
                )
        raise InvalidInputError(
            f"the data frame cannot be encoded as Parquet: {error.args[0]}", hint="convert its columns, or send JSON"
        ) from error
    return out.getvalue()


def _arrow_errors(pa: Any) -> tuple[type[Exception], ...]:
    return (pa.ArrowException, ValueError, TypeError, OverflowError)


def _check_parquet(series: pd.Series, label: str) -> None:
    """Raise InvalidInputError for a column of objects that Parquet would change without an error."""
    import pandas as pd

    if not pd.api.types.is_object_dtype(series.dtype):
        return
    found, values = pd.api.types.infer_dtype(series, skipna=True), series.dropna().tolist()
    if found == "integer" and len(values) < len(series) and not all(map(is_exact, values)):
        reject(
            label, "some integers are missing, so that the others would be read as floats", "use series.astype('Int64')"
        )
    exact = {
        "date": lambda: len({type(value) for value in values}) == 1,
        "decimal": lambda: all(value.is_finite() for value in values),
        "mixed": lambda: all(map(_flat, values)),
    }
    plain = ("string", "bytes", "boolean", "integer", "floating", "mixed-integer-float", "empty")
    if found not in plain and not (found in exact and exact[found]()):
        reject(
            label,
            f"Parquet does not support its objects ({found})",
            "convert the column (pandas.to_datetime, astype), or send JSON",
        )


def _flat(value: Any) -> bool:
    """Return whether a cell is a list that contains only numbers or only text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(one, str) for one in value) or all(type(one) in (int, float) for one in value)
