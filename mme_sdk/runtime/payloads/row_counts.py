"""Rows that are sent and answers that come back: counted wherever both are known.

Rows are known of what is a table by its type: a pandas frame or series, an array of two dimensions, and Triton tensors
that share their first dimension. Answers are known of a list, an array, a frame, CSV, and an object that holds only
`predictions` or is pandas' split form. Other objects, a number, text and bytes are answers to the request as a whole,
so they are not counted.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from mme_sdk.errors import RowCountError
from mme_sdk.runtime.payloads.answer_tables import csv_lines, is_parquet, is_split
from mme_sdk.types.matrix import NPY_MAGIC, array_of, has_header, in_utf8, media_type

__all__ = ["fit_rows", "rows_of"]

_TRITON = "application/vnd.sagemaker-triton."


def rows_of(data: Any, content_type: str) -> int | None:
    """Rows of a payload.

    Args:
        data: What the caller gave.
        content_type: How it is sent.

    Returns:
        How many; None where it is not a table.
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
    return None


def fit_rows(rows: int, decoded: dict[str, Any], body: bytes, content_type: str, model: str) -> None:
    """Count the answers of a reply.

    Args:
        rows: Rows that were sent.
        decoded: `value` is the decoded answer where the caller asked for a type; else it is put in where counting
            decodes it. A CSV that has all answers in one line, as SageMaker's XGBoost writes them, is turned.
        body: The raw answer.
        content_type: Its media type.
        model: What answered, for messages.

    Raises:
        RowCountError: There are more answers, or fewer.
    """
    kind = media_type(content_type)
    if "value" not in decoded:
        try:
            answers = _answers_in(body, kind, content_type, decoded, rows)
        except (ValueError, EOFError, RecursionError):
            return  # reading the reply says so
    else:
        value = decoded["value"]
        answers = _answers(value)
        if kind == "text/csv" and answers == 1 and getattr(value, "shape", ()) == (1, rows):
            decoded["value"] = value[0] if hasattr(value, "tolist") else value.T
            return
    if answers is None or answers == rows:
        return
    hint = "response_type=bytes gives the answer as it came, where it is not one for each row"
    if kind == "text/csv" and answers == rows + 1:
        hint = "if its first line is a header, the model must say so: Content-Type 'text/csv; header=present'"
    raise RowCountError(
        f"{model} answered {rows:,} rows with {answers:,}",
        rows=rows,
        answers=answers,
        body=body,
        content_type=content_type,
        hint=hint,
    )


def _answers_in(body: bytes, kind: str, content_type: str, decoded: dict[str, Any], rows: int) -> int | None:
    if kind == "application/json" or kind.endswith("+json"):
        decoded["value"] = json.loads(in_utf8(body, content_type))
    elif body[:6] == NPY_MAGIC:
        decoded["value"] = array_of(body, content_type)
    elif kind == "text/csv":
        lines = csv_lines(body, content_type)
        answers = len(lines) - has_header(content_type)
        return rows if answers == 1 and len(lines[-1]) == rows else answers
    elif is_parquet(body, content_type) and "pyarrow" in sys.modules:
        from pyarrow import parquet

        return int(parquet.ParquetFile(io.BytesIO(body)).metadata.num_rows)
    return _answers(decoded.get("value"))


def _answers(value: Any) -> int | None:
    if isinstance(value, (list, tuple)):
        return len(value)
    if isinstance(value, dict):
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
    """The first dimension that all arrays of an object share; None where they share none, or one has none."""
    shapes = [getattr(tensor, "shape", ()) for tensor in tensors.values()]
    first = {shape[0] for shape in shapes if shape}
    return first.pop() if len(first) == 1 and all(shapes) else None
