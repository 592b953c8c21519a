"""The example notebook runs without an error and gives its stored results."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.paths import ROOT

NOTEBOOK = ROOT / "examples" / "planning.ipynb"


def texts(notebook):
    return "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


# ipykernel leaves sockets and sub-process watchers open in its own process.
@pytest.mark.filterwarnings("ignore")
def test_the_worked_example_runs(monkeypatch, tmp_path):
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    stored = nbformat.read(NOTEBOOK, as_version=4)
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(fresh, timeout=300, kernel_name="python3").execute()
    expected, actual = texts(stored), texts(fresh)
    for known in (r"best is (shared: \d+ x [\w.]+)", r"(keeping 60 models warm raises the cold rate)"):
        assert re.search(known, expected).group(1) == re.search(known, actual).group(1)
    assert pictures(fresh) == pictures(stored) > 2
    assert not any(output.output_type == "error" for cell in fresh.cells for output in cell.get("outputs", []))
