"""The SDK besides the embedded SageMaker works without what only POSIX systems have, as on Windows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.transport.behaviours import BEHAVIOURS
from tests.support.transport.server import ACCESS, REGION, SECRET, LoopbackServer


def test_the_sdk_works_without_posix(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
    }
    with LoopbackServer(BEHAVIOURS) as server:
        command = [sys.executable, "-m", "tests.support.systems.without_posix", server.url, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (modules,) = re.findall(r"^(\d+) modules$", done.stdout, re.MULTILINE)
    assert int(modules) > 300  # the program has found them
