"""Data frames of other libraries: polars, pyarrow and any other that exports Arrow streams, by way of pandas.

They are converted with pandas's Arrow types, so that an integer beside a null stays an integer. It needs pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mme_sdk.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_installed", "is_table", "like", "table_class", "to_pandas"]


def _module(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def is_table(data: Any) -> bool:
    """Return whether data is a frame or table of a library other than pandas: one that exports an Arrow stream."""
    kind = type(data)
    return hasattr(kind, "__arrow_c_stream__") and hasattr(kind, "columns") and _module(kind) != "pandas"


def table_class(kind: Any) -> bool:
    """Return whether a `response_type` is a class of such tables that `like` can make."""
    return isinstance(kind, type) and (_module(kind), kind.__name__) in (("pyarrow", "Table"), ("polars", "DataFrame"))


def check_installed() -> None:
    """Raise MissingExtraError unless pandas and pyarrow are installed, which every table of `table_class` needs."""
    from mme_sdk.runtime.payloads.answer_tables import import_pandas

    import_pandas()
    _pyarrow()


def to_pandas(table: Any) -> pd.DataFrame:
    """Convert a table to pandas.

    Args:
        table: A table for which `is_table` is True.

    Returns:
        The frame, with pandas's Arrow types.

    Raises:
        MissingExtraError: pandas or pyarrow is not installed.
        InvalidInputError: The table cannot be converted.
    """
    from mme_sdk.runtime.payloads.answer_tables import import_pandas

    pd, pa = import_pandas(), _pyarrow()
    try:
        found = pa.table(table)
        columns = [_plain(pa, column) for column in found.columns]
        found = pa.Table.from_arrays(columns, names=found.column_names)
        frame: Any = found.to_pandas(types_mapper=pd.ArrowDtype)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise InvalidInputError(
            f"this {type(table).__name__} cannot be converted to pandas: {error}", hint="convert it yourself"
        ) from error
    return frame  # type: ignore[no-any-return, unused-ignore]


def _plain(pa: Any, column: Any) -> Any:
    """Return a column without dictionaries, such as those of categories, and without views."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = pa.large_string() if pa.types.is_string_view(kind.value_type) else kind.value_type
        return pa.chunked_array([pa.array(column.to_pylist(), type=values)])
    return column.cast(pa.large_string()) if pa.types.is_string_view(kind) else column


def like(frame: pd.DataFrame, kind: type) -> Any:
    """Convert a frame to another library's table.

    Args:
        frame: The frame. Its index is left out.
        kind: Class of the table: polars's, or else `pyarrow.Table`.

    Returns:
        The table. Values that Arrow has no common type for, and errors, are text.
    """
    pa = _pyarrow()
    arrays = [_array(pa, frame.iloc[:, place]) for place in range(frame.shape[1])]
    table = pa.Table.from_arrays(arrays, names=[str(name) for name in frame.columns])
    if _module(kind) == "polars":
        import polars  # type: ignore[import-not-found, unused-ignore]

        return polars.from_arrow(table)
    return table


def _array(pa: Any, column: Any) -> Any:
    values = column.tolist() if column.dtype == object else column
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError):
        texts = [None if value is None else str(getattr(value, "message", value)) for value in values]
        return pa.array(texts, type=pa.string())


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        hint = "pip install 'mme-sdk[pandas]'"
        raise MissingExtraError("frames of polars and Arrow need pyarrow", hint=hint) from error
    return pyarrow
