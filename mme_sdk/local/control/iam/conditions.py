"""The element Condition of policies.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from mme_sdk.local.control.iam.patterns import Context, compile_pattern, matches_arn, substitute

__all__ = ["Context", "check_condition", "condition_holds"]

_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?")
_PLAIN = {"\ue000": "*", "\ue001": "?"}  # `substitute` writes them for wildcards that are ordinary characters


def _number(text: str) -> float:
    return float(text)


def _moment(text: str) -> float:
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def _plain(pattern: str) -> str:
    return "".join(_PLAIN.get(letter, letter) for letter in pattern)


def _in_network(value: str, network: str) -> bool:
    return ipaddress.ip_address(value) in ipaddress.ip_network(network, strict=False)


# Each function gets the value of the request and the value of the policy. It raises ValueError for a wrong type.
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == _plain(wanted),
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == _plain(wanted).lower(),
    "StringLike": lambda value, wanted: compile_pattern(wanted).fullmatch(value) is not None,
    "NumericEquals": lambda value, wanted: _number(value) == _number(wanted),
    "NumericLessThan": lambda value, wanted: _number(value) < _number(wanted),
    "NumericLessThanEquals": lambda value, wanted: _number(value) <= _number(wanted),
    "NumericGreaterThan": lambda value, wanted: _number(value) > _number(wanted),
    "NumericGreaterThanEquals": lambda value, wanted: _number(value) >= _number(wanted),
    "DateEquals": lambda value, wanted: _moment(value) == _moment(wanted),
    "DateLessThan": lambda value, wanted: _moment(value) < _moment(wanted),
    "DateLessThanEquals": lambda value, wanted: _moment(value) <= _moment(wanted),
    "DateGreaterThan": lambda value, wanted: _moment(value) > _moment(wanted),
    "DateGreaterThanEquals": lambda value, wanted: _moment(value) >= _moment(wanted),
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "IpAddress": _in_network,
    "ArnEquals": lambda value, wanted: matches_arn(wanted, value),
    "ArnLike": lambda value, wanted: matches_arn(wanted, value),
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def check_condition(operator: str, keys: Mapping[str, Sequence[str]]) -> str | None:
    """Return why an operator or its values are invalid; None if they are valid.

    Args:
        operator: Operator, such as `ForAnyValue:StringLikeIfExists`.
        keys: Values by condition key.
    """
    found = _OPERATOR.fullmatch(operator)
    name = found[2] if found else operator
    if found is None or not (name in _TESTS or name in _NEGATED or (name == "Null" and not found[3])):
        return f"Invalid Condition type : {operator}"
    for key, values in keys.items():
        if ":" not in key:
            return f"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc., not {key!r}"
        if name in ("Bool", "Null") and any(one.lower() not in ("true", "false") for one in values):
            return f"Invalid value for {operator} {key}: it must be true or false."
        if name.startswith(("Numeric", "Date")) or name.endswith("IpAddress"):
            read = _number if name.startswith("Numeric") else _moment if name.startswith("Date") else _network
            for one in values:
                try:
                    read(one)
                except ValueError:
                    return f"Invalid value for {operator} {key}: {one!r}."
    return None


def _network(text: str) -> object:
    return ipaddress.ip_network(text, strict=False)


def condition_holds(condition: Mapping[str, Mapping[str, Sequence[str]]], context: Context, *, variables: bool) -> bool:
    """Return whether every operator of a condition block holds for every key.

    Args:
        condition: Operator, key, values.
        context: Values of the condition keys of the request.
        variables: Whether policy variables in the values are replaced.
    """
    return all(
        _key_holds(operator, context.get(key.lower()), _replaced(values, context) if variables else values)
        for operator, keys in condition.items()
        for key, values in keys.items()
    )


def _replaced(values: Sequence[str], context: Context) -> list[str]:
    return [value for value in (substitute(one, context) for one in values) if value is not None]


def _key_holds(operator: str, given: Sequence[str] | None, wanted: Sequence[str]) -> bool:
    found = _OPERATOR.fullmatch(operator)
    assert found is not None, operator  # `check_condition` accepted it
    quantifier, name, if_exists = found.groups()
    if name == "Null":
        return any((one.lower() == "true") is (given is None) for one in wanted)
    negated = name in _NEGATED
    test = _TESTS[_NEGATED.get(name, name)]
    if given is None:
        # A missing key has no value that could be equal, so a negated operator holds.
        return bool(if_exists) or quantifier == "ForAllValues" or (negated and quantifier is None)

    def matches(value: str) -> bool:
        return any(_holds(test, value, one) for one in wanted)

    if quantifier == "ForAllValues":
        return all(matches(value) is not negated for value in given)
    if quantifier == "ForAnyValue":
        return any(matches(value) is not negated for value in given)
    return any(map(matches, given)) is not negated


def _holds(test: Callable[[str, str], bool], value: str, wanted: str) -> bool:
    try:
        return test(value, wanted)
    except ValueError:
        return False
