"""Names that a person may have meant: other letter case, other separators, a part of the name, or a slip."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = ["near_names"]

_CUTOFF = 0.6  # of SequenceMatcher.ratio
_CONTAINED = 0.8  # score of a name that contains the other one
_SPREAD = 0.25  # by which a name may be less similar than the most similar one
_SHORTEST = 3  # characters that a contained name has at least
_SUFFIX = re.compile(r"\.(?:tar\.gz|tgz|tar|gz|zip)\Z")
_SEPARATORS = re.compile(r"[^a-z0-9.]+")


def near_names(wanted: str, names: Iterable[str], *, limit: int = 5) -> list[str]:
    """Return the names that are most similar to a name, the most similar first.

    Letter case, separators and the suffix of an archive do not count. A name is also near if only its folder or only
    one of its parts is.

    Args:
        wanted: The name that was given.
        names: The names that exist: keys relative to a prefix, or `name@alias`. Of equally similar names, the first
            ones are returned.
        limit: Largest number of names to return. Default 5.

    Returns:
        The names; empty if none is similar.

    Example:
        >>> near_names("Fraud", ["fraud/v3.tar.gz", "churn/v1.tar.gz", "fraud@live"])
        ['fraud/v3.tar.gz', 'fraud@live']
    """
    matcher = SequenceMatcher(autojunk=False)
    plain = _plain(wanted)
    matcher.set_seq2(plain)
    scored = [(score, name) for name in dict.fromkeys(names) if (score := _score(matcher, plain, name)) >= _CUTOFF]
    scored.sort(key=lambda each: -each[0])  # the sort is stable
    return [name for score, name in scored[:limit] if score >= scored[0][0] - _SPREAD]


def _plain(name: str) -> str:
    return _SEPARATORS.sub("-", _SUFFIX.sub("", name.casefold())).strip("-")


def _score(matcher: SequenceMatcher[str], wanted: str, name: str) -> float:
    whole = _SUFFIX.sub("", name.casefold())
    folder = whole.rpartition("@" if "@" in whole else "/")[0]
    best = 0.0
    for weight, form in ((1.0, whole), (0.95, folder), *((0.9, part) for part in re.split("[/@]", whole))):
        plain = _plain(form)
        if not plain:
            continue
        if plain == wanted:
            best = max(best, weight)
            continue
        if min(len(plain), len(wanted)) >= _SHORTEST and (plain in wanted or wanted in plain):
            best = max(best, _CONTAINED * weight)
        matcher.set_seq1(plain)
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best:
            best = max(best, weight * matcher.ratio())
    return best
