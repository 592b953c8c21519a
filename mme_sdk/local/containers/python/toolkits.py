"""Modules that scripts for AWS's images import: sagemaker_containers, sagemaker_inference, sagemaker_xgboost_container.

They have the functions that scripts use, with the same names and results. A library that is installed is used itself.
`install` adds the modules to the process of a model, and only there.
"""

# ruff: noqa: ARG002 - the parameters are those of AWS's functions
from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any

from mme_sdk.local.containers.python.images import huggingface
from mme_sdk.local.containers.python.payloads import CSV, JSON, NPY, PayloadError

__all__ = [
    "GenericInferenceToolkitError",
    "Response",
    "UnsupportedFormatError",
    "array_to_csv",
    "install",
    "libsvm",
    "modules",
]

_NPZ = "application/x-npz"


class UnsupportedFormatError(PayloadError):
    """A content type that a toolkit does not support; the request is answered 415.

    Args:
        content_type: The content type.
    """

    def __init__(self, content_type: str | None) -> None:
        super().__init__(415, f"content type {content_type} is not supported; add input_fn or output_fn to the script")


class BaseInferenceToolkitError(Exception):
    """An error with an HTTP status, which a script raises.

    Args:
        status_code: HTTP status.
        message: Body of the response.
        phrase: Reason phrase of the status.
    """

    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        self.status_code = status_code
        self.message = message
        self.phrase = phrase
        super().__init__(status_code, message, phrase)


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """An error with an HTTP status.

    Args:
        status_code: HTTP status.
        message: Body of the response.
        phrase: Reason phrase of the status; the message if None.
    """

    def __init__(self, status_code: int, message: str | None = None, phrase: str | None = None) -> None:
        message = message or "Invalid Request"
        super().__init__(status_code, message, phrase or message)


