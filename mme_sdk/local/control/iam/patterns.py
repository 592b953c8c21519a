"""Patterns of policies: the wildcards `*` and `?`, and policy variables such as `${aws:username}`.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import attrs

__all__ = ["Context", "ResourcePattern", "compile_pattern", "matches_arn", "substitute"]

Context: TypeAlias = Mapping[str, Sequence[str]]
"""The values of each condition key of a request. The keys are in lower case."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_DEFAULT = re.compile(r"\s*([^,\s]+)\s*,\s*'([^']*)'\s*")
_SPECIAL = {"*": "*", "?": "?", "$": "$"}
# A wildcard inside the value of a variable is an ordinary character. These characters occur in no value of a request.
_LITERAL = {"*": "\ue000", "?": "\ue001"}
_WILDCARDS = {"*": ".*", "?": "."}
_PARTS = 6  # arn:partition:service:region:account:resource


def substitute(pattern: str, context: Context) -> str | None:
    """Return a pattern with its policy variables replaced by their values.

    Args:
        pattern: The pattern.
        context: Values of the condition keys.

    Returns:
        The pattern. None if a variable has no value, or several: then the pattern matches nothing.
    """
    missing = False

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        name, default = found[1], None
        if with_default := _DEFAULT.fullmatch(name):
            name, default = with_default[1], with_default[2]
        if name in _SPECIAL:
            return _LITERAL.get(name, name)
        values = context.get(name.strip().lower(), ())
        if len(values) != 1 and default is None:
            missing = True
            return ""
        text = values[0] if len(values) == 1 else default or ""
        return "".join(_LITERAL.get(letter, letter) for letter in text)

    replaced = _VARIABLE.sub(value, pattern) if "${" in pattern else pattern
    return None if missing else replaced


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern with the wildcards `*` and `?`."""
    literal = {mark: re.escape(wildcard) for wildcard, mark in _LITERAL.items()}
    text = "".join(_WILDCARDS.get(one) or literal.get(one) or re.escape(one) for one in re.sub(r"\*+", "*", pattern))
    return re.compile(text, re.DOTALL)


def matches_arn(pattern: str, arn: str) -> bool:
    """Return whether an ARN matches a pattern. Each of the six parts of the ARN is compared with its own part."""
    parts, given = pattern.split(":", _PARTS - 1), arn.split(":", _PARTS - 1)
    if pattern == "*":
        return True
    return len(parts) == len(given) and all(
        compile_pattern(part).fullmatch(one) is not None for part, one in zip(parts, given, strict=True)
    )


@attrs.frozen
class ResourcePattern:
    """A value of the element Resource.

    Attributes:
        text: The pattern.
        variables: Whether policy variables are replaced.
    """

    text: str
    variables: bool = attrs.field(kw_only=True)

    def matches(self, resource: str, context: Context) -> bool:
        """Return whether a resource matches. An operation without a resource has the resource `*`."""
        pattern = substitute(self.text, context) if self.variables else self.text
        return pattern is not None and matches_arn(pattern, resource)
