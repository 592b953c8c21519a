"""The table of profiles and content types in docs/local.md is what the containers answer."""

from __future__ import annotations

import re

import pytest

from tests.support.containers import profile_table


def test_the_page_lists_what_the_profiles_declare() -> None:
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in profile_table.written().splitlines())
    assert head == ["", *(one.name for one in profile_table.profiles())]
    types = [row for row in rows if not row[0].startswith("Accept")]
    assert [row[0].strip("`") for row in types] == list(profile_table.TYPES)
    for at, profile in enumerate(profile_table.profiles(), 1):
        if profile.accepts:
            shown = {row[0].strip("`") for row in types if re.search(r"\byes\b", row[at])}
            assert shown == set(profile.accepts) & set(profile_table.TYPES), profile.name
        answered = {media for row in rows if row[0].startswith("Accept") for media in re.findall(r"`(.+?)`", row[at])}
        assert answered <= set(profile.answers or answered), profile.name
        first = next(row for row in rows if row[0] == "Accept: `*/*`")
        defaults = {profile.default_answer(multi_model=many) for many in (True, False)}
        assert set(re.findall(r"`(.+?)`", first[at])) == defaults, profile.name


@pytest.mark.slow
def test_the_page_is_what_containers_answer() -> None:
    assert profile_table.seen() == profile_table.written()
