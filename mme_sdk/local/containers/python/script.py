"""Run `code/inference.py`: model_fn, input_fn, predict_fn, output_fn or transform_fn of SageMaker's toolkits."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from mme_sdk.local.containers.python import toolkits
from mme_sdk.local.containers.python.context import Context
from mme_sdk.local.containers.python.formats import UnsupportedModelError, find, predict
from mme_sdk.local.containers.python.images import xgboost
from mme_sdk.local.containers.python.images.profile import current, is_multi_model
from mme_sdk.local.containers.python.payloads import CSV, JSON, decode, encode

__all__ = ["Model", "ModelResponse", "load_model"]

_FUNCTIONS = ("pre_model_fn", "model_fn", "model_warmup_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")
_BODY_HEADERS = frozenset({"content-type", "content-length"})


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


class Model:
    """A loaded model and the functions that serve it.

    Args:
        directory: Folder of the extracted archive.
        functions: Functions of the script by name.
        algorithm: Whether the functions are the algorithm mode of the image instead of a script.

    Raises:
        ValueError: The script defines `transform_fn` and a function that it replaces.
    """

    def __init__(self, directory: Path, functions: dict[str, Callable[..., Any]], *, algorithm: bool = False) -> None:
        self._directory = str(directory)
        self._functions = functions
        self._profile = current()
        self._default_accept = os.environ.get(
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", self._profile.algorithm_accept() if algorithm else JSON
        )
        if "transform_fn" in functions and functions.keys() & {"input_fn", "predict_fn", "output_fn"}:
            raise ValueError(
                "Cannot use transform_fn implementation in conjunction with input_fn, predict_fn, and/or output_fn "
                "implementation"
            )
        context = Context(self._directory, {})
        if "pre_model_fn" in functions:
            _call(functions["pre_model_fn"], (self._directory,), context)
        if "model_fn" in functions:
            self._model = _call(functions["model_fn"], (self._directory,), context)
        else:
            self._model = _load_by_type(directory)
        if "model_warmup_fn" in functions:
            _call(functions["model_warmup_fn"], (self._directory, self._model), context)

    @property
    def loaded(self) -> Any:
        """The return value of `model_fn`, or what the file of the model contains."""
        return self._model

    def respond(self, body: bytes, content_type: str, accept: str, headers: dict[str, str]) -> ModelResponse:
        """Serve one request.

        Args:
            body: Request body.
            content_type: Media type of the body; empty without one.
            accept: Accepted media types. Without them, and for `*/*`, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT applies,
                else the default of the image's algorithm mode, else `application/json`.
            headers: Request headers by lower-case name.

        Returns:
            The response.
        """
        context = Context(self._directory, headers)
        if accept in ("", "*/*"):
            accept = self._default_accept
        given = self._functions
        if "transform_fn" in given:
            data: Any = _script_input(body, content_type)
            result = _call(given["transform_fn"], (self._model, data, content_type or None, accept), context)
            return _response(result, accept, context)
        key: str | None = None
        if "input_fn" in given:
            data = _call(given["input_fn"], (_script_input(body, content_type), content_type or None), context)
        else:
            rows = decode(body, content_type)
            data, key = self._profile_rows(rows.value), rows.key
        prediction = _call(given.get("predict_fn", predict), (data, self._model), context)
        if "output_fn" in given:
            result = _call(given["output_fn"], (prediction, accept), context)
        elif isinstance(prediction, Iterator):
            result = prediction
        else:
            result = encode(prediction, accept, key=key)
        return _response(result, accept, context)

    def _profile_rows(self, data: Any) -> Any:
        if self._profile.one_row_multi_model and is_multi_model() and getattr(data, "ndim", 2) == 1:
            return data.reshape(1, -1)
        return data


def _script_input(body: bytes, content_type: str) -> str | bytes:
    # AWS's toolkits compare the whole header: "text/csv; charset=utf-8" gives bytes.
    return body.decode() if content_type in (JSON, CSV) else body


def _response(result: Any, accept: str, context: Context) -> ModelResponse:
    """Convert the return value of a script: a body, a pair of body and content type, or a response object of flask."""
    body, media = (result[0], result[1]) if isinstance(result, tuple) else (result, accept)
    status, _ = context.get_response_status(0)
    headers = context.get_response_headers()
    if hasattr(body, "get_data") and hasattr(body, "mimetype"):
        media, status = body.mimetype or media, body.status_code
        headers = {**{key: value for key, value in body.headers.items() if key.lower() not in _BODY_HEADERS}, **headers}
        body = body.get_data()
    if isinstance(body, Iterator):
        chunks: bytes | Iterator[bytes] = (one.encode() if isinstance(one, str) else bytes(one) for one in body)
    elif isinstance(body, bytes | bytearray | memoryview):
        chunks = bytes(body)
    elif isinstance(body, str):
        chunks = body.encode()
    else:
        chunks = _as_json(body)
    return ModelResponse(body=chunks, content_type=media or accept, headers=headers, status=status)


def _as_json(body: Any) -> bytes:
    # Multi Model Server writes other return values as JSON.
    try:
        return json.dumps(body).encode()
    except TypeError as error:
        raise TypeError(
            f"the script returned a {type(body).__name__}, which is not a response body ({error}); return str or bytes"
        ) from error


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], context: Context) -> Any:
    takes = len(inspect.signature(function).parameters)
    if takes not in (len(arguments), len(arguments) + 1):
        raise TypeError(f"{function.__name__} takes {takes} arguments but {len(arguments)} were given.")
    return function(*arguments, context) if takes > len(arguments) else function(*arguments)


def _load_by_type(directory: Path) -> Any:
    found = find(directory)
    if found is None:
        raise UnsupportedModelError(
            "the archive has no model file of a known format at the top, and no code/inference.py with a model_fn; "
            f"it contains: {', '.join(sorted(path.name for path in directory.iterdir())[:20]) or 'nothing'}"
        )
    form, path = found
    try:
        return form.load(path)
    except ModuleNotFoundError as error:
        raise UnsupportedModelError(
            f"{path.name} needs the package {error.name!r}: pip install 'mme-sdk[{form.extra}]' "
            "in the environment of the container"
        ) from error


def load_model(directory: Path) -> Model:
    """Load a model, with its script if there is one.

    Args:
        directory: Folder of the extracted archive.

    Returns:
        The loaded model.

    Raises:
        UnsupportedModelError: The container cannot serve the directory, or the script that an environment variable
            names does not exist.
    """
    program = os.environ.get("SAGEMAKER_PROGRAM", "")
    folders = _script_folders(directory)
    script = next((path for folder in folders if (path := _script(folder, program)) is not None), None)
    if script is None:
        if program:
            looked = ", ".join(str(folder) for folder in folders)
            raise UnsupportedModelError(f"SAGEMAKER_PROGRAM={program}: the file does not exist in {looked}")
        if current().algorithm == "xgboost":
            return Model(directory, xgboost.functions(), algorithm=True)
        return Model(directory, {})
    # The script's own folder comes first; helper modules can be in code/, code/lib/ and at the top too.
    helpers = [script.parent, directory / "code", directory / "code" / "lib", directory]
    sys.path[:0] = list(dict.fromkeys(str(folder) for folder in helpers if folder.is_dir()))
    toolkits.install()
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        raise UnsupportedModelError(f"{script.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    functions = {one: getattr(module, one) for one in _FUNCTIONS if hasattr(module, one)}
    if current().algorithm == "xgboost" and "transform_fn" not in functions:
        functions.setdefault("input_fn", xgboost.script_input_fn)
    return Model(directory, functions)


def _script_folders(directory: Path) -> list[Path]:
    """Return the folders to search for the script: SAGEMAKER_SUBMIT_DIRECTORY, code/, the top of the archive.

    In containers of AWS the archive is at /opt/ml/model; that path is replaced by `directory`.
    """
    folders = [directory / "code", directory]
    given = os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
    if given:
        inside = PurePosixPath(given.removeprefix("file://"))
        top = PurePosixPath("/opt/ml/model")
        folder = directory / inside.relative_to(top) if inside.is_relative_to(top) else Path(inside)
        if not folder.is_dir():
            raise UnsupportedModelError(f"SAGEMAKER_SUBMIT_DIRECTORY={given}: the directory does not exist")
        folders.insert(0, folder)
    return folders


def _script(folder: Path, program: str) -> Path | None:
    path = folder / (program or "inference.py")
    candidates = (path, path.with_name(f"{path.name}.py"))
    return next((one for one in candidates if one.is_file()), None)
