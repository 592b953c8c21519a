"""The messages of mistakes are those of the page, short, and say what to do."""

from __future__ import annotations

import re

import pytest

from tests.support.first_hour.mistakes import MISTAKES, PAGE, messages, page
from tests.support.first_hour.world import FirstHour

# What a message says to do if it has no second line: what the argument must be, or what is there instead.
_ADVICE = re.compile(
    r"\n|must\b|cannot exceed|exclude each other|has no variant .* it has|is greater than|only asynchronous"
)
_PRIVATE = re.compile(r"(?<![\w./-])_[a-z]\w*\(|\b(?:botocore\.|urllib3|pydantic\.|tenacity)")


@pytest.fixture(scope="module")
def found(first_hour: FirstHour) -> dict[str, dict[str, str]]:
    return messages(first_hour)


def test_the_page_has_the_messages_that_come(found: dict[str, dict[str, str]]) -> None:
    assert sum(map(len, MISTAKES.values())) >= 80
    text, written = page(found), PAGE.read_text()
    others = [line for line in text.splitlines() if line not in written]
    assert (others, text == written) == ([], True), "run: python -m tests.support.first_hour.mistakes --write"


def test_each_message_is_short_and_says_what_to_do(found: dict[str, dict[str, str]]) -> None:
    for section in found.values():
        for code, text in section.items():
            assert len(text.splitlines()) <= 3, f"{code}: {text}"  # AWS's request id may be the fourth line
            assert _ADVICE.search(text), f"{code}: {text}"
            assert not _PRIVATE.search(text), f"{code}: {text}"
