"""Run the Python examples of docs/local.md."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "local.md"
SNIPPETS = [one for one in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "conftest" not in one]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda one: one.split("\n", 1)[0])
def test_snippet(snippet):
    exec(compile(snippet, str(PAGE), "exec"), {})


def test_there_are_snippets():
    assert len(SNIPPETS) == 4
