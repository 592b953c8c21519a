"""The binary tensor format of Triton: a JSON header, followed by the raw bytes of each array.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["TritonCodec"]

_HEADER_SIZE = re.compile(r"json-header-size=(\d+)")
_TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
_NAMES = {theirs: ours for ours, theirs in _TYPES.items()}


class TritonCodec:
    """Encodes and decodes named numpy arrays for models that Triton serves.

    Args:
        outputs: Names of the outputs to request. All outputs of the model if empty, which is the default.

    Example:
        ```python
        reply = endpoint.invoke({"x": array}, model="net.tar.gz", content_type=TritonCodec.media_type, response_type=TritonCodec())
        ```
    """  # noqa: E501

    media_type = "application/vnd.sagemaker-triton.binary+json"

    def __init__(self, outputs: Iterable[str] = ()) -> None:
        self._outputs = tuple(outputs)

    def accepts(self, data: Any) -> bool:
        """Tell whether this codec encodes a payload if the caller passes no content type.

        Args:
            data: The payload.

        Returns:
            True for a non-empty dict of arrays.
        """
        return isinstance(data, dict) and bool(data) and all(hasattr(each, "dtype") for each in data.values())

    def encode(self, data: Any) -> tuple[bytes, str]:
        """Encode named arrays. Text becomes the Triton type BYTES.

        Args:
            data: Arrays by name of the input.

        Returns:
            The body, and the media type with the size of the header.

        Raises:
            TypeError: A name is not text, or Triton does not support the type of an array.
            MissingExtraError: numpy is not installed.
        """
        np = _numpy()
        inputs, blobs = [], []
        for name, value in data.items():
            if not isinstance(name, str):
                raise TypeError(f"the name of an input must be text, not {name!r}")
            if np.ma.is_masked(value):
                raise TypeError(f"input {name}: Triton does not support masked arrays; send array.filled(…)")
            array = np.ascontiguousarray(value)
            if getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u", "b") and array.dtype.kind not in "iub":
                raise TypeError(f"input {name}: Triton does not support missing integers and booleans; fill them")
            if array.dtype.kind in "SUO":
                others = [each for each in array.ravel() if not isinstance(each, (str, bytes))]
                if others:
                    raise TypeError(
                        f"input {name}: an array of objects may hold only text and bytes, not {others[0]!r}; convert it"
                    )
                kind, blob = "BYTES", _from_strings(array)
            elif array.dtype.name in _TYPES:
                kind, blob = _TYPES[array.dtype.name], array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            else:
                raise TypeError(f"input {name}: Triton does not support {array.dtype}")
            inputs.append(
                {
                    "name": name,
                    "shape": list(np.shape(value)),
                    "datatype": kind,
                    "parameters": {"binary_data_size": len(blob)},
                }
            )
            blobs.append(blob)
        wanted = [{"name": name, "parameters": {"binary_data": True}} for name in self._outputs]
        request = {"inputs": inputs} | ({"outputs": wanted} if wanted else {"parameters": {"binary_data_output": True}})
        header = json.dumps(request, separators=(",", ":")).encode()
        return b"".join([header, *blobs]), f"{self.media_type};json-header-size={len(header)}"

    def decode(self, body: bytes, content_type: str) -> dict[str, npt.NDArray[Any]]:
        """Decode a response whose tensors are binary or JSON.

        Args:
            body: The raw response.
            content_type: Its media type, with the size of the header.

        Returns:
            Arrays by name of the output.

        Raises:
            ValueError: The body is not a response of Triton.
            MissingExtraError: numpy is not installed.
        """
        np = _numpy()
        found = _HEADER_SIZE.search(content_type)
        size = len(body) if found is None else int(found[1])
        header = json.loads(body[:size])
        outputs: dict[str, npt.NDArray[Any]] = {}
        at = size
        try:
            for tensor in header["outputs"]:
                length = tensor.get("parameters", {}).get("binary_data_size")
                if length is None:
                    values = np.asarray(tensor["data"], dtype=_NAMES.get(tensor["datatype"], object))
                else:
                    blob = body[at : at + length]
                    if len(blob) != length:
                        raise ValueError("it ends before the end of its tensors")
                    at += length
                    if tensor["datatype"] == "BYTES":
                        values = np.array(_to_strings(blob), dtype=object)
                    else:
                        kind = np.dtype(_NAMES[tensor["datatype"]]).newbyteorder("<")
                        values = np.frombuffer(blob, dtype=kind)
                outputs[tensor["name"]] = values.reshape(tensor["shape"])
        except (KeyError, TypeError, AttributeError, struct.error) as error:
            raise ValueError(f"it is not a response of Triton: {error!r}") from error
        return outputs


def _from_strings(array: Any) -> bytes:
    parts = []
    for each in array.ravel():
        raw = each if isinstance(each, bytes) else each.encode()
        parts.append(struct.pack("<I", len(raw)) + raw)
    return b"".join(parts)


def _to_strings(blob: bytes) -> list[bytes]:
    strings, at = [], 0
    while at < len(blob):
        (length,) = struct.unpack_from("<I", blob, at)
        if at + 4 + length > len(blob):
            raise ValueError("a string exceeds its tensor")
        strings.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    return strings


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError("encoding and decoding Triton tensors needs numpy", hint="pip install numpy") from error
    return np
