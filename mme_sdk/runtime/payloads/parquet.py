"""Frames to Parquet, which keeps types; columns that it would change are refused by name."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.runtime.payloads.tables import as_frame, label_of, refuse, text_names
from mme_sdk.types.matrix import is_exact

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_to_parquet"]


def frame_to_parquet(data: pd.DataFrame | pd.Series) -> bytes:
    """A frame with its types, without its index.

    Raises:
        InvalidInputError: Parquet has no such type, or would change a value or a name.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow", hint="pip install 'mme-sdk[pandas]'") from error
    frame = as_frame(data)
    text_names(frame, "Parquet")
    if not frame.shape[1]:
        raise InvalidInputError("the frame has no columns", hint="Parquet cannot say how many rows it has")
    for name, series in frame.items():
        _check_parquet(series, label_of(name))
    dense = frame.copy(deep=False)
    for place, dtype in enumerate(frame.dtypes):
        if hasattr(dtype, "fill_value"):  # pandas' Sparse, which pyarrow does not take
            dense.isetitem(place, frame.iloc[:, place].sparse.to_dense())
    out = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pandas(dense, preserve_index=False), out)
    except _arrow_errors(pa) as error:
        for name, series in dense.items():
            try:
                pa.Array.from_pandas(series)
            except _arrow_errors(pa):
                refuse(label_of(name), f"Parquet cannot say it: {error.args[0]}", "convert it, or send JSON")
        raise InvalidInputError(f"Parquet cannot say the frame: {error.args[0]}") from error
    return out.getvalue()


def _arrow_errors(pa: Any) -> tuple[type[Exception], ...]:
    return (pa.ArrowException, ValueError, TypeError, OverflowError)


def _check_parquet(series: pd.Series, label: str) -> None:
    """Refuse columns of objects that Parquet would change without a word."""
    import pandas as pd

    if not pd.api.types.is_object_dtype(series.dtype):
        return
    found, values = pd.api.types.infer_dtype(series, skipna=True), series.dropna().tolist()
    if found == "integer" and len(values) < len(series) and not all(map(is_exact, values)):
        refuse(label, "its integers are read as floats, because some are missing", "series.astype('Int64')")
    exact = {
        "date": lambda: len({type(value) for value in values}) == 1,
        "decimal": lambda: all(value.is_finite() for value in values),
        "mixed": lambda: all(map(_flat, values)),
    }
    plain = ("string", "bytes", "boolean", "integer", "floating", "mixed-integer-float", "empty")
    if found not in plain and not (found in exact and exact[found]()):
        refuse(
            label,
            f"Parquet has no type for these objects ({found})",
            "give the column a dtype (pandas.to_datetime, astype), or send JSON",
        )


def _flat(value: Any) -> bool:
    """Whether a cell is a list of numbers alone or of text alone."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(one, str) for one in value) or all(type(one) in (int, float) for one in value)
