"""Single flight across processes, by leases in a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mme_sdk.errors import ConfigurationError
from mme_sdk.runtime.cold_start.leases import FileLeases

WORKER = """
import sys
from mme_sdk.runtime.cold_start.leases import FileLeases
leases = FileLeases(sys.argv[1])
taken = [number for number in range(200) if leases.take("e", f"m{number}", seconds=600)]
print(len(taken))
"""


def test_a_model_is_leased_once(tmp_path: Path) -> None:
    now = [1000.0]
    mine = FileLeases(tmp_path / "leases", now=lambda: now[0])
    other = FileLeases(tmp_path / "leases", now=lambda: now[0])
    assert mine.take("e", "m", seconds=60)
    assert not other.take("e", "m", seconds=60)
    assert other.take("e", "n", seconds=60)
    assert other.take("f", "m", seconds=60)
    mine.drop("e", "m")
    assert other.take("e", "m", seconds=60)


def test_a_lease_of_a_process_that_died_expires(tmp_path: Path) -> None:
    now = [1000.0]
    dead = FileLeases(tmp_path / "leases", now=lambda: now[0])
    other = FileLeases(tmp_path / "leases", now=lambda: now[0])
    assert dead.take("e", "m", seconds=60)
    now[0] += 30
    dead.keep("e", "m", seconds=60)
    now[0] += 59
    assert not other.take("e", "m", seconds=60)
    now[0] += 2
    assert other.take("e", "m", seconds=60)
    # The process was only slow. It must not release a lease that another process holds now.
    dead.drop("e", "m")
    assert not FileLeases(tmp_path / "leases", now=lambda: now[0]).take("e", "m", seconds=60)


def test_concurrent_processes_acquire_each_lease_once(tmp_path: Path) -> None:
    path = str(tmp_path / "leases")
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, path], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    taken = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sum(taken) == 200


def test_an_unusable_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot use"):
        FileLeases(tmp_path / "absent" / "leases").take("e", "m", seconds=1)
