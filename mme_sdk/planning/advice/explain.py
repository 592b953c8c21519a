"""The reasons for the advice, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.prices import Prices

if TYPE_CHECKING:
    from mme_sdk.planning.advice.option import HostingOption
    from mme_sdk.planning.advice.search import LayoutSearch

__all__ = ["compared", "reasons", "seconds"]


def seconds(value: float) -> str:
    """Return a time in seconds as text, such as `20 ms` or `1.50 s`."""
    if value != value or value == float("inf"):
        return "infinite"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def compared(before: HostingEstimate, after: HostingEstimate) -> tuple[str, ...]:
    """Return the changes between two estimates of the same layout, as sentences."""
    lines = [
        f"cold rate {before.cold_rate:.2%} → {after.cold_rate:.2%}",
        f"p99 {seconds(before.p99)} → {seconds(after.p99)}",
        f"loader slots {before.loader_saturation:.0%} → {after.loader_saturation:.0%} busy at the peak",
    ]
    return (*lines, *after.blockers)


def reasons(
    best: HostingOption, options: list[HostingOption], search: LayoutSearch, prices: Prices, *, guessed: bool
) -> tuple[str, ...]:
    """Return why this option was chosen, why the others were not, and which inputs are uncertain, as sentences."""
    lines = [*_verdict(best, search), *_hosting(best, search), *_others(best, options)]
    if best.failure is not None and best.layout.instance_type is not None:
        lines.append(
            f"After the loss of one instance: {'; '.join(best.failure)}."
            if best.failure
            else "It meets the SLO after the loss of one instance."
        )
    if best.headroom is not None and best.meets:
        grown = "16 times the traffic or more" if best.headroom >= 16 else f"{best.headroom:.2f} times the traffic"
        lines.append(f"It meets the SLO up to {grown}, by formula.")
    lines += [f"Note: {note}." for note in search.demand.workload.notes]
    if guessed:
        lines.append("Sizes and times of the models are assumed (100 MiB, 20 ms): pass a catalogue.")
    if prices.indicative:
        lines.append(f"Prices are indicative ({prices.source}).")
    return tuple(lines)


def _verdict(best: HostingOption, search: LayoutSearch) -> list[str]:
    if best.meets:
        how = f"simulated over {best.simulated.requests:,} requests" if best.simulated else "by formula"
        times = f"p50 {seconds(best.p50)}, p95 {seconds(best.p95)}, p99 {seconds(best.p99)}"
        return [f"The cheapest option that meets the SLO ({search.slo}): {best.cold_rate:.2%} cold, {times} ({how})."]
    return [
        f"No option meets the SLO ({search.slo}); this option exceeds the limits least.",
        *(f"Exceeded: {each}." for each in best.blockers),
    ]


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
        fit = "all fit into memory" if need <= memory else f"{memory / need:.0%} of them fit into memory at a time"
        lines.append(
            f"{len(which)} shared models need {need / 2**30:.1f} GiB; {memory / 2**30:.1f} GiB are for models: {fit}. "
            f"At the peak, loader slots are {best.estimate.loader_saturation:.0%} and vCPUs "
            f"{best.estimate.cpu:.0%} busy."
        )
    if layout.mode == "uncached":
        lines.append(
            "Few models are requested again before they would be evicted: a cache would not reduce the load times."
        )
    return lines


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
            lines.append(
                f"{name.capitalize()} would cost {rival.cost / best.cost:.1f} times as much ({rival.cost:,.0f})."
            )
        elif rival.blockers:
            lines.append(f"{name.capitalize()} ({rival.layout}) does not meet the SLO: {rival.blockers[0]}.")
    return lines
