"""The handler of AWS Multi Model Server: runs `code/inference.py` as SageMaker's toolkits do.

The interpreter of Multi Model Server runs this file, so that it imports nothing of this package.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["handle"]

_LOADED: dict[str, Any] = {}


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """Serve one request. The first call in a process loads the model."""
    if "script" not in _LOADED:
        # Multi Model Server answers 507 to a MemoryError of a handler function; with a handler class it does not.
        _LOADED["script"], _LOADED["model"] = _load(context.system_properties["model_dir"], context)
    if data is None:
        return None
    script, model = _LOADED["script"], _LOADED["model"]
    body = data[0].get("body", b"")
    body = body.encode() if isinstance(body, str) else bytes(body)
    content_type = context.get_request_header(0, "Content-Type")
    accept = context.get_request_header(0, "Accept") or "*/*"
    if hasattr(script, "transform_fn"):
        result = _call(script.transform_fn, (model, body, content_type, accept), context)
    else:
        rows = (
            _call(script.input_fn, (body, content_type), context) if hasattr(script, "input_fn") else json.loads(body)
        )
        prediction = _call(script.predict_fn, (rows, model), context)
        if hasattr(script, "output_fn"):
            result = _call(script.output_fn, (prediction, accept), context)
        else:
            result = json.dumps(prediction), "application/json"
    if isinstance(result, tuple):
        result, kind = result
        context.set_response_content_type(0, kind)
    return [result]


def _load(directory: str, context: Any) -> tuple[Any, Any]:
    folder = Path(directory, "code")
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("inference", folder / "inference.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no inference.py in {folder}")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script, _call(script.model_fn, (directory,), context)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], context: Any) -> Any:
    more = len(inspect.signature(function).parameters) > len(arguments)
    return function(*arguments, context) if more else function(*arguments)
