"""Paths and links in the pages exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"`((?:mme_sdk|tests|docs|scripts|benchmarks|examples|\.github)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [target for target in _LINK.findall(re.sub(r"`[^`\n]*`", "", text)) if not (page.parent / target).exists()]
    paths = [] if page.name == "CHANGELOG.md" else [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    assert not links, f"links to nothing: {links}"
    assert not paths, f"paths of nothing: {paths}"
