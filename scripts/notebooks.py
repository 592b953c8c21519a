"""Execute the notebooks of `examples/` and store their outputs: `python scripts/notebooks.py [NAME …]`.

The outputs are for readers on the web. The tests execute the notebooks again and compare.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parent.parent / "examples"


def execute(notebook: Any, *, folder: Path, kernel: str = "python3") -> Any:
    """Execute a notebook in place.

    Args:
        notebook: The notebook.
        folder: Working directory of its kernel.
        kernel: Name of the kernel.

    Returns:
        The notebook, with outputs, without times and counts of executions.
    """
    NotebookClient(notebook, timeout=300, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _as_shown(cell.outputs)
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
    return notebook


def _as_shown(outputs: list[Any]) -> list[Any]:
    """Join consecutive outputs of a stream, and drop the lines that a carriage return has replaced."""
    shown: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and shown and shown[-1].get("name") == output.name:
            shown[-1].text += output.text
        else:
            shown.append(output)
    for output in shown:
        if output.output_type == "stream":
            lines = output.text.split("\n")
            output.text = "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines)
    return shown


def problems(notebook: Any) -> list[str]:
    """Return what a reader must not see in an executed notebook: errors, text on stderr, walls of text."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            text = output.get("text", "") or str(output.get("data", {}).get("text/plain", ""))
            if output.output_type == "error":
                found.append(f"cell {number}: {output.ename}: {output.evalue}")
            if output.get("name") == "stderr":
                found.append(f"cell {number} on stderr: {text}")
            if text.count("\n") > 30:
                found.append(f"cell {number}: {text.count(chr(10))} lines")
    return found


def main(names: list[str]) -> int:
    """Execute the named notebooks, or all; return 1 if one has a problem."""
    status = 0
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        with contextlib.suppress(CellExecutionError):  # it is among the problems
            execute(notebook, folder=FOLDER)
        found = problems(notebook)
        print(path.name, *(found or ["executed"]), sep="\n  ")
        if found:
            status = 1
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
