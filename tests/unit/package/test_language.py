"""Code and pages use the field's words: none of the words that the first edition used in a sense of its own."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

from tests.support.paths import ROOT

WORDS = {
    r"rooms?(?! for)": "module, package",
    r"doors?": "entry point",
    r"knock(s|ed|ing)?": "probe",
    r"seats?": "place in the queue",
    r"lanes?": "connection pool",
    r"parking|parked": "backup of autoscaling",
    r"back ?door": "admin API",
    r"zygote": "fork server",
    r"tether(s|ed)?|leash": "supervisor",
    r"whoever|whosoever": "the caller, any client",
    r"abreast": "at the same time",
    r"house rules|rules of the house": "rules",
    r"(?<!there )(is|are|was|were) no (?!longer|more|such)[a-z]+": "is not a …",
    r"what is told|is told|are told|told of": "is called with, is reported",
    r"bridge(s|d)?": "http layer",
    r"rides?|riding": "uses",
    r"truth": "model, state",
}
_DIALECT = re.compile(r"\b(" + "|".join(f"(?:{word})" for word in WORDS) + r")\b", re.IGNORECASE)


def prose(path: Path) -> list[tuple[int, str]]:
    """Lines of a page, or the comments and strings of a module, each with its line number."""
    if path.suffix == ".md":
        return list(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    kinds = {tokenize.STRING, tokenize.COMMENT}
    texts = [(token.start[0], token.string) for token in tokens if token.type in kinds]
    return [(start + offset, line) for start, text in texts for offset, line in enumerate(text.splitlines())]


@pytest.mark.parametrize("folder", ["mme_sdk", "docs", "scripts", "examples", "benchmarks"])
def test_no_private_dialect(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r}"
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".md"} and path.is_file()
        for number, line in prose(path)
        if (match := _DIALECT.search(line))
    ]
    assert not found, "\n".join(found)


def test_a_word_of_the_dialect_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The rooms of this floor.\nRoom for more.\nThat is no endpoint name.\nThere is no such archive.\n")
    assert [number for number, line in prose(page) if _DIALECT.search(line)] == [1, 3]
