"""SavedModels behind the REST interface of TensorFlow Serving: https://www.tensorflow.org/tfx/serving/api_rest."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.local.containers.python.formats import UnsupportedModelError, named_extra

__all__ = ["Answer", "SavedModels"]


@attrs.frozen
class Answer:
    """An answer of TensorFlow Serving, with the attributes of a response of the library `requests`.

    Attributes:
        status_code: HTTP status.
        content: JSON body.
    """

    status_code: int
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < 400

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {"Content-Type": "application/json", "Content-Length": str(len(self.content))}

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        """Raise RuntimeError if the status is 400 or higher."""
        if not self.ok:
            raise RuntimeError(f"TensorFlow answered {self.status_code}: {self.text}")


class _RequestError(Exception):
    """A request that TensorFlow Serving answers with an error; the arguments are the status and the message."""


class SavedModels:
    """The SavedModels of an archive, each in one or several versions.

    Args:
        directory: Folder of the archive.
        files: Paths of the files `saved_model.pb`, relative to it.

    Attributes:
        default: Name of the model that answers requests without a name.

    Raises:
        UnsupportedModelError: There is no SavedModel, one cannot be loaded, or TensorFlow is not installed.
    """

    def __init__(self, directory: Path, files: list[str]) -> None:
        if not files:
            raise UnsupportedModelError(
                "the TensorFlow image finds no SavedModel; save it in a folder with a number, as 1/saved_model.pb"
            )
        self._models: dict[str, dict[int, Any]] = {}
        for file in files:
            folder = (directory / file).parent
            name = "model" if folder.parent == directory else folder.parent.name
            with named_extra(file):
                self._models.setdefault(name, {})[int(folder.name)] = _load(folder)
        self.default = os.environ.get("TFS_DEFAULT_MODEL_NAME") or next(iter(self._models))

    def post(self, target: str, body: bytes) -> Answer:
        """Answer a request.

        Args:
            target: `NAME:METHOD` or `NAME/versions/VERSION:METHOD`.
            body: JSON body.

        Returns:
            The answer of TensorFlow Serving.
        """
        try:
            loaded = self._find(target)
            request = _parsed(body)
            return Answer(200, json.dumps(_predict(loaded, request)).encode())
        except _RequestError as error:
            status, message = error.args
            return Answer(status, json.dumps({"error": message}).encode())

    def _find(self, target: str) -> Any:
        found = re.fullmatch(r"(?P<name>[^/:]+)(/versions/(?P<version>\d+))?:(?P<method>\w+)", target)
        if found is None:
            raise _RequestError(400, f"Malformed request: POST /v1/models/{target}")
        name, version, method = found["name"], found["version"], found["method"]
        versions = self._models.get(name, {})
        number = int(version) if version else max(versions, default=-1)
        if number not in versions:
            asked = f"Specific({name}, {number})" if version else f"Latest({name})"
            raise _RequestError(404, f"Servable not found for request: {asked}")
        if method != "predict":
            raise _RequestError(501, f"the method {method!r} is not supported by the embedded SageMaker; use predict")
        return versions[number]


def _load(folder: Path) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        pass  # the script has used TensorFlow
    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{folder.name}/ is not a SavedModel: {error}") from error


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except ValueError as error:
        raise _RequestError(400, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise _RequestError(400, "Missing 'inputs' or 'instances' key")
    return request


def _predict(loaded: Any, request: dict[str, Any]) -> dict[str, Any]:
    name = request.get("signature_name") or "serving_default"
    signature = loaded.signatures.get(name) if isinstance(name, str) else None
    if signature is None:
        raise _RequestError(400, f"Serving signature name: {name!r} not found in signature def")
    specs: dict[str, Any] = dict(signature.structured_input_signature[1])
    rows = "instances" in request
    try:
        columns = _columns(_decoded(request["instances" if rows else "inputs"]), list(specs), rows)
        tensors = {key: _tensor(columns[key], specs[key]) for key in specs}
        outputs = signature(**tensors)
    except _RequestError:
        raise
    except Exception as error:  # the errors of TensorFlow have no common class below Exception
        raise _RequestError(400, str(error)) from error
    values = {key: _plain(key, tensor.numpy()) for key, tensor in sorted(outputs.items())}
    if not rows:
        return {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    if any(not isinstance(value, list) for value in values.values()) or len({len(one) for one in values.values()}) != 1:
        raise _RequestError(400, "Tensor name: the outputs have no common batch dimension; send 'inputs'")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def _columns(value: Any, names: list[str], rows: bool) -> dict[str, Any]:
    if not rows:
        if isinstance(value, dict):
            given = value
        elif len(names) == 1:
            given = {names[0]: value}
        else:
            raise _RequestError(400, f"inputs is a plain value/list, but expecting an object with {names}")
    else:
        if not isinstance(value, list) or not value:
            raise _RequestError(400, "'instances' is not a list, or is empty")
        if all(isinstance(row, dict) for row in value):
            if len({frozenset(row) for row in value}) != 1:
                raise _RequestError(400, "the instances do not have the same keys")
            given = {key: [row[key] for row in value] for key in value[0]}
        elif len(names) == 1:
            given = {names[0]: value}
        else:
            raise _RequestError(400, f"instances is a plain list, but expecting list of objects with {names}")
    if set(given) != set(names):
        raise _RequestError(400, f"the inputs are {sorted(given)}; the signature has {sorted(names)}")
    return given


def _decoded(value: Any) -> Any:
    """Replace each object `{"b64": …}` by the bytes that it encodes."""
    match value:
        case {"b64": str(text)} if len(value) == 1:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise _RequestError(400, f"Unable to base64 decode: {error}") from error
        case dict():
            return {key: _decoded(one) for key, one in value.items()}
        case list():
            return [_decoded(one) for one in value]
    return value


def _tensor(value: Any, spec: Any) -> Any:
    import tensorflow as tf

    return tf.constant(value, dtype=spec.dtype)


def _plain(name: str, array: Any) -> Any:
    write: Callable[[bytes], Any] = _encoded if name.endswith("_bytes") else lambda data: data.decode()

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(one) for one in value]
        return write(value) if isinstance(value, bytes) else value

    return text(array.tolist() if hasattr(array, "tolist") else array)


def _encoded(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}
