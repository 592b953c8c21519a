"""Import a program of examples/ by its path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ["load_file"]


def load_file(path: Path) -> Any:
    """Import a file as a module. It is not kept in `sys.modules`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # FastAPI resolves the annotations of the functions there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module
