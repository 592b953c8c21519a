"""Run `code/inference.py`: model_fn, input_fn, predict_fn, output_fn or transform_fn of SageMaker's toolkits."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from mme_sdk.local.containers.python.formats import UnsupportedModelError, find, gpu, predict
from mme_sdk.local.containers.python.payloads import decode, encode

__all__ = ["Context", "Model", "ModelResponse", "load_model"]


class Context:
    """The context argument of script functions, with the interface of SageMaker's toolkits.

    Args:
        model_dir: Folder of the extracted archive.
        headers: Request headers by lower-case name.
    """

    def __init__(self, model_dir: str, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": model_dir, "gpu_id": gpu()}
        self.response_headers: dict[str, str] = {}
        self.response_content_type: str | None = None
        self._headers = headers

    def get_request_header(self, _idx: int, key: str) -> str | None:
        """Return a header of the request."""
        return self._headers.get(key.lower())

    def get_all_request_header(self, _idx: int) -> dict[str, str]:
        """Return all headers of the request."""
        return dict(self._headers)

    def set_response_content_type(self, _idx: int, value: str) -> None:
        """Set the media type of the response."""
        self.response_content_type = value

    def set_response_header(self, _idx: int, key: str, value: str) -> None:
        """Set a header of the response, such as X-Amzn-SageMaker-Custom-Attributes."""
        self.response_headers[key] = value


@attrs.frozen(kw_only=True)
class ModelResponse:
    """The response of a model.

    Attributes:
        body: Bytes, or an iterator of chunks to stream.
        content_type: Media type of the body.
        headers: Other response headers.
    """

    body: bytes | Iterator[bytes]
    content_type: str
    headers: dict[str, str]


class Model:
    """A loaded model and the functions that serve it.

    Args:
        directory: Folder of the extracted archive.
        functions: Functions of the script by name.
    """

    def __init__(self, directory: Path, functions: dict[str, Callable[..., Any]]) -> None:
        self._directory = str(directory)
        self._functions = functions
        load = functions.get("model_fn")
        if load is not None:
            self._model = _call(load, (self._directory,), Context(self._directory, {}), required=1)
        else:
            self._model = _load_by_type(directory)

    def respond(self, body: bytes, content_type: str, accept: str, headers: dict[str, str]) -> ModelResponse:
        """Serve one request.

        Args:
            body: Request body.
            content_type: Media type of the body.
            accept: Accepted media types.
            headers: Request headers by lower-case name.

        Returns:
            The response.
        """
        context = Context(self._directory, headers)
        given = self._functions
        key: str | None = None
        if "transform_fn" in given:
            result = _call(given["transform_fn"], (self._model, body, content_type, accept), context, required=4)
        else:
            if "input_fn" in given:
                data = _call(given["input_fn"], (body, content_type), context, required=2)
            else:
                rows = decode(body, content_type)
                data, key = rows.value, rows.key
            prediction = _call(given.get("predict_fn", predict), (data, self._model), context, required=2)
            if "output_fn" in given:
                result = _call(given["output_fn"], (prediction, accept), context, required=2)
            elif isinstance(prediction, Iterator):
                result = prediction
            else:
                result = encode(prediction, accept, key=key)
        return _shaped(result, accept, context)


def _shaped(result: Any, accept: str, context: Context) -> ModelResponse:
    # Functions return the body, or a tuple of body and content type.
    body, media = result if isinstance(result, tuple) else (result, None)
    if isinstance(body, Iterator):
        chunks: bytes | Iterator[bytes] = (one.encode() if isinstance(one, str) else bytes(one) for one in body)
        media = media or (accept if "*" not in accept else "application/octet-stream")
    else:
        chunks, guessed = encode(body, media or accept)
        media = media or guessed
    return ModelResponse(
        body=chunks, content_type=context.response_content_type or media, headers=dict(context.response_headers)
    )


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], context: Context, *, required: int) -> Any:
    try:
        takes = len(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin function without a signature
        takes = required
    return function(*arguments, context) if takes > required else function(*arguments)


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
        return Model(directory, {})
    sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        raise UnsupportedModelError(f"{script.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    wanted = ("model_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")
    return Model(directory, {one: getattr(module, one) for one in wanted if hasattr(module, one)})


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
