"""A check: one observation of SageMaker, and the line of the contract that it confirms or refutes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from mme_sdk.conformance.account import Account

__all__ = ["Check", "Difference", "Outcome", "Verdict", "all_checks", "check", "expect", "expect_refusal"]

Verdict = Literal["agrees", "differs", "observed", "failed", "skipped"]
"""`observed` records what AWS does not document; `failed` means that the check itself could not be carried out."""

Needs = Literal["nothing", "multi_model", "single_model", "async"]
_MODULES = ("control_plane", "multi_model", "single_model", "asynchronous")
_CHECKS: dict[str, Check] = {}


class Difference(Exception):
    """SageMaker does something other than the contract says."""


@attrs.frozen
class Check:
    """One check.

    Attributes:
        name: Name for `--only` and for the report.
        line: Line of `docs/contract.md`, such as `4.2`.
        expected: What the contract says, as one sentence.
        needs: Endpoint that has to exist; it is created for the first check that needs it.
        minutes: Minutes that the check takes at most, without the creation of the endpoint.
        known: Whether the contract states the behaviour. If False, the check only records what happens.
        function: Makes the calls; returns what was seen.
    """

    name: str
    line: str
    expected: str
    needs: Needs
    minutes: float
    known: bool
    function: Callable[[Account], Any] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Outcome:
    """What one check saw.

    Attributes:
        name: Name of the check.
        line: Line of `docs/contract.md`.
        expected: What the contract says.
        verdict: Whether SageMaker does what the contract says.
        seen: What SageMaker did: values that JSON can say.
        seconds: Seconds that the check took.
    """

    name: str
    line: str
    expected: str
    verdict: Verdict
    seen: Any
    seconds: float


def check(
    line: str, expected: str, *, needs: Needs = "nothing", minutes: float = 0.2, known: bool = True
) -> Callable[[Callable[[Account], Any]], Callable[[Account], Any]]:
    """Register a function as a check; its name is the function's.

    Args:
        line: Line of `docs/contract.md`.
        expected: What the contract says.
        needs: Endpoint that has to exist.
        minutes: Minutes that the check takes at most.
        known: Whether the contract states the behaviour.

    Returns:
        The decorator.
    """

    def register(function: Callable[[Account], Any]) -> Callable[[Account], Any]:
        name = function.__name__.replace("_", "-")
        assert name not in _CHECKS, name
        _CHECKS[name] = Check(name, line, expected, needs, minutes, known, function)
        return function

    return register


def all_checks() -> tuple[Check, ...]:
    """Return every check, in the order in which they run.

    Returns:
        The checks.
    """
    for module in _MODULES:
        import_module(f"mme_sdk.conformance.checks.{module}")
    order = ("nothing", "multi_model", "single_model", "async")
    return tuple(sorted(_CHECKS.values(), key=lambda one: order.index(one.needs)))


def expect(condition: bool, seen: Any) -> Any:
    """Raise Difference with what was seen unless the condition holds; return what was seen."""
    if not condition:
        raise Difference(seen)
    return seen


def expect_refusal(
    account: Account, call: Callable[[], Any], *, code: str, status: int = 400, words: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Raise Difference unless AWS refuses a call with a code, a status and words in its message.

    Args:
        account: The account, which knows botocore's exception.
        call: Makes the call.
        code: Error code.
        status: HTTP status.
        words: Texts that the error message must contain.

    Returns:
        The code, status and message.
    """
    try:
        answer = call()
    except account.ClientError as error:
        response = error.response
        seen = {
            "code": response["Error"]["Code"],
            "status": response["ResponseMetadata"]["HTTPStatusCode"],
            "message": response["Error"].get("Message", ""),
        }
        good = seen["code"] == code and seen["status"] == status
        expect(good and all(word in seen["message"] for word in words), seen)
        return seen
    raise Difference({"accepted": sorted(key for key in answer if key != "ResponseMetadata")})
