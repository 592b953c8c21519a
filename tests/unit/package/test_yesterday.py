"""Which changes of a signature break a caller, and which removals the policy allows."""

from __future__ import annotations

import pytest

from scripts.yesterday import PolicyError, allowed, differences, lost, names, public_tests
from tests.support.paths import ROOT

ENTRY = '[[removed]]\nname = "mme_sdk:a"\ndeprecated = "{since}"\nremoved = "{until}"\nuse = "mme_sdk:b"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(a, b)", "(a, b, c=1)"),
        ("(a, *, b=(1, 2))", "(a, *, c='x, y', b=(1, 2))"),
        ("(a: 'int' = 1)", "(a: 'int | None' = 1)"),
        ("(a: 'dict[str, int]', *, b: 'Callable[[int], str]' = None)", "(a, *, b=None)"),
        ("(a, /)", "(a)"),
        ("(a, *, b=1)", "(a, b=1)"),
        ("(*, b=1)", "(**b_and_more)"),
        ("(a) -> 'tuple[int, str]'", "(a) -> 'list[str]'"),
        ("(a: \"Literal['x', 'y']\" = 'x')", "(a: 'str' = 'x')"),
    ],
)
def test_old_calls_work(before: str, after: str) -> None:
    assert lost(before, after) is None


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("(a, b)", "(a)", "the parameter b is gone"),
        ("(a, b)", "(b, a)", "the parameter a is no longer at position 1"),
        ("(a, b=1)", "(a, *, b=1)", "the parameter b is no longer at position 2"),
        ("(a, b)", "(a, /, b)", "the parameter a can no longer be passed by name"),
        ("(a=1)", "(a=2)", "the default of a was 1, and is 2"),
        ("(a: 'int' = 1)", "(a: 'int')", "the default of a was 1, and is none"),
        ("(a)", "(a, b)", "the new parameter b has no default"),
        ("(a)", "(a, *, b: 'int')", "the new parameter b has no default"),
        ("(*items)", "(items)", r"the parameter \*items is gone"),
        ("(a)", "(**options)", "the parameter a is gone"),
        ("(a: \"Literal['x', 'y']\" = 'x')", "(a: 'str' = 'y')", "the default of a was 'x', and is 'y'"),
    ],
)
def test_broken_calls_are_found(before: str, after: str, why: str) -> None:
    assert lost(before, after) == why.replace("\\", "")


@pytest.mark.parametrize(
    ("since", "until"), [("0.3.0", "0.5.0"), ("0.3.1", "0.6.0"), ("0.9.0", "1.0.0"), ("1.4.0", "2.0.0")]
)
def test_the_policy_allows_a_removal(since: str, until: str) -> None:
    assert allowed(ENTRY.format(since=since, until=until)) == {"mme_sdk:a"}


@pytest.mark.parametrize(
    ("since", "until"), [("0.3.0", "0.4.0"), ("0.3.9", "0.4.9"), ("1.4.0", "1.6.0"), ("1.4.0", "2.1.0")]
)
def test_the_policy_refuses_an_early_removal(since: str, until: str) -> None:
    with pytest.raises(PolicyError, match=f"deprecated in {since} and cannot be removed in {until}"):
        allowed(ENTRY.format(since=since, until=until))


@pytest.mark.parametrize("text", ['[[removed]]\nname = "mme_sdk:a"\n', ENTRY.format(since="0.3", until="0.5.0")])
def test_an_incomplete_entry_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        allowed(text)


def test_the_entries_of_today_follow_the_policy() -> None:
    allowed((ROOT / "tests" / "deprecations.toml").read_text(encoding="utf-8"))


def test_the_public_api_does_not_differ_from_itself() -> None:
    snapshot = (ROOT / "tests" / "public_api.txt").read_text(encoding="utf-8")
    # All of it takes seconds: test_public_api.py compares the whole text.
    errors = snapshot.partition("[mme_sdk.errors]")[2].partition("\n[")[0]
    part = f"[mme_sdk.errors]{errors}"
    assert len(list(names(part))) > 20
    assert differences(part) == []
    assert differences(part.replace("StorageError(MMEError)", "StorageError(MMEError, OSError)")) == [
        ("mme_sdk.errors:StorageError", "OSError is no longer a base class of it")
    ]
    gone = part.replace("class MissingExtraError", "class NoSuchError")
    assert differences(gone) == [("mme_sdk.errors:NoSuchError", "it is gone")]


def test_the_tests_of_public_names_are_found() -> None:
    found = public_tests(ROOT, "tests/unit/core")
    assert "tests/unit/core/test_errors.py" in found
    assert "tests/unit/core/test_deprecation.py" not in found  # it imports mme_sdk._deprecation
