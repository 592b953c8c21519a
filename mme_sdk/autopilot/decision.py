"""A decision: from the demand, the endpoint's state and the past moves to a number of instances, with reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import attrs

from mme_sdk._validation import check_instance, instance, number, one_of, optional
from mme_sdk.autopilot.checks import check_moment
from mme_sdk.autopilot.demand import WINDOWS, Demand, Machine
from mme_sdk.autopilot.rule import Forecast, Goal, Need, Rule, corrected_packing, need
from mme_sdk.autopilot.state import Bounds, Observed, State
from mme_sdk.errors import InvalidInputError

__all__ = ["Action", "Bounds", "Decision", "Observed", "State", "decide"]

Action = Literal["grow", "shrink", "hold", "freeze"]
_FORMAT = 1
_whole = number(at_least=0, integer=True)


@attrs.frozen(kw_only=True)
class Decision:
    """A decision with all that it was made from. `mme autopilot explain` shows it; `repeat` makes it again.

    Attributes:
        endpoint: Name of the endpoint.
        variant: Name of the production variant.
        at: Time of the decision, in UTC.
        action: `grow`, `shrink`, `hold`, or `freeze` if the autopilot must not act.
        before: Number of instances before.
        count: Number of instances from now on; `before` unless the action is `grow` or `shrink`.
        wanted: Number of instances that the rule wants, before bounds and hysteresis. None if it was not computed.
        reasons: Why, in words, in the order of the steps.
        state: What the next decision remembers.
        expected: What `count` instances give at these rates, by formula. None if it was not computed.
        demand: The calls and the models.
        observed: The endpoint.
        previous: What this decision remembered.
        rule: The rule.
        bounds: The bounds.
        machine: One instance.
    """

    endpoint: str = attrs.field(validator=instance(str))
    variant: str = attrs.field(validator=instance(str))
    at: datetime
    action: Action = attrs.field(validator=one_of("grow", "shrink", "hold", "freeze"))
    before: int = attrs.field(validator=_whole)
    count: int = attrs.field(validator=_whole)
    wanted: int | None = attrs.field(validator=optional(_whole))
    reasons: tuple[str, ...]
    state: State
    expected: Forecast | None
    demand: Demand
    observed: Observed
    previous: State
    rule: Rule
    bounds: Bounds
    machine: Machine

    def __attrs_post_init__(self) -> None:
        check_moment("Decision.at", self.at)
        if not self.reasons or not all(isinstance(one, str) for one in self.reasons):
            raise InvalidInputError(f"Decision.reasons must be texts, not {self.reasons!r:.80}")

    def __str__(self) -> str:
        change = f"{self.before} → {self.count}" if self.count != self.before else f"{self.count}"
        return f"{self.at:%Y-%m-%d %H:%M} {self.action} {change} instances: {self.reasons[-1]}"

    def repeat(self) -> Decision:
        """Make the decision again from its own inputs.

        Returns:
            The decision, equal to this one if the rule is the same.
        """
        return decide(
            self.demand, self.observed, self.previous, rule=self.rule, bounds=self.bounds, machine=self.machine,
            endpoint=self.endpoint, variant=self.variant,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as values that JSON has."""
        return {
            "format": _FORMAT,
            **{name: getattr(self, name) for name in ("endpoint", "variant", "action", "before", "count", "wanted")},
            "at": self.at.isoformat(),
            "reasons": list(self.reasons),
            "expected": None if self.expected is None else _forecast_out(self.expected),
            "observed": attrs.asdict(self.observed),
            "state": self.state.to_dict(),
            "previous": self.previous.to_dict(),
            "rule": attrs.asdict(self.rule),
            "bounds": attrs.asdict(self.bounds),
            "machine": attrs.asdict(self.machine),
            "demand": self.demand.to_dict(),
        }

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Decision:
        """Return the decision that `to_dict` gave.

        Raises:
            InvalidInputError: It is not such a record.
        """
        try:
            if given["format"] != _FORMAT:
                raise InvalidInputError(
                    f"the record has the format {given['format']!r}, which this version cannot read"
                )
            return cls(
                **{name: given[name] for name in ("endpoint", "variant", "action", "before", "count", "wanted")},
                at=datetime.fromisoformat(given["at"]),
                reasons=tuple(given["reasons"]),
                expected=None if given["expected"] is None else _forecast_in(given["expected"]),
                observed=Observed(**given["observed"]),
                state=State.from_dict(given["state"]),
                previous=State.from_dict(given["previous"]),
                rule=Rule(**{**given["rule"], "goal": Goal(**given["rule"]["goal"])}),
                bounds=Bounds(**given["bounds"]),
                machine=Machine(**given["machine"]),
                demand=Demand.from_dict(given["demand"]),
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise InvalidInputError(f"this is not the record of a decision: {error!r:.200}") from error


def _forecast_out(found: Forecast) -> dict[str, Any]:
    """Return a forecast with None for infinite seconds, which JSON does not have."""
    seconds = found.cold_seconds
    return {**attrs.asdict(found), "cold_seconds": None if seconds == float("inf") else seconds}


def _forecast_in(given: dict[str, Any]) -> Forecast:
    seconds = given["cold_seconds"]
    return Forecast(**{**given, "cold_seconds": float("inf") if seconds is None else seconds})


def decide(
    demand: Demand,
    observed: Observed,
    previous: State | None = None,
    *,
    rule: Rule,
    bounds: Bounds,
    machine: Machine,
    endpoint: str = "",
    variant: str = "AllTraffic",
) -> Decision:
    """Decide on the number of instances. The function reads no clock and makes no call.

    Args:
        demand: The calls of the last hour, and the models.
        observed: The endpoint.
        previous: What the last decision left: `Decision.state`. Default: None, this is the first.
        rule: The rule.
        bounds: What may be done at most.
        machine: One instance.
        endpoint: Name of the endpoint. Default: empty.
        variant: Name of the production variant. Default: `AllTraffic`.

    Returns:
        The decision.

    Raises:
        InvalidInputError: A model is larger than an instance, or a price is needed and not given.
    """
    check_instance("demand", demand, Demand)
    check_instance("observed", observed, Observed)
    check_instance("previous", previous, State, type(None))
    check_settings(rule, bounds, machine)
    past = previous or State()
    at = demand.at
    if bounds.money_per_day is not None and machine.price is None:
        raise InvalidInputError("Bounds: money_per_day needs the price of an instance", hint="give Machine(…) a price")
    before = observed.count
    # A clock that went back leaves times in the future: they count from now, or they would hold for as long.
    moves = tuple(min(one, at) for one in past.moves if at - one < timedelta(hours=1))
    last_low = None if past.low_since is None else min(past.low_since, at)
    spent = _spent(past, at, before, machine.price)
    reasons: list[str] = []
    found: Need | None = None
    count, low_since, low_most = before, last_low, past.low_most
    packing = past.packing
    frozen = _reason_to_freeze(demand, observed, bounds)
    allowed, why = _allowed(bounds, machine, spent, at)
    if frozen is None:
        if observed.detached is not None:
            reasons.append(f"{observed.detached}: it is attached again")
        packing = _packing(demand, past, before, moves, rule, machine)
        found = need(demand, rule, machine, smallest=bounds.smallest, largest=bounds.largest, packing=packing)
        reasons.append(found.reason)
        wanted = found.count
        if observed.floor > wanted:
            reasons.append(f"the schedule demands {observed.floor} instances now")
            wanted = observed.floor
        target = min(max(wanted, bounds.smallest), bounds.largest)
        if allowed < target:
            reasons.append(why)
            target = allowed
        if rule.shrink_by > 1 and low_most >= before:
            last_low = None  # instances were removed otherwise: what sufficed since then is not fewer any more
        low_most = max(target, low_most if last_low is not None else 0)
        count, low_since = _with_hysteresis(target, before, last_low, low_most, at, allowed, rule, reasons)
        if low_since is None or low_since == at:  # they begin, or begin again
            low_most = target
        if (
            count != before
            and not _made_before(past, count)
            and len(moves) >= bounds.moves_per_hour
            and allowed >= before
        ):
            reasons.append(f"{len(moves)} changes within 60 minutes are the largest number allowed")
            count = before
    else:
        reasons.append(frozen)
        low_since = None  # what the demand was meanwhile is not known
    action: Action = "freeze" if frozen is not None else "hold"
    if count != before:
        action = "grow" if count > before else "shrink"
        moves = (*(moves[:-1] if _made_before(past, count) else moves), at)
    return Decision(
        endpoint=endpoint,
        variant=variant,
        at=at,
        action=action,
        before=before,
        count=count,
        wanted=None if found is None else found.count,
        reasons=tuple(reasons),
        state=State(
            at=at,
            count=count,
            low_since=low_since,
            moves=moves,
            spent=spent,
            packing=packing,
            low_most=low_most if rule.shrink_by > 1 and low_since is not None else 0,
        ),
        expected=None if found is None else found.forecast(count),
        demand=demand,
        observed=observed,
        previous=past,
        rule=rule,
        bounds=bounds,
        machine=machine,
    )


def check_settings(rule: Any, bounds: Any, machine: Any) -> None:
    """Raise InvalidInputError unless the settings of an autopilot are of their classes.

    Args:
        rule: The rule.
        bounds: The bounds.
        machine: One instance.
    """
    check_instance("rule", rule, Rule)
    check_instance("bounds", bounds, Bounds)
    check_instance("machine", machine, Machine)


def _reason_to_freeze(demand: Demand, observed: Observed, bounds: Bounds) -> str | None:
    if observed.status != "InService":
        return f"the endpoint is {observed.status}: another change is in progress, or it failed"
    if observed.alarms:
        return f"in the state ALARM: {', '.join(observed.alarms)}"
    if observed.missing is not None:
        return observed.missing
    if demand.newest is None:
        return "there are no calls in the last 60 minutes: data may be missing, and nothing says how many are needed"
    silent = int((demand.at - demand.newest).total_seconds() // 60)
    if silent > bounds.stale_after:
        return f"the newest call is {silent} minutes old: data may be missing"
    everything = demand.calls + demand.unnamed
    if demand.unnamed > bounds.unnamed * everything:
        return (
            f"{demand.unnamed / everything:.0%} of the calls are not recorded by model, over {bounds.unnamed:.0%}: "
            "give the recorder a larger `top`"
        )
    return None


def _made_before(past: State, count: int) -> bool:
    """Return whether the last decision was a change to the same number, which is not in effect yet."""
    return past.count == count and past.moves[-1:] == (past.at,)


def _packing(
    demand: Demand, past: State, count: int, moves: tuple[datetime, ...], rule: Rule, machine: Machine
) -> float | None:
    """Return the packing that the measured cold calls give.

    After a change, models that moved are cold; these calls say nothing about the memory.
    """
    if demand.cold_share is None or past.at is None:
        return past.packing
    settled = timedelta(minutes=WINDOWS[1] + 5)  # the window, and the start of an instance
    if count != past.count or any(demand.at - one < settled for one in moves):
        return past.packing
    return corrected_packing(
        demand, rule, machine, count=count, packing=past.packing or rule.packing,
        minutes=(demand.at - past.at).total_seconds() / 60.0,
    )  # fmt: skip


def _with_hysteresis(
    target: int,
    before: int,
    low_since: datetime | None,
    low_most: int,
    at: datetime,
    allowed: int,
    rule: Rule,
    reasons: list[str],
) -> tuple[int, datetime | None]:
    """Return the number of instances, and since when fewer suffice."""
    if target >= before:
        if target > before:
            reasons.append(f"{target - before} more than the {before} that run: added at once")
        else:
            reasons.append(f"{before} instances run already")
        return target, None
    if allowed < before:
        reasons.append(f"{before - allowed} instances are removed at once for the sake of the money per day")
        return allowed, low_since
    since = low_since or at
    waited = int((at - since).total_seconds() // 60)
    if waited < rule.shrink_after:
        what = "one is" if rule.shrink_by == 1 else f"up to {rule.shrink_by} are"
        reasons.append(f"fewer suffice since {waited} minutes; {what} removed after {rule.shrink_after}")
        return before, since
    fewer = min(rule.shrink_by, before - low_most) if rule.shrink_by > 1 else 1
    reasons.append(f"fewer suffice since {waited} minutes: {'one is' if fewer == 1 else f'{fewer} are'} removed")
    return before - fewer, at


def _midnight(at: datetime) -> datetime:
    """Return when the day began: a day of money is one of UTC, whatever the zone of the clock."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _spent(past: State, at: datetime, count: int, price: float | None) -> float:
    """Return the money spent on the day of `at` until `at`.

    Since the last decision, the instances that it left have run, or those that are seen now if these are more: another
    program may have added instances, or those to be removed may still run.
    """
    if past.at is None or price is None:
        return 0.0
    midnight = _midnight(at)
    hours = max(0.0, (at - max(past.at, midnight)).total_seconds() / 3600.0)
    return (past.spent if past.at >= midnight else 0.0) + max(past.count, count) * price * hours


def _allowed(bounds: Bounds, machine: Machine, spent: float, at: datetime) -> tuple[int, str]:
    """Return the largest number of instances that the money per day allows, and the reason.

    After the next half hour, the smallest number of instances must still be payable until midnight.
    """
    if bounds.money_per_day is None or machine.price is None:
        return bounds.largest, ""
    end = _midnight(at) + timedelta(days=1)
    rest = (end - at).total_seconds() / 3600.0
    soon = min(0.5, rest)
    left = bounds.money_per_day - spent - bounds.smallest * machine.price * (rest - soon)
    payable = min(max(0.0, left) / (machine.price * soon), bounds.largest) if soon > 0 else bounds.largest
    allowed = max(bounds.smallest, int(payable))
    why = f"{spent:,.2f} of {bounds.money_per_day:,.2f} for today are spent: at most {allowed} instances for now"
    return allowed, why
