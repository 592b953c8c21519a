"""The reasons for the advice, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.simulated import SimulatedFigures
from mme_sdk.planning.prices import Prices
from mme_sdk.planning.volumes import volume_gb

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.planning.advice.option import HostingOption
    from mme_sdk.planning.advice.search import LayoutSearch

__all__ = ["compared", "fragile", "reasons", "seconds"]


_ROUTINGS = {
    "sticky": "A model that was evicted is taken to return to the instance that has its files (routing sticky)",
    "sticky_to_memory": "A model that was evicted is taken to go to any instance (routing sticky_to_memory)",
    "scatter": "A request for a model in no memory is taken to go to a random instance (routing scatter)",
    "random": "Every request is taken to go to a random instance (routing random)",
}
_FRAGILE = 5.0  # times the planned p99


def seconds(value: float) -> str:
    """Return a time in seconds as text, such as `20 ms` or `1.50 s`."""
    if value != value or value == float("inf"):
        return "infinite"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def compared(before: HostingOption, after: HostingOption) -> tuple[str, ...]:
    """Return the changes between two figures of the same layout, as sentences; both simulated, or both by formula."""
    first: HostingEstimate | SimulatedFigures = before.estimate
    second: HostingEstimate | SimulatedFigures = after.estimate
    how = "by formula"
    if before.simulated is not None and after.simulated is not None:
        first, second, how = before.simulated, after.simulated, "simulated"
    lines = [
        f"cold rate {first.cold_rate:.2%} → {second.cold_rate:.2%} ({how})",
        f"p99 {seconds(first.p99)} → {seconds(second.p99)} ({how})",
    ]
    slots = (before.estimate.loader_saturation, after.estimate.loader_saturation)
    if isinstance(first, SimulatedFigures) and isinstance(second, SimulatedFigures):
        slots = (first.loaders, second.loaders)
    lines.append(f"loader slots {slots[0]:.0%} → {slots[1]:.0%} busy at the peak ({how})")
    return (*lines, *after.blockers)


def reasons(
    best: HostingOption, options: list[HostingOption], search: LayoutSearch, prices: Prices, *, guessed: bool
) -> tuple[str, ...]:
    """Return why this option was chosen, why the others were not, and which inputs are uncertain, as sentences."""
    cheaper = _cheaper(best, options)
    covered = {each.layout.mode for each in cheaper}
    others = _others(best, [each for each in options if each.meets or each.layout.mode not in covered])
    lines = [*_verdict(best, search), *map(_refused, cheaper), *_hosting(best, search), *others]
    lines += _loss(best)
    lines += _headroom(best)
    lines += _error(best)
    lines += _replayed(best, search)
    lines += _instances(best, search)
    lines += [f"Note: {note}." for note in search.demand.workload.notes]
    if guessed:
        lines.append("Sizes and times of the models are assumed (100 MiB, 20 ms): pass a catalogue.")
    if prices.indicative:
        lines.append(f"Prices are indicative ({prices.source}).")
    return tuple(lines)


def _verdict(best: HostingOption, search: LayoutSearch) -> list[str]:
    if best.meets:
        return [f"The cheapest option that meets the SLO ({search.slo}): {_figures(best.simulated or best.estimate)}."]
    return [
        f"No option meets the SLO ({search.slo}); this option exceeds the limits least.",
        *(f"Exceeded: {each}." for each in best.blockers),
    ]


def _figures(found: SimulatedFigures | HostingEstimate) -> str:
    """Return the cold rate and the quantiles as text, with the intervals of a simulation."""
    if isinstance(found, SimulatedFigures):
        low, high = found.cold_interval
        cold = f"{found.cold_rate:.2%} cold ({low:.2%} to {high:.2%})"
        low, high = found.p99_interval
        last = f"p99 {seconds(found.p99)} ({seconds(low)} to {seconds(high)})"
        how = f"simulated over {found.requests:,} requests, with 95 % intervals"
    else:
        cold, last, how = f"{found.cold_rate:.2%} cold", f"p99 {seconds(found.p99)}", "by formula"
    return f"{cold}, p50 {seconds(found.p50)}, p95 {seconds(found.p95)}, {last} ({how})"


def _loss(best: HostingOption) -> list[str]:
    if best.failure is None:
        return []
    seen = best.without_one
    how = " (by formula)" if seen is None else f": {_figures(seen)}"
    if not best.failure:
        lines = [f"It meets the SLO without one of its shared instances{how}."]
        return lines + _may_exceed("With other seeds and without that instance", () if seen is None else seen.risks)
    if best.layout.count < 2:
        return [f"After the loss of one instance: {'; '.join(best.failure)}."]
    return [f"Without one of its shared instances it does not meet the SLO: {'; '.join(best.failure)}."]


def _headroom(best: HostingOption) -> list[str]:
    if best.headroom is None:
        return []
    how = "simulated, with all intervals within the limits" if best.simulated else "by formula"
    if best.exceeded_at == 1.0:
        return _may_exceed("With other seeds and the same traffic", best.exceeded)
    if best.exceeded_at is None:
        return [f"It meets the SLO at {best.headroom:.2f} times the traffic; more was not tried ({how})."]
    why = best.exceeded[0] if best.exceeded else "it exceeds a limit"
    return [
        f"It meets the SLO at {best.headroom:.2f} times the traffic ({how}). At {best.exceeded_at:.2f} times, {why}."
    ]


def _may_exceed(when: str, risks: tuple[str, ...]) -> list[str]:
    """Return what the upper ends of the intervals exceed, as a sentence; none if they are within the limits."""
    return [f"{when} it may exceed a limit, as an interval does: {'; '.join(risks)}."] if risks else []


def _error(best: HostingOption) -> list[str]:
    """Return what the formulas say of the simulated option, which is their known error."""
    if best.simulated is None or best.layout.instance_type is None:
        return []
    found = best.estimate
    said = f"{found.cold_rate:.2%} cold and a p99 of {seconds(found.p99)}"
    return [f"By formula this option has {said}; other figures by formula may be as far from a simulation."]


def _replayed(best: HostingOption, search: LayoutSearch) -> list[str]:
    """Return what part of a trace, or of a day, was simulated."""
    load, seen = search.demand.workload, best.simulated
    if seen is None:
        return []
    count = load.requests
    if not count and load.diurnal:
        parts = f"{seen.runs} parts of the day at equal distances" if seen.runs > 1 else "one part of the day"
        return [f"The simulated requests are of {parts}; the daily wave is relative to the mean rate."]
    if not count:
        return []
    if seen.requests == count * seen.runs:
        often = f"{seen.runs} times, each time from another moment on" if seen.runs > 1 else "once"
        return [f"All {count:,} requests of the trace were simulated {often}, as if the trace repeated itself."]
    if seen.requests + seen.runs > count:
        return [f"All {count:,} requests of the trace were simulated, in {seen.runs} parts."]
    part = f"{seen.requests:,} were simulated, in {seen.runs} parts at equal distances"
    return [f"The formulas use all {count:,} requests of the trace; {part}."]


def _instances(best: HostingOption, search: LayoutSearch) -> list[str]:
    """Return what is uncertain about the instance types."""
    used = {each.instance_type for each in best.layout.dedicated}
    used |= {best.layout.instance_type} if best.layout.instance_type is not None else set()
    lines = [
        f"{name} is burstable: its vCPUs slow down when its credits are used up, which is not simulated."
        for name in sorted(used)
        if name.startswith(("ml.t2.", "ml.t3."))
    ]
    kind = best.layout.instance_type
    if kind is not None and best.layout.count > 1:
        lines.append(f"{_ROUTINGS[search.assumptions.routing]}; AWS does not document it.")
    if kind is not None and not search.types[kind].local_gb:
        size, source = volume_gb(search.types[kind])
        given = search.assumptions.volume_gib
        known = f"{size:g} GB ({source})" if given is None else f"{given:g} GiB (as the assumptions say)"
        lines.append(f"Each shared instance is taken to have a volume of {known}.")
    return lines


def _hosting(best: HostingOption, search: LayoutSearch) -> list[str]:
    lines, layout, rates = [], best.layout, search.demand.workload.rates
    if layout.dedicated and layout.instance_type is not None:
        apart = [each.model for each in layout.dedicated]
        lines.append(
            f"{len(apart)} busy models with {rates[apart].sum() / rates.sum():.0%} of the traffic have their own "
            f"endpoints; {len(rates) - len(apart)} models share one."
        )
    if layout.instance_type is not None:
        config = fleet_config(search.types[layout.instance_type], layout.count, search.assumptions)
        alone = {each.model for each in layout.dedicated}
        which = np.asarray([each for each in range(len(rates)) if each not in alone])
        memory = config.memory_bytes * layout.count
        need = float(search.demand.memory[which].sum())
        how = "simulated" if best.simulated else "by formula"
        fit = "all fit into memory" if need <= memory else f"{memory / need:.0%} of them fit into memory at a time"
        lines.append(
            f"{len(which):,} shared models need {need / 2**30:.1f} GiB; {memory / 2**30:.1f} GiB are for models: "
            f"{fit}. At the peak, loader slots are {best.loaders:.0%} busy ({how}) and vCPUs {best.estimate.cpu:.0%} "
            "(by formula)."
        )
    if layout.mode == "uncached":
        lines.append(
            "Few models are requested again before they would be evicted: a cache would not reduce the load times."
        )
    return lines


def _cheaper(best: HostingOption, options: list[HostingOption]) -> list[HostingOption]:
    """Return the dearest two of the cheaper options, which do not meet the SLO; simulated ones first."""
    refused = [each for each in options if best.meets and each.cost < best.cost and not each.meets]
    return sorted(refused, key=lambda each: (each.simulated is None, -each.cost))[:2]


def _refused(option: HostingOption) -> str:
    how = ", simulated" if option.simulated is not None and "by formula" not in option.blockers[0] else ""
    return f"{option.layout} costs less ({option.cost:,.0f}) and does not meet the SLO: {option.blockers[0]}{how}."


def fragile(best: HostingOption, sensitivity: pd.DataFrame) -> tuple[str, ...]:
    """Return the assumptions that the advice depends on, as sentences.

    Args:
        best: The option.
        sensitivity: The table of `HostingPlan.sensitivity`.

    Returns:
        A sentence for each assumption with which the SLO is not met, or the p99 is at least five times as long; none
        for an option that does not meet the SLO anyway.
    """
    if not best.meets:
        return ()
    lines = []
    for row in sensitivity.to_dict("records"):
        ratio = row["p99 ratio"]
        if row["meets the SLO"] and ratio < _FRAGILE:
            continue
        if ratio == float("inf"):
            lines.append(f"Fragile: with {row['case']}, no request is answered: {row['blocked by']}.")
            continue
        times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
        what = f"the p99 is {times} times as long ({seconds(best.p99)} → {seconds(row['p99'])})"
        if seconds(best.p99) == seconds(row["p99"]):
            what = f"the p99 is {seconds(best.p99)} as before"
        met = "the SLO is still met" if row["meets the SLO"] else f"the SLO is not met: {row['blocked by']}"
        met += f"; with other seeds, {row['may exceed']}" if row["may exceed"] else ""
        lines.append(f"Fragile: with {row['case']}, {what}; {met}.")
    return tuple(lines)


def _others(best: HostingOption, options: list[HostingOption]) -> list[str]:
    names = {
        "dedicated": "one endpoint for each model",
        "shared": "one endpoint for all models",
        "hybrid": "own endpoints for the busiest models and one for the others",
        "uncached": "one endpoint without a model cache",
    }
    lines = []
    for mode, name in names.items():
        others = [each for each in options if each.layout.mode == mode]
        if mode == best.layout.mode or not others:
            continue
        rival = min(others, key=lambda each: (not each.meets, each.cost))
        if rival.meets and rival.cost > 0:
            how = "" if rival.simulated else "; that it meets the SLO is by formula"
            times = f"{rival.cost / best.cost:.1f}"
            much = "as much" if times == "1.0" else f"{times} times as much"
            lines.append(f"{name.capitalize()} would cost {much} ({rival.cost:,.0f}{how}).")
        elif rival.blockers and rival.blockers[0].startswith("it costs "):
            lines.append(f"{name.capitalize()} ({rival.layout}) {rival.blockers[0].removeprefix('it ')}.")
        elif rival.blockers:
            lines.append(f"{name.capitalize()} ({rival.layout}) does not meet the SLO: {rival.blockers[0]}.")
    return lines
