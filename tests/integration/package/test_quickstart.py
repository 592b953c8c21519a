"""The demo does what the README promises, and leaves nothing behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def processes_of(folder):
    """Command lines of the processes that were told of this folder, in their arguments or their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            known = command + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in known:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished run of the demo, with a home and a temporary folder of its own."""
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("tmp")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), "LANG": "C.UTF-8"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads wait in a loop, beside other tests
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return finished, home, temporary


def test_it_ends_well_and_complains_of_nothing(demo):
    finished, _, _ = demo
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""


def test_each_tenants_model_answers_cold_and_warm_with_its_accuracy(demo):
    rows = re.findall(
        r"^(tenant-\d\d) +(tenant-\d\d/v1\.tar\.gz) +([\d.]+) +([\d.]+) +([\d.]+)$", demo[0].stdout, re.MULTILINE
    )
    assert [row[0] for row in rows] == [f"tenant-{number:02}" for number in range(1, 13)]
    assert all(row[1] == f"{row[0]}/v1.tar.gz" for row in rows)
    assert all(float(row[4]) > 0.75 for row in rows)
    assert len({row[4] for row in rows}) > 3, "different models, different accuracies"
    colds, warms = sorted(float(row[2]) for row in rows), sorted(float(row[3]) for row in rows)
    assert colds[6] > warms[6], "a cold start costs a load"


def test_the_fleet_is_changed_while_it_serves(demo):
    output = demo[0].stdout
    assert "Added    tenant-13/v1.tar.gz: answered" in output
    assert "Replaced tenant-01/v1.tar.gz by tenant-01/v2.tar.gz" in output
    assert re.search(r"Deleted  tenant-12/v1\.tar\.gz; an invocation of it raises:\n +.*was deleted", output)
    assert "Single   hot: the same model on an endpoint of its own" in output
    assert "Removed  everything: 0 endpoints, 0 models left" in output


def test_nothing_is_left_behind(demo):
    _, home, temporary = demo
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []
    assert list(home.iterdir()) == []
