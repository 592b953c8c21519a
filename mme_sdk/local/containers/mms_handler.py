"""The handler of models on multi-model endpoints: the handler service of AWS's package `sagemaker-inference`.

The interpreter of Multi Model Server runs this file, so that it imports nothing of this package.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["handle"]

_SERVICES: list[Any] = []


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """Serve one request. The first call in a process has no data and loads the model.

    This is a function because Multi Model Server ignores the errors of a handler class during the load. The errors of
    a function are answered 500, and a MemoryError 507.
    """
    if not _SERVICES:
        _SERVICES.append(_load(context))
    answer: list[Any] | None = None if data is None else _SERVICES[0].handle(data, context)
    return answer


def _load(context: Any) -> Any:
    model = Path(context.system_properties["model_dir"])
    # The packages that the host has installed for the model, and code/, as in the handlers of AWS's images.
    packages = model.parent.glob("environment/lib/python*/site-packages")
    for folder in (*map(str, packages), os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", ""), str(model / "code")):
        if folder and Path(folder).is_dir():
            sys.path.insert(0, folder)
    service = importlib.import_module("sagemaker_inference.default_handler_service").DefaultHandlerService()
    service.initialize(context)
    return service
