"""Decode request bodies by Content-Type, and encode predictions by Accept.

Requests are JSON, CSV, NPY or Parquet; responses are JSON, CSV or NPY. CSV has no header row in requests and responses,
unless the media type has the parameter `header=present`. An empty CSV field and a JSON null among numbers are NaN.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from mme_sdk.types.matrix import from_csv, from_json, has_header, media_type

__all__ = ["CSV", "JSON", "NPY", "PARQUET", "ModelResponse", "PayloadError", "Rows", "decode", "encode"]

JSON, CSV, NPY, PARQUET = "application/json", "text/csv", "application/x-npy", "application/x-parquet"


@attrs.frozen
class PayloadError(Exception):
    """The request cannot be decoded, or its response cannot be encoded.

    Attributes:
        status: HTTP status: 400 for an invalid body, 415 for its media type, 406 for the accepted media types.
        message: The reason.
    """

    status: int
    message: str


@attrs.frozen(kw_only=True)
class ModelResponse:
    """The response of a model.

    Attributes:
        body: Bytes, or an iterator of chunks to stream.
        content_type: Media type of the body.
        headers: Other response headers.
        status: HTTP status. Default 200.
    """

    body: bytes | Iterator[bytes]
    content_type: str
    headers: dict[str, str]
    status: int = 200


@attrs.frozen(eq=False)
class Rows:
    """Decoded input, and the key of the response.

    Attributes:
        value: Array, list or mapping for the model.
        key: Key of the prediction in a JSON response; None for a response without a key.
    """

    value: Any
    key: str | None = None


def decode(body: bytes, content_type: str | None) -> Rows:
    """Decode a request.

    Args:
        body: Request body.
        content_type: Media type of the body; JSON if missing.

    Returns:
        The input for the model.

    Raises:
        PayloadError: The body is invalid (400), or its media type is not supported (415).
    """
    media = media_type(content_type or "")
    reader = _READERS.get(media)
    if reader is None:
        raise PayloadError(
            415,
            f"content type {media!r} is not supported; send one of {', '.join(sorted(set(_READERS) - {'', '*/*'}))}",
        )
    try:
        return reader(body, content_type or "")
    except ImportError as error:
        raise PayloadError(
            415, f"{media} needs pandas: pip install 'mme-sdk[pandas]' where the container runs ({error})"
        ) from error
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise PayloadError(400, f"the body is not {media or JSON}: {error}") from error


def encode(prediction: Any, accept: str | None, *, key: str | None = None) -> tuple[bytes, str]:
    """Encode a prediction.

    Args:
        prediction: Return value of the model.
        accept: Accepted media types in order of preference; JSON if missing or `*/*`.
        key: Key of the prediction in a JSON response.

    Returns:
        The body and its media type.

    Raises:
        PayloadError: None of the accepted media types is supported (406).
    """
    ranges = (accept or "*/*").split(",")
    wanted = [media_type(one) for one in ranges]
    for media, whole in zip(wanted, ranges, strict=True):
        if media in ("", "*/*", "application/*", JSON):
            value = prediction if key is None else {key: prediction}
            return json.dumps(value, default=_plain).encode(), JSON
        writer = _WRITERS.get(media)
        if writer is not None:
            return writer(prediction, whole), f"{media}; header=present" if _wants_header(whole) else media
    raise PayloadError(406, f"none of {accept!r} is supported; accept one of {JSON}, {CSV}, {NPY}")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    raise TypeError(
        f"a prediction of type {type(value).__name__} cannot be encoded as JSON; add an output_fn to code/inference.py"
    )


def _read_json(body: bytes, _content_type: str) -> Rows:
    value = json.loads(body)
    if isinstance(value, dict) and set(value) <= {"instances", "inputs"} and value:
        name, inner = next(iter(value.items()))
        return Rows(_arrays(inner), "predictions" if name == "instances" else "outputs")
    return Rows(_arrays(value))


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _arrays(inner) for name, inner in value.items()}
    if isinstance(value, list) and value:
        records = [isinstance(row, dict) for row in value]
        if not any(records):
            return from_json(value, lenient=True)
        if not all(records):
            raise ValueError("some rows are objects and some are not")
    return value


def _read_csv(body: bytes, content_type: str) -> Rows:
    if not has_header(content_type):
        return Rows(from_csv(body.decode("utf-8-sig")))
    return _read_table(body, content_type)


def _read_npy(body: bytes, _content_type: str) -> Rows:
    import numpy as np

    return Rows(np.load(io.BytesIO(body), allow_pickle=False))


def _read_table(body: bytes, content_type: str) -> Rows:
    from mme_sdk.runtime.payloads.answer_tables import decode_frame

    return Rows(decode_frame(body, content_type))


def _first(prediction: Any) -> Any:
    """Return the prediction as an array for CSV or NPY; of several named outputs, the first one."""
    import numpy as np

    value = next(iter(prediction.values())) if isinstance(prediction, dict) and prediction else prediction
    array = np.asarray(value)
    if array.dtype == object:
        raise PayloadError(406, "the prediction is not an array of numbers or strings; accept application/json")
    return array


def _wants_header(media: str) -> bool:
    try:
        return media_type(media) == CSV and has_header(media)
    except ValueError as error:
        raise PayloadError(406, str(error)) from error


def _write_csv(prediction: Any, media: str) -> bytes:
    import csv

    array = _first(prediction)
    if array.ndim not in (1, 2):
        raise PayloadError(
            406, f"CSV cannot represent a prediction of {array.ndim} dimensions; accept application/json"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if _wants_header(media):
        names = getattr(prediction, "columns", None)
        if names is None:
            raise PayloadError(406, "the prediction has no column names for a header; accept text/csv")
        writer.writerow(names)
    writer.writerows(array.reshape(len(array), -1).tolist() if array.size else [])
    return text.getvalue().encode()


def _write_npy(prediction: Any, _media: str) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, _first(prediction), allow_pickle=False)
    return out.getvalue()


_READERS: dict[str, Callable[[bytes, str], Rows]] = {
    "": _read_json,
    "*/*": _read_json,
    JSON: _read_json,
    CSV: _read_csv,
    NPY: _read_npy,
    PARQUET: _read_table,
    "application/octet-stream": _read_json,
}
_WRITERS: dict[str, Callable[[Any, str], bytes]] = {CSV: _write_csv, NPY: _write_npy}
