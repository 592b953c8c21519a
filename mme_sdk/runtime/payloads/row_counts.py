"""Compare the number of rows in a request with the number of results in its response.

A request has a known number of rows if it is a data frame or series, an array of two dimensions, or Triton tensors that
share their first dimension. A response has a known number of results if it is a list, an array, a data frame, CSV, an
object that contains only `predictions`, or an object in pandas' "split" form. Any other response is one result for the
whole request and is not counted.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mme_sdk.errors import RowCountError
from mme_sdk.runtime.payloads.arrow import is_table
from mme_sdk.types.matrix import NPY_MAGIC, array_of, has_header, is_json, media_type, to_utf8

__all__ = ["fit_rows", "rows_of"]

_TRITON = "application/vnd.sagemaker-triton."


def rows_of(data: Any, content_type: str) -> int | None:
    """Return the number of rows of a payload.

    Args:
        data: The payload.
        content_type: Media type of its encoding.

    Returns:
        The number of rows. None if the payload is not a table.
    """
    kind = type(data)
    if kind is bytes or kind is str or kind is list:
        return None
    if kind is dict:
        return _common(data) if content_type.startswith(_TRITON) else None
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(data, numpy.ndarray):
        return len(data) if data.ndim == 2 or (data.ndim == 1 and data.dtype.names) else None
    if pandas is not None and isinstance(data, (pandas.DataFrame, pandas.Series)):
        return len(data)
    return len(data) if is_table(data) else None


def fit_rows(rows: int, decoded: dict[str, Any], body: bytes, content_type: str, model: str) -> None:
    """Raise RowCountError unless a response has one result for each row.

    Args:
        rows: Number of rows in the request.
        decoded: Has the decoded response as `value` if the caller requested a type. Else this function adds it if it
            decodes the response. A CSV with all results in one line, as SageMaker's XGBoost writes it, is transposed.
        body: The raw response.
        content_type: Its media type.
        model: Name of the model, for the error.

    Raises:
        RowCountError: There are more or fewer results than rows.
    """
    kind = media_type(content_type)
    if "value" not in decoded:
        try:
            results = _count_in(body, kind, content_type, decoded, rows)
        except (ValueError, EOFError, RecursionError):
            return  # decoding the reply raises the error
    else:
        value = decoded["value"]
        results = _count(value)
        if kind == "text/csv" and results == 1 and getattr(value, "shape", ()) == (1, rows):
            decoded["value"] = value[0] if hasattr(value, "tolist") else value.T
            return
    if results is None or results == rows:
        return
    hint = "use response_type=bytes if the model does not return one result for each row"
    if kind == "text/csv" and results == rows + 1:
        hint = "if the first line is a header, let the model set the Content-Type 'text/csv; header=present'"
    raise RowCountError(
        f"{model}: the response has {results:,} result{'' if results == 1 else 's'} for {rows:,} rows",
        rows=rows,
        answers=results,
        body=body,
        content_type=content_type,
        hint=hint,
    )


def _count_in(body: bytes, kind: str, content_type: str, decoded: dict[str, Any], rows: int) -> int | None:
    from mme_sdk.runtime.payloads.answer_tables import csv_lines, is_parquet

    if is_json(kind):
        decoded["value"] = json.loads(to_utf8(body, content_type))
    elif body[:6] == NPY_MAGIC:
        decoded["value"] = array_of(body, content_type)
    elif kind == "text/csv":
        lines = csv_lines(body, content_type)
        results = len(lines) - has_header(content_type)
        return rows if results == 1 and len(lines[-1]) == rows else results
    elif is_parquet(body, content_type) and "pyarrow" in sys.modules:
        import io

        from pyarrow import parquet

        return int(parquet.ParquetFile(io.BytesIO(body)).metadata.num_rows)
    return _count(decoded.get("value"))


def _count(value: Any) -> int | None:
    if isinstance(value, (list, tuple)):
        return len(value)
    if isinstance(value, dict):
        from mme_sdk.runtime.payloads.answer_tables import is_split

        # https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html
        inner = value["predictions"] if len(value) == 1 and "predictions" in value else None
        if isinstance(inner, list):
            return len(inner)
        return len(value["data"]) if is_split(value) else _common(value)
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return len(value) if value.ndim else None
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
        return len(value)
    return None


def _common(tensors: dict[Any, Any]) -> int | None:
    """Return the first dimension that all arrays share; None if they share none, or if one is a scalar."""
    shapes = [getattr(tensor, "shape", ()) for tensor in tensors.values()]
    first = {shape[0] for shape in shapes if shape}
    return first.pop() if len(first) == 1 and all(shapes) else None
