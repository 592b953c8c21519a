"""Request bodies into arrays and predictions into response bodies: JSON, CSV and NPY, by Content-Type and Accept."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["CSV", "JSON", "NPY", "Refused", "Rows", "decode", "encode"]

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


@attrs.frozen
class Refused(Exception):
    """A request that the model never saw.

    Attributes:
        status: 400 where it makes no sense, 415 or 406 where its media type is not spoken.
        message: Why.
    """

    status: int
    message: str


@attrs.frozen(eq=False)
class Rows:
    """Decoded input, with the shape of the answer it asks for.

    Attributes:
        value: The array, list or mapping for the model.
        key: Key that JSON answers go under; None for a bare value.
    """

    value: Any
    key: str | None = None


def _media(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def decode(body: bytes, content_type: str | None) -> Rows:
    """Decode a request.

    Args:
        body: The payload.
        content_type: Its media type; JSON where it is missing or says nothing.

    Returns:
        The input for the model.

    Raises:
        Refused: The body does not parse (400), or the media type is not spoken (415).
    """
    media = _media(content_type)
    reader = _READERS.get(media)
    if reader is None:
        raise Refused(
            415, f"content type {media!r} is not spoken; send one of {', '.join(sorted(set(_READERS) - {''}))}"
        )
    try:
        return reader(body)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise Refused(400, f"the body is not {media or JSON}: {error}") from error


def encode(prediction: Any, accept: str | None, *, key: str | None = None) -> tuple[bytes, str]:
    """Encode a prediction.

    Args:
        prediction: What the model returned; bytes and text go out as they are.
        accept: The wanted media types in order; JSON where it is missing or says `*/*`.
        key: Key that JSON answers go under.

    Returns:
        The body and its media type.

    Raises:
        Refused: No wanted media type is spoken (406).
    """
    wanted = [_media(one) for one in (accept or "*/*").split(",")]
    if isinstance(prediction, bytes | bytearray):
        return bytes(prediction), wanted[0] if "*" not in wanted[0] else "application/octet-stream"
    if isinstance(prediction, str):
        return prediction.encode(), wanted[0] if "*" not in wanted[0] else "text/plain"
    for media in wanted:
        if media in ("", "*/*", "application/*", JSON):
            value = prediction if key is None else {key: prediction}
            return json.dumps(value, default=_plain).encode(), JSON
        writer = _WRITERS.get(media)
        if writer is not None:
            return writer(prediction), media
    raise Refused(406, f"none of {accept!r} is spoken; accept one of {JSON}, {CSV}, {NPY}")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    raise TypeError(
        f"a prediction of type {type(value).__name__} has no JSON form; add an output_fn to code/inference.py"
    )


def _read_json(body: bytes) -> Rows:
    value = json.loads(body)
    if isinstance(value, dict) and set(value) <= {"instances", "inputs"} and value:
        name, inner = next(iter(value.items()))
        return Rows(_arrays(inner), "predictions" if name == "instances" else "outputs")
    return Rows(_arrays(value))


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _arrays(inner) for name, inner in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], dict):
        import numpy as np

        array = np.asarray(value)
        if array.dtype == object:
            raise ValueError("the rows are not of one length and type")
        return array
    return value


def _read_csv(body: bytes) -> Rows:
    import numpy as np

    if not body.strip():
        raise ValueError("no rows")
    return Rows(np.loadtxt(io.StringIO(body.decode("utf-8-sig")), delimiter=",", ndmin=2))


def _read_npy(body: bytes) -> Rows:
    import numpy as np

    return Rows(np.load(io.BytesIO(body), allow_pickle=False))


def _first(prediction: Any) -> Any:
    """The array that CSV and NPY can carry: of several named outputs, the first."""
    import numpy as np

    value = next(iter(prediction.values())) if isinstance(prediction, dict) and prediction else prediction
    array = np.asarray(value)
    if array.dtype == object:
        raise Refused(406, "the prediction is no plain array; accept application/json")
    return array


def _write_csv(prediction: Any) -> bytes:
    import numpy as np

    array = np.atleast_1d(_first(prediction))
    rows = array.reshape(len(array), -1).tolist()
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


def _write_npy(prediction: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, _first(prediction), allow_pickle=False)
    return out.getvalue()


_READERS: dict[str, Callable[[bytes], Rows]] = {
    "": _read_json,
    "*/*": _read_json,
    JSON: _read_json,
    CSV: _read_csv,
    NPY: _read_npy,
    "application/octet-stream": _read_json,
}
_WRITERS: dict[str, Callable[[Any], bytes]] = {CSV: _write_csv, NPY: _write_npy}
