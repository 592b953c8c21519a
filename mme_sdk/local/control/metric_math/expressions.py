"""Expressions of GetMetricData: arithmetic, comparisons and functions over time series.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html

A value is a number, a time series (value by timestamp), or a list of series. Series of one expression share a period.
An operator of two series has a value where both have one; the functions of several series have a value where at least
one has one.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

__all__ = ["ExpressionError", "Series", "evaluate", "names_in"]

_TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_][A-Za-z0-9_]*)|(<=|>=|==|!=|&&|\|\||[-+*/^(),<>\[\]]))"
)
_LONGEST = 1024  # characters
_DEEPEST = 40  # nested parentheses


class ExpressionError(Exception):
    """The expression is not valid, or uses what this host does not support."""


@attrs.frozen
class Series:
    """A time series.

    Attributes:
        points: Value by timestamp.
        period: Seconds between two points.
        label: Label of the metric.
    """

    points: Mapping[float, float]
    period: int
    label: str = ""

    def map(self, change: Callable[[float], float]) -> Series:
        """Return the series with changed values; points that have no finite value are left out."""
        return self.of({at: _or_none(change, value) for at, value in self.points.items()})

    def of(self, points: Mapping[float, float | None]) -> Series:
        """Return a series of the same period."""
        kept = {at: value for at, value in points.items() if value is not None and math.isfinite(value)}
        return Series(dict(sorted(kept.items())), self.period, self.label)


Slots: TypeAlias = Callable[[int], Sequence[float]]
Value: TypeAlias = float | Series | list[Series]


def _or_none(change: Callable[..., float], *values: float) -> float | None:
    try:
        return float(change(*values))
    except (ArithmeticError, ValueError, TypeError):  # TypeError: a power that is a complex number
        return None


def names_in(expression: str) -> list[str]:
    """Return the ids of other queries that an expression names, in order.

    Raises:
        ExpressionError: The expression is not valid.
    """
    tokens = _tokens(expression)
    following = [*tokens[1:], ""]
    found = [one for one, after in zip(tokens, following, strict=True) if one[0].islower() and after != "("]
    return list(dict.fromkeys(found))


def evaluate(expression: str, values: Mapping[str, Value], metrics: Sequence[Series], slots: Slots) -> Value:
    """Return the value of an expression.

    Args:
        expression: The expression.
        values: Values of other queries by id.
        metrics: The series that METRICS() stands for.
        slots: Function that returns the timestamps of the requested range for a period, for FILL.

    Raises:
        ExpressionError: The expression is not valid.
    """
    parser = _Parser(_tokens(expression), values, metrics, slots)
    found = parser.comparison()
    parser.expect("")
    return found


def _tokens(expression: str) -> list[str]:
    if len(expression) > _LONGEST:
        raise ExpressionError(f"has more than {_LONGEST} characters")
    found, at = [], 0
    text = expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"has an unexpected character at position {at}: {text[at:].strip()[:20]!r}")
        found.append(next(group for group in match.groups() if group is not None))
        at = match.end()
    if not found:
        raise ExpressionError("is empty")
    return found


class _Parser:
    """A parser that computes the value while it reads.

    Args:
        tokens: The words of the expression.
        values: Values of other queries by id.
        metrics: The series that METRICS() stands for.
        slots: Function that returns the timestamps of the requested range for a period.
    """

    def __init__(self, tokens: list[str], values: Mapping[str, Value], metrics: Sequence[Series], slots: Slots) -> None:
        self._tokens, self._values, self._metrics, self._slots = [*tokens, ""], values, metrics, slots
        self._at = self._depth = 0

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def expect(self, token: str) -> None:
        """Read one token, or raise ExpressionError."""
        if self._next != token:
            raise ExpressionError(f"has {self._next or 'its end'!r} where {token or 'its end'!r} is expected")
        self._at += 1

    def comparison(self) -> Value:
        """Read an expression with operators of the lowest rank."""
        return self._deeper(lambda: self._binary(0))

    def _deeper(self, read: Callable[[], Value]) -> Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError(f"is nested more than {_DEEPEST} times")
        found = read()
        self._depth -= 1
        return found

    def _binary(self, rank: int) -> Value:
        if rank == len(_RANKS):
            return self._power()
        left = self._binary(rank + 1)
        while (sign := self._next) in _RANKS[rank]:
            self._at += 1
            left = _combined(_OPERATORS[sign], left, self._binary(rank + 1))
        return left

    def _power(self) -> Value:
        if self._next == "-":
            self._at += 1
            return _combined(operator.mul, -1.0, self._deeper(self._power))
        base = self._primary()
        if self._next == "^":
            self._at += 1
            return _combined(operator.pow, base, self._deeper(self._power))
        return base

    def _primary(self) -> Value:
        token = self._next
        if not token:
            raise ExpressionError("ends too early")
        self._at += 1
        if token in _BRACKETS:
            found = self._list() if _BRACKETS[token] == "]" else self.comparison()
            self.expect(_BRACKETS[token])
            return found
        if token[:1].isdigit() or token.startswith("."):
            return float(token)
        if self._next == "(":
            return self._function(token)
        if token not in self._values:
            raise ExpressionError(
                f"names {token!r}, which is not the id of another query" if token else "ends too early"
            )
        return self._values[token]

    def _list(self) -> list[Series]:
        found: list[Series] = []
        while True:
            one = self.comparison()
            found += one if isinstance(one, list) else [_series(one, "a list")]
            if self._next != ",":
                return found
            self._at += 1

    def _function(self, name: str) -> Value:
        if name not in _FUNCTIONS and name not in ("METRICS", "FILL"):
            known = ", ".join(sorted([*_FUNCTIONS, "METRICS", "FILL"]))
            raise ExpressionError(f"uses the function {name}; this host supports {known}")
        self.expect("(")
        if name == "METRICS":
            self.expect(")")
            return list(self._metrics)
        if name == "FILL":
            return self._fill()
        arguments: list[Value] = [self.comparison()]
        while self._next == ",":
            self._at += 1
            arguments.append(self.comparison())
        self.expect(")")
        count, function = _FUNCTIONS[name]
        if len(arguments) != count:
            raise ExpressionError(f"gives {name} {len(arguments)} arguments; it takes {count}")
        found: Value = function(*arguments)
        return found

    def _fill(self) -> Value:
        series = self.comparison()
        self.expect(",")
        if self._next in ("REPEAT", "LINEAR"):
            kind = self._next
            self._at += 1
            self.expect(")")
            return _each(series, lambda one: _filled(one, kind, self._slots(one.period)))
        value = self.comparison()
        self.expect(")")
        if not isinstance(value, float):
            raise ExpressionError("needs a number, REPEAT or LINEAR as the second argument of FILL")
        number = value
        return _each(series, lambda one: one.of({**dict.fromkeys(self._slots(one.period), number), **one.points}))


def _combined(apply: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if isinstance(left, list):
        return [_as_series(_combined(apply, one, right)) for one in left]
    if isinstance(right, list):
        return [_as_series(_combined(apply, left, one)) for one in right]
    if isinstance(left, Series) and isinstance(right, Series):
        _check_period([left, right])
        common = left.points.keys() & right.points.keys()
        return left.of({at: _or_none(apply, left.points[at], right.points[at]) for at in common})
    if isinstance(left, Series):
        return left.map(lambda value: apply(value, float(right)))  # type: ignore[arg-type]
    if isinstance(right, Series):
        return right.map(lambda value: apply(float(left), value))
    found = _or_none(apply, float(left), float(right))
    if found is None or not math.isfinite(found):
        raise ExpressionError("divides by zero, or has a number that is too large")
    return found


def _check_period(several: Sequence[Series]) -> None:
    if len({one.period for one in several}) > 1:
        raise ExpressionError("combines time series of different periods, which this host does not support")


def _as_series(value: Value) -> Series:
    return _series(value, "an operator")


def _series(value: Value, what: str) -> Series:
    if not isinstance(value, Series):
        raise ExpressionError(f"needs time series in {what}")
    return value


def _each(value: Value, change: Callable[[Series], Series]) -> Value:
    if isinstance(value, list):
        return [change(one) for one in value]
    return change(_series(value, "a function of time series"))


def _filled(series: Series, kind: str, slots: Sequence[float]) -> Series:
    known = sorted(series.points)
    found: dict[float, float | None] = dict(series.points)
    for at in slots:
        place = bisect.bisect_right(known, at)
        if at in series.points or place == 0:
            continue
        before = known[place - 1]
        if kind == "REPEAT":
            found[at] = series.points[before]
        elif place < len(known):
            after = known[place]
            low, high = series.points[before], series.points[after]
            found[at] = low + (high - low) * (at - before) / (after - before)
    return series.of(found)


def _aggregate(reduce: Callable[[list[float]], float]) -> Callable[[Value], Value]:
    """Return a function that reduces a series to a number, and a list of series to a series."""

    def apply(value: Value) -> Value:
        if isinstance(value, Series):
            return reduce(list(value.points.values())) if value.points else math.nan
        if not isinstance(value, list):
            raise ExpressionError("needs a time series, or a list of them, in an aggregate function")
        _check_period(value)
        times = sorted({at for one in value for at in one.points})
        found = {at: reduce([one.points[at] for one in value if at in one.points]) for at in times}
        return Series(found, value[0].period if value else 60)

    return apply


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _if(condition: Value, then: Value, otherwise: Value) -> Value:
    if isinstance(condition, float):
        return then if condition else otherwise
    series = _series(condition, "the condition of IF")

    def at_time(value: Value, at: float) -> float | None:
        return value.points.get(at) if isinstance(value, Series) else value if isinstance(value, float) else None

    if isinstance(then, list) or isinstance(otherwise, list):
        raise ExpressionError("needs numbers or single time series as the results of IF")
    return series.of({at: at_time(then if value else otherwise, at) for at, value in series.points.items()})


def _differences(series: Series, divide: bool) -> Series:
    times = list(series.points)
    pairs = itertools.pairwise(times)
    return series.of({b: (series.points[b] - series.points[a]) / ((b - a) if divide else 1.0) for a, b in pairs})


def _running_sum(series: Series) -> Series:
    total, found = 0.0, {}
    for at, value in series.points.items():
        total += value
        found[at] = total
    return Series(found, series.period, series.label)


def _per_series(change: Callable[[Series], Series]) -> Callable[[Value], Value]:
    return lambda value: _each(value, change)


_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "ABS": (1, _per_series(lambda one: one.map(abs))),
    "AVG": (1, _aggregate(_mean)),
    "CEIL": (1, _per_series(lambda one: one.map(math.ceil))),
    "DATAPOINT_COUNT": (1, _aggregate(lambda values: float(len(values)))),
    "DIFF": (1, _per_series(lambda one: _differences(one, divide=False))),
    "FLOOR": (1, _per_series(lambda one: one.map(math.floor))),
    "IF": (3, _if),
    "LOG": (1, _per_series(lambda one: one.map(math.log))),
    "LOG10": (1, _per_series(lambda one: one.map(math.log10))),
    "MAX": (1, _aggregate(max)),
    "MIN": (1, _aggregate(min)),
    "PERIOD": (1, lambda value: float(_series(value, "PERIOD").period)),
    "RATE": (1, _per_series(lambda one: _differences(one, divide=True))),
    "RUNNING_SUM": (1, _per_series(_running_sum)),
    "SUM": (1, _aggregate(sum)),
}


def _truth(test: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda left, right: float(test(left, right))


_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "<": _truth(operator.lt),
    ">": _truth(operator.gt),
    "<=": _truth(operator.le),
    ">=": _truth(operator.ge),
    "==": _truth(operator.eq),
    "!=": _truth(operator.ne),
    "AND": _truth(lambda left, right: bool(left) and bool(right)),
    "&&": _truth(lambda left, right: bool(left) and bool(right)),
    "OR": _truth(lambda left, right: bool(left) or bool(right)),
    "||": _truth(lambda left, right: bool(left) or bool(right)),
}
_BRACKETS = {"(": ")", "[": "]"}
_RANKS = (("OR", "||"), ("AND", "&&"), ("<", ">", "<=", ">=", "==", "!="), ("+", "-"), ("*", "/"))
