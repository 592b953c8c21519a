"""What a reader copies from the pages: the keywords of calls in their text exist, and prompts are left out."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mme_sdk
from mme_sdk import config, endpoints, local, planning, runtime
from mme_sdk.registry import ModelRegistry
from tests.support.paths import ROOT

OBJECTS: dict[str, type] = {
    "client": mme_sdk.MMEClient,
    "client.endpoints": endpoints.Endpoints,
    "endpoint": endpoints.Endpoint,
    "models": ModelRegistry,
}
CLASSES = {
    name: getattr(module, name)
    for module in (config, planning, local, runtime, endpoints, mme_sdk)
    for name in module.__all__
    if name[0].isupper()
}


def named(path: str) -> Callable[..., Any] | None:
    """Return the method or class that a call names; None if the pages' names do not include it."""
    owner, _, name = path.rpartition(".")
    if not owner:
        return CLASSES.get(name)
    return getattr(OBJECTS.get(owner) or CLASSES.get(owner), name, None)


def calls(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the functions and keywords of the calls in the inline code of a page; an ellipsis stands for anything."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([\w.]+\([^`]*\))`", text):
        try:
            tree = ast.parse(re.sub(r", …(?=[,)])", "", code).replace("=…", "=...").replace("…", "..."), mode="eval")
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), [one.arg for one in node.keywords if one.arg]


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_keywords_of_calls_in_the_text_exist() -> None:
    checked, wrong = 0, []
    for page in pages():
        if page.name == "errors.md":  # mistakes, which it shows on purpose
            continue
        for path, keywords in calls(page):
            function = named(path)
            if function is None or not keywords:
                continue
            parameters = inspect.signature(function).parameters
            checked += 1
            unknown = [word for word in keywords if word not in parameters]
            if unknown and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
                wrong.append(f"{page.relative_to(ROOT)}: {path}: {', '.join(unknown)}")
    assert wrong == []
    assert checked > 50


def test_prompts_are_in_console_blocks() -> None:
    # The site leaves the prompts of console blocks out of what a reader copies.
    wrong = [
        f"{page.relative_to(ROOT)}: {line}"
        for page in pages()
        for kind, block in re.findall(
            r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        for line in block.splitlines()
        if kind != "console" and line.startswith("$ ")
    ]
    assert wrong == []
