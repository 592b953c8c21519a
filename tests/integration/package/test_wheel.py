"""The wheel in a clean environment: the README answers, and the notebooks run (slow: it installs packages)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from scripts.notebooks import execute, problems
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
NOTEBOOKS = ["first_hour", "many_tenants", "hot_model", "batch_scoring", "operating"]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its extras and a notebook kernel."""
    folder = tmp_path_factory.mktemp("wheel")
    run = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(run, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    python = folder / "env" / "bin" / "python"
    extras = "local,sklearn,pandas,planning,plot,progress"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[{extras}]", "ipykernel"], check=True)
    return python


def test_the_readme_answers(python: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


@pytest.mark.filterwarnings("ignore")  # ipykernel leaves sockets and sub-process watchers open in its own process
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kernels = tmp_path / "kernels"
    subprocess.run(
        [python, "-m", "ipykernel", "install", "--prefix", str(kernels), "--name", "wheel"],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("JUPYTER_PATH", str(kernels / "share" / "jupyter"))
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    notebook = nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)
    assert problems(execute(notebook, folder=tmp_path, kernel="wheel")) == []
