"""What `mme --help` imports: its start does not wait for packages that it does not use."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from mme_sdk.cli.__main__ import main
code = main(["--help"])
heavy = {"boto3", "botocore", "pydantic", "pandas", "numpy", "rich", "yaml", "tenacity", "aiohttp"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or code)
"""


def test_the_help_imports_no_heavy_package() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
