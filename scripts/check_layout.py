"""Check that the package has no import circle, at most 13 files in a folder, and at most 450 lines in a file.

Imports for type checking count. A longer file is accepted where its docstring says why ("One file because …").
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent / "mme_sdk"
FILES, LINES = 13, 450


def circles() -> list[str]:
    """Return the description of one import circle, or an empty list."""
    graph = grimp.build_graph("mme_sdk", exclude_type_checking_imports=False, cache_dir=None)
    try:
        TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
    except CycleError as error:
        return ["imports form a circle: " + " <- ".join(error.args[1])]
    return []


def sizes() -> list[str]:
    """Return the folders with too many files, and the files with too many lines."""
    found = []
    for folder in sorted({path.parent for path in ROOT.rglob("*.py")}):
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        if count > FILES:
            found.append(f"{folder.relative_to(ROOT.parent)}: {count} files, at most {FILES}")
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > LINES and "One file because" not in (ast.get_docstring(ast.parse(text)) or ""):
            found.append(f"{path.relative_to(ROOT.parent)}: {lines} lines, at most {LINES}")
    return found


if __name__ == "__main__":
    problems = [*circles(), *sizes()]
    print("\n".join(problems) or "layout: no circle, no folder and no file too large")
    sys.exit(bool(problems))
