"""The diagrams of the pages are those that scripts/diagrams.py draws from the code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mme_sdk.endpoints.operations.replace_fleet import _BUSY
from mme_sdk.runtime.retry.answers import ErrorKind
from scripts import diagrams
from tests.support.paths import ROOT

DRAWN = diagrams.drawings()
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_a_picture_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == DRAWN[path], "python scripts/diagrams.py"


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_a_picture_has_a_text_alternative_and_is_in_a_page(path: Path) -> None:
    root = ElementTree.fromstring(DRAWN[path])
    assert root.get("role") == "img"
    named = {one.get("id"): one.text for one in root if one.tag in {f"{SVG}title", f"{SVG}desc"}}
    assert all(named[name] for name in (root.get("aria-labelledby") or "").split())
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert re.search(rf"!\[[^\]]{{30,}}\]\(images/{path.name}\)", pages)


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_no_text_leaves_its_box(path: Path) -> None:
    for one in ElementTree.fromstring(DRAWN[path]).iter(f"{SVG}text"):
        wide = len(one.text or "") * (6.8 if one.get("class") else 7.9)
        left = float(one.get("x", "0")) - (wide / 2 if one.get("text-anchor") == "middle" else 0)
        assert left >= 0
        assert left + wide <= diagrams.WIDTH


def test_the_kinds_of_answers_are_those_of_the_code() -> None:
    assert list(diagrams.reactions()) == [kind.name for kind in ErrorKind]
    assert all(diagrams.reactions().values())


def test_the_modules_of_the_steps_exist() -> None:
    for _, where in diagrams.STEPS:
        folder = Path()
        for name in where.split(", "):
            path = Path(name)
            folder = path.parent if len(path.parts) > 1 else folder
            assert (ROOT / "mme_sdk" / folder / path.name).is_file(), name


def test_each_change_is_between_known_statuses_and_none_in_progress_is_a_dead_end() -> None:
    assert {name for change in diagrams.CHANGES for name in change} <= set(diagrams.PLACES)
    assert {one for one, _ in diagrams.CHANGES} | {"Deleting"} == {"InService"} | set(_BUSY)


def test_a_status_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(diagrams.PLACES, "OutOfService")
    with pytest.raises(ValueError, match="OutOfService"):
        diagrams.statuses()
