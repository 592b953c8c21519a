"""No test waits on a wall clock: `time.sleep` and `asyncio.sleep` are called with nothing but 0."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.support.paths import ROOT

# Also in strings: scripts of models and programs that a test runs.
_SLEEP = re.compile(
    r"\b(?:time|asyncio)\.sleep\((?!0\))(?P<seconds>.*)"
    r"|\bEvent\(\)\.wait\((?P<wait>(?:timeout=)?[0-9].*)"
    r"|\bfrom (?:time|asyncio) import .*\bsleep\b"
)

# Programs that must be slow, since their slowness is what is tried. Each with the number of its sleeps.
ALLOWED = {
    "tests/integration/containers/test_python_container.py": 2,  # models whose processes end slowly
    "tests/integration/planning/test_against_the_host.py": 2,  # a model that takes its time; a trace replayed (slow)
    "tests/support/attack/kill_help.py": 1,  # polls the report of a process that may be killed at any step (slow)
    "tests/support/first_hour/world.py": 1,  # models that load slowly
    "tests/support/runtime/world.py": 2,  # models that load and answer slowly
    "tests/support/transport/behaviours.py": 1,  # a server that drips
}


def sleeps(text: str) -> int:
    """How often a text sleeps for longer than 0 seconds."""
    return len(_SLEEP.findall(text))


def test_no_test_sleeps() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): sleeps(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__)
    }
    assert {name: count for name, count in found.items() if count} == ALLOWED


def test_sleeps_are_found() -> None:
    texts = Counter(
        {
            "await asyncio.sleep(0)": 0,
            "time.sleep(0)": 0,
            "time.sleep(0.01)": 1,
            "await asyncio.sleep(seconds)": 1,
            "threading.Event().wait(0.5)": 1,
            "asyncio.Event().wait()": 0,
            "threading.Event().wait(timeout=3)": 1,
            "from time import monotonic, sleep": 1,
        }
    )
    assert {text: sleeps(text) for text in texts} == texts
