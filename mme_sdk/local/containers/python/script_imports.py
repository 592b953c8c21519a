"""Find the libraries that the scripts of an archive import, so that the fork server imports them once."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["script_imports"]

# Large libraries that start no thread when they are imported; others are imported by each model process.
_LIBRARIES = ("joblib", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "skops", "xgboost")
_IMPORT = re.compile(rf"^[ \t]*(?:import|from)[ \t]+({'|'.join(_LIBRARIES)})\b".encode(), re.MULTILINE)
_FILES, _BYTES = 20, 200_000  # read at most so many scripts, and so much of each


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
