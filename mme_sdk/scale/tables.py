"""The kinds of tables that a scorer takes, and the types of the columns that it adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import InvalidInputError, UndecodableReplyError
from mme_sdk.runtime.payloads.answer_tables import import_pandas
from mme_sdk.runtime.payloads.arrow import is_table, like, to_pandas

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ERRORS", "TYPES", "arrow_schema", "as_kind", "frame_of", "typed"]

ERRORS = ("error", "error_type")
TYPES = {  # a name, and the types of pandas and of Arrow; those of pandas can hold a missing value
    "float64": ("float64", "float64"),
    "float32": ("float32", "float32"),
    "int64": ("Int64", "int64"),
    "int32": ("Int32", "int32"),
    "bool": ("boolean", "bool_"),
    "string": ("object", "string"),
}


def frame_of(table: Any) -> pd.DataFrame:
    """Return a table as a pandas frame.

    Args:
        table: A pandas frame, an Arrow table or record batch, another table that exports Arrow, or a dict of arrays.

    Raises:
        InvalidInputError: It is none of these, or the arrays differ in length.
    """
    pd = import_pandas()
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, Mapping):
        try:
            return pd.DataFrame({name: _rows(array) for name, array in table.items()})
        except ValueError as error:
            raise InvalidInputError(f"the arrays of the table do not fit together: {error}") from error
    if is_table(table):
        return to_pandas(table)
    raise InvalidInputError(
        f"a scorer takes a frame of pandas, an Arrow table or batch, or a dict of arrays, not a {type(table).__name__}",
        hint="convert it to one of these",
    )


def _rows(array: Any) -> Any:
    return list(array) if getattr(array, "ndim", 1) > 1 else array


def typed(frame: pd.DataFrame, answer: Mapping[str, str], failed: list[bool]) -> pd.DataFrame:
    """Return the columns of the answers with the types of a schema.

    Args:
        frame: The columns of the answers.
        answer: The type of each column.
        failed: For each row, whether it has no answer.

    Raises:
        UndecodableReplyError: An answer does not have a column, or a value is not of its type.
    """
    pd = import_pandas()
    columns = {}
    for name, kind in answer.items():
        target = TYPES[kind][0]
        if name not in frame.columns:
            if not all(failed):
                raise UndecodableReplyError(
                    f"the answers have no column {name!r}, which answer= names; they have "
                    f"{', '.join(repr(str(one)) for one in frame.columns)}",
                    hint="name the columns that the models answer in answer=",
                )
            columns[name] = pd.Series([None] * len(frame), index=frame.index, dtype=target)
            continue
        values = [None if lost else value for value, lost in zip(frame[name].tolist(), failed, strict=True)]
        try:
            columns[name] = pd.Series([_cast(value, kind) for value in values], index=frame.index, dtype=target)
        except (TypeError, ValueError, OverflowError) as error:
            raise UndecodableReplyError(
                f"the answers have a value in the column {name!r} that is not {kind}: {error}",
                hint=f"give the column its type in answer=, such as {{{name!r}: 'string'}}",
            ) from error
    return pd.DataFrame(columns, index=frame.index)


def _cast(value: Any, kind: str) -> Any:
    """Return a value as one of a kind; raise ValueError if it is of another."""
    if value is None or (isinstance(value, float) and value != value and kind != "string"):
        return None if kind not in ("float64", "float32") else float("nan")
    if kind == "string":
        if not isinstance(value, str):
            raise ValueError(f"{value!r:.60}")
        return value
    if isinstance(value, str) or (kind == "bool" and value not in (0, 1)):
        raise ValueError(f"{value!r:.60}")
    if kind == "bool":
        return bool(value)
    if isinstance(value, bool):
        raise ValueError(f"{value!r:.60}")
    if kind in ("int64", "int32") and value != int(value):
        raise ValueError(f"{value!r:.60}")
    return int(value) if kind in ("int64", "int32") else float(value)


def arrow_schema(given: Any, answer: Mapping[str, str]) -> Any:
    """Return an Arrow schema with the columns of the answers and of the errors after the given fields."""
    import pyarrow as pa

    added = [pa.field(name, getattr(pa, TYPES[kind][1])()) for name, kind in answer.items()]
    return pa.schema([*given, *added, *(pa.field(name, pa.string()) for name in ERRORS)])


def as_kind(frame: pd.DataFrame, table: Any, answer: Mapping[str, str] | None) -> Any:
    """Return a frame as a table of the kind of another one.

    Args:
        frame: The columns that are kept of `table`, then those of the answers and of the errors.
        table: The table that was scored.
        answer: The type of each column of the answers. None: they are as the models gave them.
    """
    if isinstance(table, type(frame)):
        return frame
    if isinstance(table, Mapping):
        return {name: _array(frame[name]) for name in frame.columns}
    made = like(frame, type(table))
    if answer is None or not hasattr(table, "schema") or type(table).__module__.partition(".")[0] != "pyarrow":
        return made
    import pyarrow as pa

    names = [name for name in frame.columns if name not in answer and name not in ERRORS]
    made = made.cast(arrow_schema([table.schema.field(name) for name in names], answer))
    if isinstance(table, pa.RecordBatch):
        batches = made.combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=made.schema)
    return made


def _array(column: Any) -> Any:
    if column.dtype.name in ("Int64", "Int32", "boolean") and not column.hasnans:
        return column.to_numpy(dtype=column.dtype.numpy_dtype)
    return column.to_numpy()
