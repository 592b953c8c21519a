"""`Autopilot`: observes an endpoint, decides on its number of instances, and lets AWS or the SDK change it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import attrs
import numpy as np

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance, check_number, check_resource_name
from mme_sdk.autopilot import publishing
from mme_sdk.autopilot.checks import check_moment, check_names
from mme_sdk.autopilot.decision import Bounds, Decision, Observed, State, check_settings, decide
from mme_sdk.autopilot.demand import WINDOWS, Demand, Machine, measured_cold_share, minute_counts
from mme_sdk.autopilot.journal import Journal
from mme_sdk.autopilot.publishing import Lost
from mme_sdk.autopilot.rule import Rule
from mme_sdk.autopilot.schedule import learned_floor, learned_models, learned_schedule
from mme_sdk.aws import Flow
from mme_sdk.client import MMEClient
from mme_sdk.endpoints import Schedule
from mme_sdk.endpoints.operations.calls import alarm_call, describe_endpoint
from mme_sdk.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ClosedError,
    ConfigurationError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
)
from mme_sdk.metrics import read_metrics
from mme_sdk.planning.catalogue import Catalogue
from mme_sdk.planning.workload import Workload

__all__ = ["Apply", "Autopilot", "Calls"]

Apply = Literal["nothing", "metric", "scale"]
Calls = Callable[[datetime], Mapping[datetime, Mapping[str, int]]]
"""A function from a time to the calls by target model, by the start of each minute of the hour before it."""

_FAILURES = 10  # of decisions in a row, after which `run` ends
_LASTING = (
    AccessDeniedError, BucketNotFoundError, ClosedError, ConfigurationError, EndpointNotFoundError, InvalidInputError,
)  # fmt: skip
"""Errors that no later decision mends."""
_log = logging.getLogger(__name__)

_HOUR = timedelta(minutes=WINDOWS[-1])
_WEEK = timedelta(days=7)
_LOADING = timedelta(minutes=1)  # of one decision: loads take longer than the next decision can wait


@short_tracebacks
class Autopilot:
    """Follows the traffic of a multi-model endpoint with its number of instances.

    It changes nothing unless `apply` says so. With `metric` it publishes the number to CloudWatch, and a step policy of
    Application Auto Scaling, which `attach` makes, sets it. With `scale` it sets the number itself.

    Args:
        client: The client. The autopilot does not close it.
        endpoint: Name of the endpoint.
        rule: The rule, with what cold calls are worth.
        bounds: What the autopilot may do at most.
        machine: One instance.
        catalogue: Size and times of each model.
        recordings: What recorders were given as `files`. Default: None; then CloudWatch gives the calls of the
            endpoint, and Zipf's law spreads them over the models of the catalogue, which is a guess.
        calls: Function that gives the calls, instead of recordings and CloudWatch. Default: None.
        journal: S3 prefix or directory for the decisions. Default: None; then only this object remembers them.
        variant: Name of the production variant. Default: `AllTraffic`.
        apply: `nothing` (the default), `metric` or `scale`.
        alarms: Names of CloudWatch alarms; while one is in the state ALARM, the autopilot freezes. Default: none.
        learn: Whether the number is never below what the same hour a week earlier needed throughout, as far as the
            journal has it. Default False.
        lead: Minutes by which the learned number is early; 0 to 59. Default 15.
        warm: Minutes before which models are loaded that were called in the same minutes a week earlier, as far as they
            fit into memory beside those of the last hour; 0 to 60. It needs `learn`, and an `apply` that changes the
            number. Default 0: none is loaded.
        clock: Returns the current time, with a time zone. Default: None, the system's clock.
        sleep: Waits for a number of seconds. Default: None, the client's clock.

    Example:
        ```python
        pilot = Autopilot(
            client, "scoring", recordings="s3://ml-logs/recordings/", journal="s3://ml-logs/autopilot/",
            rule=Rule(goal=Goal(cold_share=0.001)), bounds=Bounds(smallest=2, largest=12),
            machine=Machine.of("ml.m5.xlarge", price=0.23), catalogue=Catalogue.uniform(memory_mb=150),
        )
        print(pilot.decide())
        ```
    """

    def __init__(
        self,
        client: MMEClient,
        endpoint: str,
        *,
        rule: Rule,
        bounds: Bounds,
        machine: Machine,
        catalogue: Catalogue,
        recordings: str | os.PathLike[str] | None = None,
        calls: Calls | None = None,
        journal: str | os.PathLike[str] | None = None,
        variant: str = "AllTraffic",
        apply: Apply = "nothing",
        alarms: Iterable[str] = (),
        learn: bool = False,
        lead: int = 15,
        warm: int = 0,
        clock: Callable[[], datetime] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        check_instance("client", client, MMEClient)
        check_resource_name("endpoint", endpoint)
        check_resource_name("variant", variant)
        check_settings(rule, bounds, machine)
        _check_money(rule, bounds, machine)
        check_instance("catalogue", catalogue, Catalogue)
        if apply not in ("nothing", "metric", "scale"):
            raise InvalidInputError(f"apply must be nothing, metric or scale, not {apply!r:.80}")
        for name, function in (("calls", calls), ("clock", clock), ("sleep", sleep)):
            if function is not None and not callable(function):
                raise InvalidInputError(f"{name} must be a function or None, not {function!r:.80}")
        names: object = tuple(alarms) if isinstance(alarms, Iterable) and not isinstance(alarms, str) else alarms
        check_names("alarms", names)
        self._alarms = cast("tuple[str, ...]", names)
        check_instance("learn", learn, bool)
        if recordings is not None and calls is not None:
            raise InvalidInputError("give recordings or calls, not both")
        if recordings is None and calls is None and not len(catalogue):
            raise InvalidInputError(
                "without recordings, the catalogue must list the models", hint="Catalogue.from_registry lists them"
            )
        check_number("lead", lead, at_least=0, at_most=59, integer=True)
        check_number("warm", warm, at_least=0, at_most=WINDOWS[-1], integer=True)
        if warm and not (learn and apply != "nothing"):
            raise InvalidInputError("warm needs learn=True, and apply metric or scale")
        if learn and journal is None:
            raise InvalidInputError("learn=True needs a journal, which has the decisions of the week before")
        self.endpoint, self.variant = endpoint, variant
        self.rule, self.bounds, self.machine, self.apply = rule, bounds, machine, apply
        self._client, self._aws = client, client._aws
        self._catalogue, self._recordings, self._calls = catalogue, recordings, calls
        self._learn, self._lead, self._warm = learn, lead, warm
        self._warmed: dict[str, datetime] = {}
        s3 = self._aws.endpoint_url("s3")
        self._s3_url = s3
        self._journal = None if journal is None else Journal(journal, session=self._aws.session, endpoint_url=s3)
        self._state: State | None = None
        self._clock = clock or (lambda: datetime.now(UTC))
        self._sleep = sleep or self._aws.clock.sleep

    def decide(self) -> Decision:
        """Observe the endpoint and decide. Nothing is changed, and the decision is not recorded.

        Returns:
            The decision.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
            InvalidInputError: The endpoint has no such variant, or a model is larger than an instance.
        """
        return self._decide()[0]

    def _decide(self) -> tuple[Decision, Lost | None, list[Decision]]:
        at = self._now()
        week = self._last_week(at)
        observed, lost = self._aws.run(self._observe(learned_floor(week, at, lead=self._lead)))
        try:
            demand = self._demand(at, observed.count)
        except MMEError as error:
            demand = Demand.of({}, at=at, catalogue=self._catalogue)
            observed = attrs.evolve(observed, missing=f"the calls could not be read: {error.message}")
        found = decide(
            demand, observed, self._remembered(at), rule=self.rule, bounds=self.bounds, machine=self.machine,
            endpoint=self.endpoint, variant=self.variant,
        )  # fmt: skip
        return found, lost, week

    def step(self) -> Decision:
        """Decide, record the decision, and apply it as `apply` says.

        The record is written first: a change without a record does not happen. With `apply="metric"`, what `attach`
        made is made again if it is gone. Models that are loaded early follow, for about a minute at most; the next
        decision goes on with the others.

        Returns:
            The decision.

        Raises:
            MMEError: The journal could not be written, or AWS refused the change.
        """
        found, lost, week = self._decide()
        if self._journal is not None:
            self._journal.add(found)
        self._state = found.state
        if self.apply == "metric":
            if lost is not None and found.action != "freeze":
                self.attach(schedule=lost.limits and self._journal is not None)
            self._aws.run(publishing.publish(found))
        elif self.apply == "scale" and found.count != found.before:
            self._client.endpoint(self.endpoint).scale(found.count, variant=self.variant)
        if self._warm and found.action != "freeze":
            self._load(found, week)
        return found

    def run(self, *, every: float = 60.0, times: int | None = None) -> Iterator[Decision]:
        """Decide again and again.

        A decision that fails is logged and made again at the next time, for example while AWS throttles, or the journal
        cannot be written. The error is raised if ten fail in a row, if the last of `times` fails, or if no later
        decision would mend it: the endpoint or a bucket does not exist, access is denied, or a setting is invalid.

        Args:
            every: Seconds between two decisions. Default 60.
            times: Number of decisions. Default: None, without end.

        Returns:
            Each decision, after it is applied.

        Raises:
            MMEError: As for `step`.
        """
        check_number("every", every, over=0)
        if times is not None:
            check_number("times", times, at_least=0, integer=True)
        return self._run(every, times)

    def _run(self, every: float, times: int | None) -> Iterator[Decision]:
        done = failed = 0
        while times is None or done < times:
            if done:
                self._sleep(every)
            done += 1
            try:
                found = self.step()
            except _LASTING:
                raise
            except MMEError as error:
                failed += 1
                if failed == _FAILURES or done == times:
                    raise
                _log.warning("a decision about endpoint %s failed and is made again: %s", self.endpoint, error)
            else:
                failed = 0
                yield found

    def attach(self, *, schedule: bool = False) -> None:
        """Attach the step policy that follows the published metric; see `apply="metric"`.

        Args:
            schedule: Whether to attach scheduled limits too, learned from the last week of the journal. They take the
                place of those that were learned before. Default False.

        Raises:
            InvalidInputError: The bounds need more than 20 steps, or there is no journal to learn from.
        """
        learned = self._aws_schedule() if schedule else ()
        self._aws.run(publishing.attach(self.endpoint, self.variant, self.bounds, learned))

    def detach(self) -> None:
        """Remove what `attach` made, apart from the scalable target: the endpoint keeps its size."""
        self._aws.run(publishing.detach(self.endpoint, self.variant))

    def close(self) -> None:
        """Close the journal. The client stays open."""
        if self._journal is not None:
            self._journal.close()

    def _load(self, found: Decision, week: list[Decision]) -> None:
        """Load the models that were called in the coming minutes a week earlier.

        They fill the instances that run before and after this decision.
        """
        demand, at = found.demand, found.at
        self._warmed = {
            name: since for name, since in self._warmed.items() if at - since < _HOUR and name not in demand.models
        }
        used = demand.column("memory_bytes").sum() + sum(self._catalogue[name].memory_bytes for name in self._warmed)
        count = min(found.before, found.count)
        space = count * self.machine.memory_bytes * self.rule.packing - used
        due = learned_models(week, demand, ahead=self._warm, space=space, done=self._warmed)
        known, default = self._catalogue.profiles, self._catalogue.default
        models = [name for name in due if known.get(name, default) is not None]  # others were removed since
        width, ends = count * self.machine.loader_slots, self._now() + _LOADING
        while models and self._now() < ends:
            some, models = models[:width], models[width:]
            try:
                report = self._client.endpoint(self.endpoint).warm(some, target_variant=self.variant, at_a_time=width)
            except MMEError as error:
                _log.warning("models of endpoint %s could not be loaded early: %s", self.endpoint, error)
                return
            self._warmed |= dict.fromkeys(some, at)
            _log.info("endpoint %s: %s", self.endpoint, report)

    # -- what a decision is made from -----------------------------------------------------------------------------

    def _observe(self, floor: int) -> Flow[tuple[Observed, Lost | None]]:
        seen = yield from describe_endpoint(self.endpoint)
        found = next((one for one in seen.variants if one.name == self.variant), None)
        status = seen.status
        if found is None:
            if seen.variants:
                names = ", ".join(one.name for one in seen.variants)
                raise InvalidInputError(
                    f"endpoint {self.endpoint} has no variant {self.variant!r}; it has {names}", endpoint=self.endpoint
                )
            return Observed(count=0, status=status), None
        ringing, missing = yield from self._ringing()
        lost = (yield from self._lost()) if self.apply == "metric" and status == "InService" else None
        detached = None if lost is None else lost.what
        if lost is not None and lost.limits and self._journal is None:
            detached = f"{lost.what}, and the learned limits are not attached again, because there is no journal"
        count = found.desired_count if found.desired_count is not None else found.instance_count
        observed = Observed(
            count=count or 0, status=status, alarms=ringing, floor=floor, missing=missing, detached=detached
        )
        return observed, lost

    def _ringing(self) -> Flow[tuple[tuple[str, ...], str | None]]:
        """Return the alarms that freeze the autopilot, and why they could not be read."""
        if not self._alarms:
            return (), None
        try:
            answer = yield alarm_call("describe_alarms", self.endpoint, AlarmNames=list(self._alarms))
        except MMEError as error:
            return (), f"the alarms could not be read: {error.message}"
        states = {one["AlarmName"]: one["StateValue"] for one in answer.get("MetricAlarms", ())}
        ringing = [f"{name} (there is none)" for name in self._alarms if name not in states]
        return (*ringing, *(name for name, state in states.items() if state == "ALARM")), None

    def _lost(self) -> Flow[Lost | None]:
        try:
            return (yield from publishing.find_lost(self.endpoint, self.variant))
        except MMEError as error:
            _log.warning(
                "whether the step policy of endpoint %s is still attached is not known: %s", self.endpoint, error
            )
            return None

    def _last_week(self, at: datetime) -> list[Decision]:
        """Return the decisions of a week earlier from which the coming minutes are learned."""
        if not self._learn or self._journal is None:
            return []
        begin = at - _WEEK
        end = begin + timedelta(minutes=self._lead) + _HOUR
        return self._journal.read(endpoint=self.endpoint, variant=self.variant, start=begin, end=end, skip_damaged=True)

    def _remembered(self, at: datetime) -> State | None:
        """Return what the last decision left, also that of another process with the same journal."""
        if self._journal is not None:
            own = None if self._state is None else self._state.at
            start = at - timedelta(days=1) if own is None else own
            past = self._journal.last(
                endpoint=self.endpoint, variant=self.variant, start=start, end=at, skip_damaged=True
            )
            self._state = self._state if past is None else past.state
        return self._state

    def _demand(self, at: datetime, count: int) -> Demand:
        if self._calls is not None:
            return Demand.of(self._calls(at), at=at, catalogue=self._catalogue)
        if self._recordings is None:
            return self._from_cloudwatch(at, count)
        from mme_sdk.recording import read_recordings

        records = read_recordings(
            self._recordings, start=at - _HOUR - timedelta(minutes=1), end=at, endpoint=self.endpoint,
            session=self._aws.session, endpoint_url=self._s3_url,
        )  # fmt: skip
        named, unnamed = minute_counts(records, self.endpoint, self.variant)
        lost = sum(calls for moment, calls in unnamed.items() if at - moment <= _HOUR)
        return Demand.of(
            named, at=at, catalogue=self._catalogue, unnamed=lost, source="recordings",
            cold_share=measured_cold_share(records, self.endpoint, self.variant, at=at),
        )  # fmt: skip

    def _from_cloudwatch(self, at: datetime, count: int) -> Demand:
        names = tuple(self._catalogue)
        metrics = self._aws.run(read_metrics(self.endpoint, variant=self.variant, hours=1.0, now=at))
        if metrics.invocations.total <= 0:
            return Demand.of({}, at=at, catalogue=self._catalogue, source="cloudwatch")
        load = Workload.from_metrics(metrics, names, instances=max(1, count))
        ages = [(at - moment) // timedelta(minutes=1) for moment in metrics.invocations.times]
        totals = [
            sum(value for age, value in zip(ages, metrics.invocations.values, strict=True) if age <= window)
            for window in WINDOWS
        ]
        counts = np.rint(np.outer(load.rates / load.rate, totals)).astype(np.int64)
        newest = max(moment for moment, value in metrics.invocations if value > 0)
        return Demand(
            at=at, models=load.models, counts=counts, minutes=WINDOWS[-1], newest=newest,
            profiles=tuple(self._catalogue[name] for name in load.models), source="cloudwatch",
        )  # fmt: skip

    def _now(self) -> datetime:
        at = self._clock()
        check_moment("the time of `clock`", at)
        return at

    def _aws_schedule(self) -> tuple[Schedule, ...]:
        if self._journal is None:
            raise InvalidInputError("scheduled limits are learned from a journal; give one")
        at = self._now()
        past = self._journal.read(
            endpoint=self.endpoint, variant=self.variant, start=at - _WEEK, end=at, skip_damaged=True
        )
        return learned_schedule(past, self.bounds, lead=self._lead)


def _check_money(rule: Rule, bounds: Bounds, machine: Machine) -> None:
    """Raise InvalidInputError if a price is needed and unknown, or if the smallest number costs more than allowed."""
    rule.goal.seconds(machine.price)
    if bounds.money_per_day is None:
        return
    if machine.price is None:
        raise InvalidInputError("Bounds: money_per_day needs the price of an instance", hint="give Machine(…) a price")
    least = 24 * machine.price * bounds.smallest
    if bounds.money_per_day < least * (1 - 1e-9):
        raise InvalidInputError(
            f"Bounds: {bounds.smallest} instances, the smallest number, cost {least:,.2f} a day, more than "
            f"money_per_day {bounds.money_per_day:,.2f}",
            hint="raise money_per_day, or lower smallest",
        )
