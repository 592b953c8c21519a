"""Two versions of the pages are published to a repository on this disk (slow: it installs mkdocs and builds twice)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def run(*command: str | Path, at: Path) -> str:
    return subprocess.run(command, cwd=at, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_each_version_has_its_pages_and_the_newest_one_is_shown(tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote.git", tmp_path / "clone"
    run("git", "clone", "--quiet", "--bare", ROOT, remote, at=tmp_path)
    run("git", "clone", "--quiet", remote, clone, at=tmp_path)
    # mike reads the author from the configuration alone.
    run("git", "config", "user.name", "docs", at=clone)
    run("git", "config", "user.email", "docs@example.com", at=clone)
    for version in ("1.2.3", "1.3.0"):
        run("make", "docs-publish", f"VERSION={version}", at=clone)
    versions = json.loads(run("git", "show", "gh-pages:versions.json", at=remote))
    assert [(one["version"], one["aliases"]) for one in versions] == [("1.3.0", ["latest"]), ("1.2.3", [])]
    assert "latest/" in run("git", "show", "gh-pages:index.html", at=remote)
    published = run("git", "ls-tree", "-r", "--name-only", "gh-pages", at=remote).split()
    assert {"1.2.3/index.html", "1.3.0/index.html", "1.3.0/search/search_index.json"} <= set(published)
