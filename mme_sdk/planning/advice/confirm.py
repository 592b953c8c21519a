"""The confirmation of options by simulation: which are confirmed, how far the traffic can grow, what a loss does."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TypeAlias

import attrs
import numpy as np

from mme_sdk.display.progress import Reporter
from mme_sdk.planning.advice.demand import Demand
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.inputs import LATENCIES, SLO, Assumptions, by_formula
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.advice.simulated import SimulatedFigures, figures, simulate_layout
from mme_sdk.planning.analysis import monthly

__all__ = ["Confirmation", "distance", "rank"]

_TRIES = 24  # layouts that are simulated at most, and again for each stricter SLO
_STRICTER = (0.5, 0.25)  # of the limits
_DEARER = 1.5  # times the cost that the formulas promise, from which layouts that they left out are tried
_GUESSES, _GROWTHS = 7, 6  # estimates, and then simulations, that look for the headroom
_MOST = 16.0  # largest headroom that is looked for
_RETREATS, _NEAR = 4, 1.05  # factors that are tried near a collapse, and the factor on the traffic that may cause one
_COLLAPSE = 5.0  # times the p99 for so little more traffic


Conditions: TypeAlias = tuple[Demand, Assumptions]
"""The traffic and the models, and the assumptions, of a simulation."""


@attrs.define
class _Bounds:
    """The numbers of instances of a group of layouts that were simulated: the largest that failed, the smallest not."""

    failed: int = 0
    confirmed: int | None = None
    step: int = 1


@attrs.define(eq=False)
class Confirmation:
    """The simulations of a plan; each layout is simulated once.

    Attributes:
        search: The layouts and their estimates.
        requests: Approximate number of requests in each simulation.
        seed: Seed of all draws.
        report: Called after each simulation; None for no report.
    """

    search: LayoutSearch
    requests: int = attrs.field(kw_only=True)
    seed: int = attrs.field(kw_only=True)
    report: Reporter | None = attrs.field(kw_only=True, default=None)
    _seen: dict[HostingLayout, SimulatedFigures | None] = attrs.field(factory=dict, init=False)

    def simulated(self, layout: HostingLayout, conditions: Conditions | None = None) -> SimulatedFigures | None:
        """Return the simulated figures of a layout; None if there are too few requests."""
        if conditions is not None:
            demand, assumptions = conditions
            ran = simulate_layout(
                self.search, layout, requests=self.requests, seed=self.seed, demand=demand, assumptions=assumptions
            )
            return None if ran is None else figures(ran, self.search.slo, assumptions)
        if layout not in self._seen:
            if self.report is not None:
                self.report(doing=f"simulating {layout}", done=1)
            ran = simulate_layout(self.search, layout, requests=self.requests, seed=self.seed)
            self._seen[layout] = None if ran is None else figures(ran, self.search.slo, self.search.assumptions)
        return self._seen[layout]

    def unconfirmed(self, layout: HostingLayout, found: HostingEstimate) -> HostingOption:
        """Return an option with its figures by formula only."""
        if found.possible and found.mix is None:
            found = self.search.estimate(layout)
        survives = self.search.slo.survive_failure
        return HostingOption(
            layout=layout,
            estimate=found,
            failure=self._failure(layout, simulate=False)[0] if survives else None,
            must_survive=survives,
            models=self.search.demand.workload.models,
        )

    def confirmed(self, layout: HostingLayout, found: HostingEstimate) -> HostingOption:
        """Return an option with its simulated figures; without one instance too, if the SLO asks for that."""
        option = attrs.evolve(self.unconfirmed(layout, found), simulated=self.simulated(layout))
        if not option.must_survive:
            return option
        failure, without = self._failure(layout, simulate=not found.overloads)
        return attrs.evolve(option, failure=failure, without_one=without)

    def examined(self, option: HostingOption) -> HostingOption:
        """Return the best option with its headroom, and what the loss of one instance does."""
        simulate = option.simulated is not None
        failure, without = self._failure(option.layout, simulate=simulate)
        option = attrs.evolve(option, failure=failure, without_one=without)
        if not option.meets:
            return option
        headroom, exceeded, why = self._headroom(option, simulate=simulate)
        return attrs.evolve(option, headroom=headroom, exceeded_at=exceeded, exceeded=why)

    def options(self, found: list[tuple[HostingLayout, HostingEstimate]]) -> list[HostingOption]:
        """Simulate layouts, the cheapest first, until every cheaper one is known not to meet the SLO.

        Of layouts that differ only in the number of instances, the smallest number that the simulation confirms is
        looked for, upwards from the formula's number if that fails, downwards if it does not.

        Where the formulas promise too much, the simulation refuses the layouts that seem cheapest. Layouts that they
        left out may then be the best: dearer ones, and those that they find for stricter limits.
        """
        options: dict[HostingLayout, HostingOption] = {}
        groups: dict[tuple[object, ...], _Bounds] = {}
        promised = min((one.cost for _, one in found if not one.blockers), default=float("inf"))
        cheapest, ended = self._confirm(found, options, groups)
        for share in _STRICTER:
            if ended or cheapest < float("inf"):
                break
            stricter = [
                layout for layout, one in self.search.stricter(share).promising(self.report) if not one.blockers
            ]
            cheapest, ended = self._confirm([(each, self.search.estimate(each)) for each in stricter], options, groups)
        if _DEARER * promised < cheapest < float("inf"):
            self._confirm(self.search.promising(self.report, known=cheapest), options, groups)
        return list(options.values())

    def _confirm(
        self,
        found: list[tuple[HostingLayout, HostingEstimate]],
        options: dict[HostingLayout, HostingOption],
        groups: dict[tuple[object, ...], _Bounds],
    ) -> tuple[float, bool]:
        """Add simulated layouts to the options; return the least confirmed cost, and whether all were tried."""
        queue = [(one.cost, number, layout, one) for number, (layout, one) in enumerate(found) if not one.blockers]
        heapify(queue)
        cheapest = min((each.cost for each in options.values() if each.meets), default=float("inf"))
        most = len(options) + _TRIES
        while queue and len(options) < most:
            cost, number, layout, one = heappop(queue)
            bounds = groups.setdefault((layout.mode, layout.instance_type, layout.dedicated), _Bounds())
            if cost > cheapest * (1.0 + 1e-9):
                # The step upwards may have passed a number that is not dearer.
                layout, one = self._not_dearer(layout, one, bounds, cheapest)
                if one.cost > cheapest * (1.0 + 1e-9):
                    continue
            if layout in options or (bounds.confirmed is not None and layout.count > bounds.confirmed):
                continue
            option = options[layout] = self.confirmed(layout, one)
            if option.meets:
                cheapest = min(cheapest, option.cost)
                bounds.confirmed = layout.count
            else:
                bounds.failed = max(bounds.failed, layout.count)
            count = self._next(layout, bounds)
            if count is not None:
                other = attrs.evolve(layout, count=count)
                again = self.search.estimate(other)
                if not again.overloads and distance(again, self.search) < 2.0:
                    heappush(queue, (again.cost, number, other, again))
        return cheapest, not queue

    def _not_dearer(
        self, layout: HostingLayout, one: HostingEstimate, bounds: _Bounds, cheapest: float
    ) -> tuple[HostingLayout, HostingEstimate]:
        """Return the layout with as many instances, over those that failed, as cost no more; or the given layout."""
        if layout.instance_type is None or not bounds.failed:
            return layout, one
        price = monthly(self.search.prices[layout.instance_type], 1)
        fewer = int(np.ceil((one.cost - cheapest) / price - 1e-6))
        if layout.count - fewer <= bounds.failed:
            return layout, one
        other = attrs.evolve(layout, count=layout.count - fewer)
        return other, self.search.estimate(other)

    def _next(self, layout: HostingLayout, bounds: _Bounds) -> int | None:
        """Return the number of instances to try next; None if the smallest is known."""
        if layout.instance_type is None:
            return None
        if bounds.confirmed is not None:
            least = max(bounds.failed, self.search.assumptions.minimum_instances - 1)
            gap = bounds.confirmed - least
            return None if gap <= 1 else bounds.confirmed - max(1, gap // 2 if bounds.failed else 1)
        count = bounds.failed + bounds.step
        bounds.step *= 2
        return count if count <= self.search.max_instances else None

    def changed(self, layout: HostingLayout, conditions: Conditions, *, simulate: bool = True) -> HostingOption:
        """Return an option under other conditions; without one instance too, if the SLO asks for that.

        Args:
            layout: The layout.
            conditions: The traffic and the models, and the assumptions.
            simulate: Whether to simulate it. Default True.

        Returns:
            The option.
        """
        demand, assumptions = conditions
        found = self.search.estimate(layout, demand=demand, assumptions=assumptions)
        simulate = simulate and found.mix is not None
        option = HostingOption(
            layout=layout,
            estimate=found,
            simulated=self.simulated(layout, conditions) if simulate else None,
            must_survive=self.search.slo.survive_failure,
            models=demand.workload.models,
        )
        if not option.must_survive:
            return option
        failure, without = self._failure(layout, simulate=simulate, conditions=conditions)
        return attrs.evolve(option, failure=failure, without_one=without)

    def _failure(
        self, layout: HostingLayout, *, simulate: bool, conditions: Conditions | None = None
    ) -> tuple[tuple[str, ...] | None, SimulatedFigures | None]:
        """Return the limits that the layout exceeds without one instance, and its simulated figures then."""
        if layout.instance_type is None:
            return None, None
        if layout.count < 2:
            return ("the endpoint has no other instance",), None
        fewer = attrs.evolve(layout, count=layout.count - 1)
        demand, assumptions = conditions or (None, None)
        found = self.search.estimate(fewer, demand=demand, assumptions=assumptions)
        seen = self.simulated(fewer, conditions) if simulate else None
        return by_formula(found.blockers) if seen is None else (*seen.overloads, *found.overloads, *seen.blockers), seen

    def _headroom(self, option: HostingOption, *, simulate: bool) -> tuple[float, float | None, tuple[str, ...]]:
        """Return the largest factor on the traffic that was found to hold, the smallest that was not, and why not."""
        search, layout = self.search, option.layout
        known: dict[float, HostingOption] = {}

        def faster(factor: float) -> Conditions:
            return search.demand.faster(factor), search.assumptions

        def estimated(factor: float) -> tuple[str, ...]:
            return self.changed(layout, faster(factor), simulate=False).blockers

        def ran(factor: float) -> HostingOption:
            """Return the option at a factor; not simulated if a limit is exceeded whatever the simulation says."""
            if factor not in known:
                known[factor] = self.changed(layout, faster(factor), simulate=False)
                if not known[factor].overloads:
                    known[factor] = self.changed(layout, faster(factor))
            return known[factor]

        def simulated(factor: float) -> tuple[str, ...]:
            seen = ran(factor)
            if seen.simulated is None:
                return seen.overloads or ("there are too few requests",)
            return seen.blockers or seen.risks

        def collapses(factor: float) -> tuple[str, ...]:
            """Return that a little more traffic overloads the loader slots or multiplies the p99, in words."""
            more = round(factor * _NEAR, 2)
            seen, then = ran(factor).simulated, ran(more).simulated
            if seen is None or then is None:
                return ()
            found = then.overloads
            if not found and search.slo != SLO() and then.p99 > _COLLAPSE * seen.p99:
                found = (f"p99 is {then.p99:.3g} s instead of {seen.p99:.3g} s",)
            return tuple(f"it is near a collapse: at {more:.2f} times, {each}" for each in found)

        found = _bracket(estimated, None, tries=_GUESSES)
        if not simulate:
            return found
        if option.risks:
            return 1.0, 1.0, option.risks
        return _retreat(*_bracket(simulated, found[0], tries=_GROWTHS), exceeded=simulated, collapses=collapses)


def _bracket(
    exceeded: Callable[[float], tuple[str, ...]], guess: float | None, *, tries: int
) -> tuple[float, float | None, tuple[str, ...]]:
    """Return the largest factor from 1 to 16 that was found to hold, the smallest that was not, or None, and why not.

    Args:
        exceeded: The limits that are exceeded at a factor on the traffic; at 1 there are none.
        guess: A factor near the limit; None for no guess.
        tries: Number of factors to try at most.
    """
    low, step = 1.0, 1.1
    high: float | None = None
    why: tuple[str, ...] = ()
    for _ in range(tries):
        if guess is not None and (low == 1.0 or high is None):
            factor = (low * high) ** 0.5 if high is not None else guess * 0.95 if low == 1.0 else low * step
            step = step if low == 1.0 else step**2
        else:
            factor = low * 2.0 if high is None else (low * high) ** 0.5
        factor = round(min(factor, _MOST), 2)
        if factor <= low or (high is not None and factor >= high):
            break
        found = exceeded(factor)
        if found:
            high, why = factor, found
        else:
            low = factor
    return low, high, why


def _retreat(
    low: float,
    high: float | None,
    why: tuple[str, ...],
    *,
    exceeded: Callable[[float], tuple[str, ...]],
    collapses: Callable[[float], tuple[str, ...]],
) -> tuple[float, float | None, tuple[str, ...]]:
    """Return a factor that holds and is not within 5 % of a collapse, the next one that was refused, and why.

    Args:
        low: Largest factor that was found to hold.
        high: Smallest that was not; None if all hold.
        why: The limits that are exceeded at `high`.
        exceeded: The limits that are exceeded at a factor on the traffic.
        collapses: What a little more traffic than a factor does to the endpoint, if it is a collapse.
    """
    for _ in range(_RETREATS):
        found = (exceeded(low) or collapses(low)) if 1.0 < low < _MOST else ()
        if not found:
            return low, high, why
        high, why = low, found
        low = max(1.0, round(low / _NEAR, 2))
    return 1.0, high, why  # 1 holds


def distance(found: HostingEstimate | HostingOption, search: LayoutSearch) -> float:
    """Return how far an option is from the SLO: the product of the ratios by which it exceeds the limits, 1 or more."""
    slo, far = search.slo, 1.0
    for name in (*LATENCIES, "cold_rate"):
        limit = getattr(slo, name)
        if limit is not None:
            far *= max(1.0, getattr(found, name) / limit)
    if isinstance(found, HostingOption):
        return far * max(1.0, found.loaders) * max(1.0, found.estimate.cpu)
    return far * max(1.0, found.loader_saturation) * max(1.0, found.cpu)


def rank(option: HostingOption, search: LayoutSearch) -> tuple[bool, bool, bool, float, float, int]:
    """Return what options are sorted by: cost, then p99, then the number of endpoints; a simulated one first."""
    apart = option.cost if option.meets else distance(option, search)
    over = search.budget is not None and option.cost > search.budget
    return (
        not option.meets,
        over,
        option.simulated is None and option.meets,
        round(apart, 6),
        option.p99,
        option.kinds,
    )
