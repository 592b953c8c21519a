"""The programs of examples/scale score their table on a laptop."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "examples" / "scale"
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
from {module} import main
from laptop import table

if __name__ == "__main__":
    scored, given = main(), table()
    assert list(scored.columns) == ["id", "tenant", "prediction", "error", "error_type"], scored.columns
    assert scored["id"].tolist() == given["id"].tolist()
    assert scored["error"].isna().all(), scored["error"].dropna().iloc[0]
    expected = [amount * (7 * row % 5) for row, amount in zip(given["id"], given["amount"])]
    assert scored["prediction"].tolist() == expected
    print("scored", len(scored))
"""


def run(module: str, folder: Path, *, before: list[str] | None = None) -> None:
    """Run the example of a module in a process of its own, and check each of its rows."""
    program = folder / "check.py"
    program.write_text(CHECK.format(module=module))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["RAY_raylet_start_wait_time_s"] = "300"  # Ray gives up after 30 s, which a busy machine may need
    command = [*(before or []), sys.executable, str(program), str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "scored 1000"


def test_processes_score_the_table(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run("processes_table", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "package"), [("dask_table", "distributed"), ("spark_table", "pyspark")])
def test_an_engine_scores_the_table(module: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make scale installs it into .venv-scale")
    run(module, tmp_path)


@pytest.mark.slow
def test_ray_scores_the_table(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: make scale installs it into .venv-scale")
    own_network = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "ray"]
    if subprocess.run([*own_network, "true"], capture_output=True, check=False).returncode:
        pytest.skip("Ray listens on all interfaces, and a network namespace is not permitted here")
    run("ray_table", tmp_path, before=own_network)
