"""The `sagemaker<3` package's MultiDataModel works against the host, unmodified: only the environment says where it is.

It is run by the interpreter named by `MME_SAGEMAKER2_PYTHON` (`python -m venv .venv-sagemaker2` and
`pip install 'sagemaker<3'` make one), since its 60 dependencies are at odds with newer tools.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from .helpers import archive

OUTSIDE = Path(os.environ.get("MME_SAGEMAKER2_PYTHON", ".venv-sagemaker2/bin/python"))
JOB = Path(__file__).with_name("multi_data_model.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OUTSIDE.exists(), reason=f"no interpreter with sagemaker<3 at {OUTSIDE}"),
]


def test_add_deploy_predict_list_update_and_delete(local, bucket, tmp_path):
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "SAGEMAKER_SUPPRESS_V2_WARNING": "1", **local.environ()}
    archives = [tmp_path / "double.tar.gz", tmp_path / "triple.tar.gz"]
    for path, factor in zip(archives, (2, 3), strict=True):
        path.write_bytes(archive(factor))
    done = subprocess.run(
        [str(OUTSIDE.absolute()), str(JOB), bucket, *map(str, archives)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert said["added"] == f"s3://{bucket}/models/double.tar.gz"
    assert (said["first"], said["second"], said["after"]) == ([2, 4], [3, 6], [10])
    assert said["listed"] == ["double.tar.gz", "more/triple.tar.gz"]
    assert said["counts"] == [2]
