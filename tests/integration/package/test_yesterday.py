"""`make yesterday` finds what of the last release no longer holds, in a small repository with a made-up release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

API = """\
[mme_sdk]
class Endpoint()
    def __init__(self, name: 'str') -> 'None'
    def call(self, body: 'bytes', *, deadline: 'float' = 60) -> 'str'
    property url

"""
CODE = """
class Endpoint:
    def __init__(self, name): self.name = name
    def call(self, body, *, deadline=60): return f"{self.name}:{deadline}"
    @property
    def url(self): return self.name
"""
TEST = """
import pytest

from mme_sdk import Endpoint

@pytest.mark.parametrize("name", ["a", "b"])
def test_call(name): assert Endpoint(name).call(b"") == f"{name}:60"
def test_broken_machine(): assert False
"""
INTERNAL = "from mme_sdk._inner import gone\ndef test_inner(): assert gone()\n"
ALLOWED = '[[removed]]\nname = "{name}"\ndeprecated = "0.1.0"\nremoved = "{removed}"\nuse = "another"\n'


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tag v0.1.0."""
    root = tmp_path_factory.mktemp("release")
    files = {
        "mme_sdk/__init__.py": CODE,
        "mme_sdk/_inner.py": "def gone(): return True\n",
        "tests/__init__.py": "",
        "tests/unit/__init__.py": "",
        "tests/unit/core/__init__.py": "",
        "tests/unit/core/test_call.py": TEST,
        "tests/unit/core/test_inner.py": INTERNAL,
        "tests/public_api.txt": API,
        "tests/deprecations.toml": "",
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow"]\nfilterwarnings = ["error"]\n',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "yesterday.py", root / "scripts")
    git(root, "init", "--quiet")
    commit(root, "0.1.0")
    git(root, "tag", "v0.1.0")
    (root / "mme_sdk" / "_inner.py").unlink()
    commit(root, "0.2.0")
    git(root, "tag", "v0.2.0")  # of today's commit: it is compared with the release before
    return root


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True)


def commit(root: Path, message: str) -> None:
    git(root, "add", "--all", ".")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    git(root, *author, "commit", "--quiet", "--message", message)


def yesterday(root: Path) -> tuple[int, str]:
    """Run it, and return its exit status and what it writes."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "scripts/yesterday.py"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_broken_behaviour_and_a_broken_signature_are_found(release: Path) -> None:
    changed = CODE.replace("deadline=60", "deadline=30").replace("def url", "def address")
    (release / "mme_sdk" / "__init__.py").write_text(changed)
    (release / "tests" / "deprecations.toml").write_text("")
    status, said = yesterday(release)
    assert (status, said.splitlines()) == (
        1,
        [
            "v0.1.0: 4 public names, 1 files of tests",
            "mme_sdk:Endpoint.call: the default of deadline was 60, and is 30",
            "mme_sdk:Endpoint.url: it is gone",
            "tests/unit/core/test_call.py::test_call[a]: AssertionError: assert 'a:30' == 'a:60'",
            "tests/unit/core/test_call.py::test_call[b]: AssertionError: assert 'b:30' == 'b:60'",
            "4 differ. Mend them, or deprecate the names first: tests/deprecations.toml says how.",
        ],
    )


def test_additions_and_allowed_removals_are_no_difference(release: Path) -> None:
    changed = CODE.replace("deadline=60", "deadline=60, model=None").replace("def url", "def address")
    (release / "mme_sdk" / "__init__.py").write_text(changed)
    entry = ALLOWED.format(name="mme_sdk:Endpoint.url", removed="0.3.0")
    (release / "tests" / "deprecations.toml").write_text(entry)
    assert yesterday(release) == (0, "v0.1.0: 4 public names, 1 files of tests\n")
