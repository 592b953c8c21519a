"""One request for several items of a batch: payloads with rows are joined, and the answer is divided again."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import attrs

from mme_sdk.errors import UndecodableReplyError
from mme_sdk.runtime.batch.frames import row_count_error
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.runtime.payloads.answer_tables import csv_lines
from mme_sdk.runtime.payloads.codecs import CSV, Codecs
from mme_sdk.types.matrix import NPY_MAGIC, array_of, has_header, is_json, media_type, to_utf8
from mme_sdk.types.reply import NOT_DECODED, Reply, reply_of

__all__ = ["Merged", "divide", "merge"]


@attrs.frozen
class Merged:
    """Items that one request carries.

    Attributes:
        data: The payload of the request.
        places: Positions of the items among those that were given.
        rows: Number of rows of each item.
    """

    data: Any
    places: tuple[int, ...]
    rows: tuple[int, ...]


def merge(payloads: Sequence[Any], content_type: str | None, most: int) -> list[Merged]:
    """Join payloads with rows, as far as they fit together; each other one is a request of its own.

    Payloads with rows are pandas frames, numpy arrays of two dimensions, and text or bytes of `text/csv` without a
    header row.

    Args:
        payloads: The payloads.
        content_type: Media type of the requests. None: by the payload.
        most: Largest number of rows in one request.

    Returns:
        The requests.
    """
    merged: list[Merged] = []
    places: list[int] = []
    rows: list[int] = []
    kind: Any = None

    def finish() -> None:
        if places:
            one = payloads[places[0]] if len(places) == 1 else _joined([payloads[place] for place in places])
            merged.append(Merged(one, tuple(places), tuple(rows)))
            places.clear()
            rows.clear()

    for place, payload in enumerate(payloads):
        own, count = _kind(payload, content_type)
        if own is None or own != kind or sum(rows) + count > most:
            finish()
        kind = own
        places.append(place)
        rows.append(count)
        if own is None:
            finish()
    finish()
    return merged


def _kind(payload: Any, content_type: str | None) -> tuple[Any, int]:
    """Return what payloads must have in common to be joined, or None, and the number of rows."""
    media = None if content_type is None else media_type(content_type)
    if isinstance(payload, (str, bytes)):
        if media != CSV or has_header(content_type or ""):
            return None, 1
        body = payload.encode() if isinstance(payload, str) else payload
        try:
            count = len(csv_lines(body, CSV if isinstance(payload, str) else content_type or CSV))
        except ValueError:
            return None, 1
        return (type(payload).__name__ if count else None), count or 1
    name, module = type(payload).__name__, type(payload).__module__.partition(".")[0]
    if module == "numpy" and name == "ndarray" and payload.ndim == 2 and len(payload):
        return ("array", payload.dtype.str, payload.shape[1]), len(payload)
    if module == "pandas" and name == "DataFrame" and len(payload) and payload.columns.is_unique:
        return ("frame", tuple(payload.columns), tuple(map(str, payload.dtypes))), len(payload)
    return None, 1


def _joined(payloads: list[Any]) -> Any:
    first = payloads[0]
    if isinstance(first, str):
        return "".join(one.rstrip("\r\n") + "\n" for one in payloads)
    if isinstance(first, bytes):
        return b"".join(one.rstrip(b"\r\n") + b"\n" for one in payloads)
    if type(first).__name__ == "ndarray":
        import numpy as np

        return np.concatenate(payloads)
    import pandas as pd

    return pd.concat(payloads, ignore_index=True)


def divide(reply: Reply[bytes], rows: Sequence[int], codecs: Codecs, options: InvokeOptions) -> list[Reply[Any]]:
    """Return the reply of each item. Its body is the item's part of the answer, in the same format.

    Args:
        reply: The answer to the request.
        rows: Number of rows of each item.
        codecs: Decodes the bodies.
        options: Options of the calls; they have the response type.

    Raises:
        RowCountError: The answer has another number of results than the request has rows.
        UndecodableReplyError: The answer cannot be divided, or a part not be decoded.
    """
    bodies = _bodies(reply, rows)
    replies = []
    for body in bodies:
        value: Any = NOT_DECODED
        if options.response_type is not None or codecs.has(reply.content_type):
            value = codecs.decode(body, reply.content_type, options.response_type)
        replies.append(reply_of({**vars(reply), "body": body, "_value": value}))
    return replies


def _bodies(reply: Reply[bytes], rows: Sequence[int]) -> list[bytes]:
    kind, body, total = media_type(reply.content_type), reply.body, sum(rows)
    ends = [sum(rows[: place + 1]) for place in range(len(rows))]
    parts = list(zip([0, *ends], ends, strict=False))
    try:
        if is_json(kind):
            value = json.loads(to_utf8(body, reply.content_type))
            named = isinstance(value, dict) and list(value) == ["predictions"]
            results = value["predictions"] if named else value
            if isinstance(results, list):
                _check(reply, total, len(results))
                cut = [results[start:end] for start, end in parts]
                return [json.dumps({"predictions": one} if named else one).encode() for one in cut]
        elif body[:6] == NPY_MAGIC:
            array = array_of(body, reply.content_type)
            if array.ndim:
                _check(reply, total, len(array))
                return [_npy(array[start:end]) for start, end in parts]
        elif kind == CSV:
            text = to_utf8(body, reply.content_type)
            lines = text.splitlines(keepends=True)
            head = lines.pop(0) if lines and has_header(reply.content_type) else b""
            values = lines[0].strip().split(b",") if len(lines) == 1 else []
            if len(values) == total > 1:  # all results in one line, as XGBoost writes them
                lines = [value + b"\n" for value in values]
            _check(reply, total, len(csv_lines(b"".join(lines), CSV)))
            if len(lines) == total:
                charset = reply.content_type.partition("charset=")[2].partition(";")[0].strip(' "') or "utf-8"
                return [(head + b"".join(lines[start:end])).decode().encode(charset) for start, end in parts]
    except (ValueError, EOFError, RecursionError, LookupError) as error:
        raise _not_divisible(reply, str(error)) from error
    raise _not_divisible(reply, "it is not one result for each row")


def _npy(array: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _check(reply: Reply[bytes], rows: int, answers: int) -> None:
    if rows != answers:
        hint = "pass rows_per_call=1 if the model does not answer one result for each row"
        raise row_count_error(reply, rows, answers, hint)


def _not_divisible(reply: Reply[bytes], why: str) -> UndecodableReplyError:
    return UndecodableReplyError(
        f"the answer of {reply.model or reply.endpoint} ({reply.content_type}) cannot be divided among its rows: {why}",
        hint="pass rows_per_call=1",
        body=reply.body,
        content_type=reply.content_type,
        endpoint=reply.endpoint or None,
        model=reply.model,
        request_id=reply.request_id,
    )
