"""The files of a release have the same bytes each time, and a valid description (slow: it builds three times)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
PROGRAM = """
import json
import sys
from pathlib import Path
from scripts.release import ELSEWHERE, bill_of_materials, build, check_files, copy, last_commit

out = Path(sys.argv[1])
first = build(out / "first", last_commit())
second = build(out / "second", last_commit(), copy(out), umask=0o077, **ELSEWHERE)
check_files(first, second)
other = build(out / "other", last_commit() + 2)
assert other != first, "the time of the files does not reach the archives"
(wheel,) = (out / "first").glob("*.whl")
bill = json.loads(bill_of_materials(wheel, last_commit()))
assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "mme-sdk")
"""


def test_two_builds_are_equal_and_twine_accepts_them(tmp_path: Path) -> None:
    subprocess.run(["make", "--silent", ".venv-release/.done"], cwd=ROOT, check=True)
    python = str(ROOT / ".venv-release" / "bin" / "python")
    subprocess.run([python, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, check=True)
    files = [str(path) for path in (tmp_path / "first").iterdir()]
    subprocess.run([python, "-m", "twine", "check", "--strict", *files], check=True)
