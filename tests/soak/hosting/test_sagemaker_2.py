"""The `sagemaker` 2 package drives the host unmodified: its MultiDataModel only gets the addresses."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from mme_sdk.artifacts import pack
from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.hosting.harness import ECHO
from tests.support.paths import SUPPORT

OUTSIDE = Path(os.environ.get("MME_SAGEMAKER2_PYTHON", ".venv-sagemaker2/bin/python")).absolute()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OUTSIDE.exists(), reason=f"{OUTSIDE} is absent: make sagemaker2"),
]


def test_multi_data_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "inference.py").write_text(ECHO)
        (folder / "name").write_text(name)
        out = io.BytesIO()
        pack(folder, out)
        (tmp_path / f"{name}.tar.gz").write_bytes(out.getvalue())
    with LocalSageMaker(control=ControlSettings(provisioning=0.05, deletion=0.02, wait_scale=0.001)) as host:
        home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(
            [OUTSIDE, SUPPORT / "hosting" / "with_sagemaker_2.py", tmp_path],
            env={**home, **host.environ()},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("done")
