"""The benchmark runs and writes a table and a plot. Its figures are not checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def test_smoke(tmp_path: Path) -> None:
    rivals = ["boto3", "mme", "mme-async", "mme-async-uvloop", "mme-transport", "mme-transport-async-uvloop", "floor"]
    command = [sys.executable, "benchmarks/invoke.py", "--smoke", "--out", str(tmp_path), "--rivals", *rivals]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "invoke.md").read_text(encoding="utf-8")
    for rival in rivals:
        rows = re.findall(rf"^\| {rival} \| (\d+) \| ([\d.]+) \|", text, re.MULTILINE)
        assert len(rows) == 1
        assert all(int(cpu) > 0 and float(times) > 0 for cpu, times in rows)
    assert (tmp_path / "invoke.png").stat().st_size > 1000
