"""The tasks of CONTRIBUTING.md that a reader of the site must find."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

_ROW = re.compile(
    r"^\| (?P<task>[^|]+\?) \| (?P<words>[^|]+) \| `docs/(?P<page>[^`]+)\.md` \|(?P<source> .+ \|)?$", re.MULTILINE
)


def tasks() -> list[tuple[str, str, str]]:
    """Return task, search words, and page without its suffix, of each row of the table."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, table = text.partition("## Tasks, and the search that finds them")
    return [(row["task"], row["words"], row["page"]) for row in _ROW.finditer(table.partition("\n## ")[0])]
