"""Run `code/inference.py` as the image does: the functions of SageMaker's toolkits, or TensorFlow's handlers."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from mme_sdk.artifacts.profiles import profile_named
from mme_sdk.local.containers.python import toolkits
from mme_sdk.local.containers.python.context import Context
from mme_sdk.local.containers.python.formats import UnsupportedModelError, find, load
from mme_sdk.local.containers.python.images import huggingface, pytorch, tensorflow, xgboost
from mme_sdk.local.containers.python.images.profile import current, is_multi_model
from mme_sdk.local.containers.python.images.saved_models import SavedModels
from mme_sdk.local.containers.python.payloads import CSV, JSON, ModelResponse, decode, encode
from mme_sdk.local.containers.python.prediction import predict

__all__ = ["Model", "Served", "load_model", "script_imports"]

_FUNCTIONS = ("pre_model_fn", "model_fn", "model_warmup_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")
_BODY_HEADERS = frozenset({"content-type", "content-length"})
# Large libraries that start no thread when they are imported; others are imported by each model process.
_LIBRARIES = ("joblib", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "skops", "xgboost")
_IMPORT = re.compile(rf"^[ \t]*(?:import|from)[ \t]+({'|'.join(_LIBRARIES)})\b".encode(), re.MULTILINE)
_FILES, _BYTES = 20, 200_000  # read at most so many scripts, and so much of each


class Model:
    """A loaded model and the functions that serve it.

    Args:
        directory: Folder of the extracted archive.
        functions: Functions of the script by name, and the image's own ones for those that it does not define.
        script: Whether there is a script.

    Raises:
        ValueError: The script defines `transform_fn` and a function that it replaces.
    """

    def __init__(self, directory: Path, functions: dict[str, Callable[..., Any]], *, script: bool) -> None:
        self._directory = str(directory)
        self._functions = functions
        self._profile = current()
        self._default_accept = os.environ.get(
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
            JSON if script else self._profile.default_answer(multi_model=is_multi_model()),
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
            return self._response(result, accept, context)
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
        return self._response(result, accept, context)

    def _response(self, result: Any, accept: str, context: Context) -> ModelResponse:
        return _response(result if self._profile.pairs or not isinstance(result, tuple) else [*result], accept, context)

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
    return load(path, form.load)


Served: TypeAlias = Model | tensorflow.Handlers
"""The functions that serve the requests of one model."""


def load_model(directory: Path) -> Served:
    """Load a model, with its script if there is one.

    Args:
        directory: Folder of the extracted archive.

    Returns:
        The loaded model.

    Raises:
        UnsupportedModelError: The container cannot serve the directory, or the script that an environment variable
            names does not exist.
    """
    profile = current()
    program = os.environ.get("SAGEMAKER_PROGRAM", "")
    folders = _script_folders(directory)
    script = next((path for folder in folders if (path := _script(folder, program)) is not None), None)
    if script is None and program:
        looked = ", ".join(str(folder) for folder in folders)
        raise UnsupportedModelError(f"SAGEMAKER_PROGRAM={program}: the file does not exist in {looked}")
    if script is not None and not profile.runs_script(multi_model=is_multi_model()):
        print(f"the {profile.title} image does not run {script.name} here", file=sys.stderr, flush=True)  # noqa: T201
        script = None
    given: dict[str, Any] = {}
    if script is not None:
        given = _imported(script, directory)
        if wanted := profile.lacks(given):
            raise NotImplementedError(f"the {profile.title} image requires that {script.name} defines {wanted}")
    handle = tensorflow.handlers(given)
    # A script for an image that is not known can be one for TensorFlow's.
    if profile.defaults == "tensorflow" or (
        handle is not None and profile.name == "any" and given.keys().isdisjoint(_FUNCTIONS)
    ):
        return _handlers(directory, handle)
    functions = {name: given[name] for name in _FUNCTIONS if name in given}
    name = profile.defaults
    if profile.lenient and "model_fn" not in functions:
        found = find(directory)
        name = "" if found is None else found[0].defaults
        if name == "tensorflow":
            return _handlers(directory, None)
    own = _own_functions(name, script=script is not None)
    if "transform_fn" in functions:
        own = {name: function for name, function in own.items() if name == "model_fn"}
    return Model(directory, {**own, **functions}, script=script is not None)


def _imported(script: Path, directory: Path) -> dict[str, Any]:
    # The script's own folder comes first; helper modules can be in code/, code/lib/ and at the top too.
    helpers = [script.parent, directory / "code", directory / "code" / "lib", directory]
    sys.path[:0] = list(dict.fromkeys(str(folder) for folder in helpers if folder.is_dir()))
    toolkits.install(current().libraries)
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        raise UnsupportedModelError(f"{script.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    return vars(module)


def _handlers(directory: Path, handle: Callable[..., Any] | None) -> tensorflow.Handlers:
    names = [path.relative_to(directory).as_posix() for path in directory.glob("**/saved_model.pb")]
    files = profile_named("tensorflow").files(names, multi_model=is_multi_model() and not current().lenient)
    models = SavedModels(directory, files)
    return tensorflow.Handlers(models, handle or tensorflow.default_handler, listen=handle is not None)


def _own_functions(name: str, *, script: bool) -> dict[str, Callable[..., Any]]:
    """Return the functions of an image for those that a script does not define."""
    match name:
        case "xgboost":
            return {"input_fn": xgboost.script_input_fn} if script else xgboost.functions()
        case "pytorch":
            return pytorch.functions()
        case "huggingface":
            return huggingface.functions()
        case "triton":
            raise UnsupportedModelError(
                "the Python container does not serve models of Triton: run Triton in place of its image, with "
                "images={…: triton(…)} (docs/containers.md)"
            )
    return {}


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


def script_imports(directory: Path) -> list[str]:
    """Return the shared libraries that the scripts of an extracted archive import.

    A library that is not found here is imported by the model process itself, which only takes longer.

    Args:
        directory: Folder of the extracted archive.

    Returns:
        Module names, sorted.
    """
    found: set[str] = set()
    for path in [*sorted(directory.glob("*.py")), *sorted(directory.glob("code/*.py"))][:_FILES]:
        if path.is_file():
            with path.open("rb") as file:
                found.update(name.decode() for name in _IMPORT.findall(file.read(_BYTES)))
    return sorted(found)
