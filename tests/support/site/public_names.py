"""The public names that tests/public_api.txt promises."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

_NAME = re.compile(r"^(?:class |def |async def |module )?(\w+)", re.MULTILINE)


def promised() -> list[tuple[str, str]]:
    """Package and name of each public name of the snapshot of the public API."""
    sections = re.split(
        r"^\[(.+)\]\n", (ROOT / "tests" / "public_api.txt").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return [
        (package, name)
        for package, text in zip(sections[1::2], sections[2::2], strict=True)
        for name in _NAME.findall(text)
    ]