class Response:
    """The response object `worker.Response`, with the attributes of a flask response that containers read.

    Args:
        response: The body.
        accept: Media type of the body, if `mimetype` is None.
        status: HTTP status.
        headers: Response headers.
        mimetype: Media type of the body.
        direct_passthrough: Ignored.
    """

    def __init__(
        self,
        response: str | bytes | list[str | bytes] | None = None,
        accept: str | None = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
        mimetype: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        parts = [] if response is None else [response] if isinstance(response, str | bytes | bytearray) else response
        self.response = [one.encode() if isinstance(one, str) else bytes(one) for one in parts]
        self.mimetype = mimetype or accept
        self.status_code = status
        self.headers = dict(headers or {})

    def get_data(self) -> bytes:
        """Return the body."""
        return b"".join(self.response)


def install(libraries: Iterable[str]) -> None:
    """Make modules importable in this process, where the libraries themselves are not installed.

    Args:
        libraries: Names of the libraries.
    """
    wanted = [name for name in libraries if importlib.util.find_spec(name) is None]
    for name, module in modules().items():
        if name.partition(".")[0] in wanted:
            sys.modules.setdefault(name, module)


def modules() -> dict[str, ModuleType]:
    """Return the modules by name. A module is an attribute of its package."""
    made: dict[str, ModuleType] = {}
    for name, members in _MODULES.items():
        module = made[name] = ModuleType(name, "A module of AWS's toolkits, as the embedded SageMaker provides it.")
        module.__path__ = []  # a package: its submodules are in sys.modules
        vars(module).update(members)
        package, _, last = name.rpartition(".")
        if package:
            setattr(made[package], last, module)
    return made


def _json_to_numpy(string_like: str, dtype: Any = None) -> Any:
    import numpy as np

    return np.array(json.loads(string_like), dtype=dtype)


def _csv_to_numpy(string_like: str, dtype: Any = None) -> Any:
    import numpy as np

    return np.genfromtxt(io.StringIO(string_like), dtype=dtype, delimiter=",")


def _npy_to_numpy(npy_array: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(npy_array), allow_pickle=False)


def _npz_to_sparse(npz_bytes: bytes) -> Any:
    import scipy.sparse

    return scipy.sparse.load_npz(io.BytesIO(npz_bytes))


def _array_to_json(array_like: Any) -> str:
    return json.dumps(array_like, default=_to_list)


def _to_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def array_to_csv(array_like: Any) -> str:
    """Encode an array as CSV: a line for each row, and for each value of one dimension."""
    import numpy as np

    out = io.StringIO()
    np.savetxt(out, array_like, delimiter=",", fmt="%s")
    return out.getvalue()


def _array_to_npy(array_like: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, array_like)
    return out.getvalue()


_DECODERS: dict[str | None, Callable[..., Any]] = {
    JSON: _json_to_numpy,
    CSV: _csv_to_numpy,
    NPY: _npy_to_numpy,
    _NPZ: _npz_to_sparse,
}
_ENCODERS: dict[str | None, Callable[[Any], Any]] = {JSON: _array_to_json, CSV: array_to_csv, NPY: _array_to_npy}


def _decode(obj: Any, content_type: str | None) -> Any:
    decoder = _DECODERS.get(content_type)
    if decoder is None:
        raise UnsupportedFormatError(content_type)
    return decoder(obj)


def _encode(array_like: Any, content_type: str | None) -> Any:
    encoder = _ENCODERS.get(content_type)
    if encoder is None:
        raise UnsupportedFormatError(content_type)
    return encoder(array_like)


class _DefaultInferenceHandler:
    def default_model_fn(self, model_dir: str, context: Any = None) -> Any:
        raise NotImplementedError("Please provide a model_fn implementation.")

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        return _decode(input_data, content_type)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        raise NotImplementedError("Please provide a predict_fn implementation.")

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        for content_type in _parse_accept(accept):
            if content_type in _ENCODERS:
                return _encode(prediction, content_type), content_type
        raise UnsupportedFormatError(accept)


def _parse_accept(accept: str) -> list[str]:
    return accept.replace(" ", "").split(",")


def libsvm(text: str, columns: int | None = None) -> Any:
    """Decode libsvm to a sparse matrix.

    Args:
        text: Rows of `index:value` pairs. A label before the pairs is ignored.
        columns: Number of columns; as many as the indexes need if None.

    Returns:
        A scipy CSR matrix.

    Raises:
        ValueError: An index or a value is not a number, or an index is not smaller than `columns`.
    """
    from scipy.sparse import csr_matrix

    rows, places, values = [], [], []
    lines = text.strip().split("\n")
    for number, line in enumerate(lines):
        for place, colon, value in (item.partition(":") for item in line.split()):
            if colon:
                rows.append(number)
                places.append(int(place))
                values.append(float(value))
    width = max(places, default=-1) + 1
    if columns is not None and width > columns:
        raise ValueError(f"the index {width - 1} exceeds the {columns} features of the model")
    return csr_matrix((values, (rows, places)), shape=(len(lines), columns or width))


def _csv_to_dmatrix(input: str | bytes, dtype: Any = None) -> Any:  # noqa: A002 - the name in AWS's library
    import numpy as np
    import xgboost

    text = input.decode() if isinstance(input, bytes) else input
    rows = [[field.strip() or "nan" for field in line.split(",")] for line in text.strip().splitlines()]
    return xgboost.DMatrix(np.array(rows).astype(dtype or float))


def _libsvm_to_dmatrix(string_like: str | bytes) -> Any:
    import xgboost

    return xgboost.DMatrix(libsvm(string_like.decode() if isinstance(string_like, bytes) else string_like))


def _decode_dmatrix(obj: str | bytes, content_type: str) -> Any:
    media = content_type.partition(";")[0].strip().lower()
    if media == CSV:
        return _csv_to_dmatrix(obj)
    if media in ("text/libsvm", "text/x-libsvm"):
        return _libsvm_to_dmatrix(obj)
    raise UnsupportedFormatError(content_type)


def _decode_inputs(content: Any, content_type: str = JSON) -> Any:
    return huggingface.decode(content, content_type)


def _encode_outputs(content: Any, accept_type: str = JSON) -> Any:
    return huggingface.encode(content, accept_type)


_CONTENT_TYPES = {
    "JSON": JSON,
    "CSV": CSV,
    "NPY": NPY,
    "NPZ": _NPZ,
    "OCTET_STREAM": "application/octet-stream",
    "ANY": "*/*",
    "UTF8_TYPES": [JSON, CSV],
}
_ENCODER_FUNCTIONS = {
    "encode": _encode,
    "decode": _decode,
    "array_to_npy": _array_to_npy,
    "npy_to_numpy": _npy_to_numpy,
    "array_to_json": _array_to_json,
    "json_to_numpy": _json_to_numpy,
    "array_to_csv": array_to_csv,
    "csv_to_numpy": _csv_to_numpy,
}
_MODULES: dict[str, dict[str, Any]] = {
    "sagemaker_containers": {},
    "sagemaker_containers.beta": {},
    "sagemaker_containers.beta.framework": {},
    "sagemaker_containers.beta.framework.content_types": _CONTENT_TYPES,
    "sagemaker_containers.beta.framework.encoders": _ENCODER_FUNCTIONS,
    "sagemaker_containers.beta.framework.errors": {"UnsupportedFormatError": UnsupportedFormatError},
    "sagemaker_containers.beta.framework.worker": {"Response": Response},
    "sagemaker_inference": {},
    "sagemaker_inference.content_types": _CONTENT_TYPES,
    "sagemaker_inference.decoder": {"decode": _decode},
    "sagemaker_inference.default_inference_handler": {"DefaultInferenceHandler": _DefaultInferenceHandler},
    "sagemaker_inference.encoder": {"encode": _encode, "SUPPORTED_CONTENT_TYPES": {JSON, CSV, NPY}},
    "sagemaker_inference.errors": {
        "BaseInferenceToolkitError": BaseInferenceToolkitError,
        "GenericInferenceToolkitError": GenericInferenceToolkitError,
        "UnsupportedFormatError": UnsupportedFormatError,
    },
    "sagemaker_inference.utils": {"parse_accept": _parse_accept},
    "sagemaker_huggingface_inference_toolkit": {},
    "sagemaker_huggingface_inference_toolkit.content_types": _CONTENT_TYPES,
    "sagemaker_huggingface_inference_toolkit.decoder_encoder": {
        "decode": _decode_inputs,
        "decode_csv": partial(_decode_inputs, content_type=CSV),
        "decode_json": json.loads,
        "encode": _encode_outputs,
        "encode_csv": partial(_encode_outputs, accept_type=CSV),
        "encode_json": partial(_encode_outputs, accept_type=JSON),
    },
    "sagemaker_xgboost_container": {},
    "sagemaker_xgboost_container.encoder": {
        "csv_to_dmatrix": _csv_to_dmatrix,
        "decode": _decode_dmatrix,
        "libsvm_to_dmatrix": _libsvm_to_dmatrix,
    },
}
