"""Filter patterns of CloudWatch Logs for unstructured text.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mme_sdk.local.wire.errors import ApiError

__all__ = ["parse_pattern"]

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)')


def parse_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a function that returns whether a message matches a pattern.

    A message matches if it contains every term, at least one of the terms with `?` if there are any, and no term with
    `-`. Terms are case-sensitive. A term with other characters than letters, digits and `_` needs quotes on AWS.

    Args:
        pattern: The pattern. An empty one matches every message.

    Raises:
        ApiError: InvalidParameterException. The pattern is invalid, or is for JSON, columns or a regular expression.
    """
    text = pattern.strip()
    if text[:1] in ("{", "[", "%"):
        raise ApiError(
            "InvalidParameterException",
            "Only filter patterns of terms are supported by the embedded SageMaker, not those for JSON, columns or "
            "regular expressions.",
        )
    terms: dict[str, list[str]] = {"": [], "?": [], "-": []}
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise ApiError("InvalidParameterException", f"Invalid filter pattern: {pattern!r}.")
        quoted, plain = found[2], found[3]
        terms[found[1]].append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    required, optional, excluded = terms[""], terms["?"], terms["-"]

    def matches(message: str) -> bool:
        return (
            all(term in message for term in required)
            and (not optional or any(term in message for term in optional))
            and not any(term in message for term in excluded)
        )

    return matches
