"""Figures into sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mme_sdk.planning.advice.demand import site_of
from mme_sdk.planning.advice.setting import Estimate
from mme_sdk.planning.prices import Prices

if TYPE_CHECKING:
    from mme_sdk.planning.advice.option import Option
    from mme_sdk.planning.advice.scan import Scan

__all__ = ["compared", "reasons", "seconds"]


def seconds(value: float) -> str:
    """A time as one says it."""
    if value != value or value == float("inf"):
        return "never"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def compared(before: Estimate, after: Estimate) -> tuple[str, ...]:
    """What changed between two estimates of the same hosting."""
    lines = [
        f"cold rate {before.cold_rate:.2%} → {after.cold_rate:.2%}",
        f"p99 {seconds(before.p99)} → {seconds(after.p99)}",
        f"loaders {before.loader_saturation:.0%} → {after.loader_saturation:.0%} busy at the peak",
    ]
    return (*lines, *after.blockers)


def reasons(best: Option, options: list[Option], scan: Scan, prices: Prices, *, guessed: bool) -> tuple[str, ...]:
    """Why this option, what speaks against the others, and what the advice rests on."""
    lines = [*_verdict(best, scan), *_hosting(best, scan), *_others(best, options)]
    if best.failure is not None and best.setting.instance_type is not None:
        lines.append(
            f"With one instance gone: {'; '.join(best.failure)}."
            if best.failure
            else "It bears the loss of one instance."
        )
    if best.headroom is not None and best.meets:
        grown = "sixteen times the traffic or more" if best.headroom >= 16 else f"{best.headroom:.2f} times the traffic"
        lines.append(f"Something gives at {grown}.")
    lines += [f"Note: {note}." for note in scan.demand.workload.notes]
    if guessed:
        lines.append("Sizes and times of the models are guesses (100 MiB, 20 ms): give a catalogue.")
    if prices.indicative:
        lines.append(f"Prices are indicative ({prices.source}).")
    return tuple(lines)


def _verdict(best: Option, scan: Scan) -> list[str]:
    if best.meets:
        how = f"simulated over {best.confirmation.requests:,} requests" if best.confirmation else "by formula"
        times = f"p50 {seconds(best.p50)}, p95 {seconds(best.p95)}, p99 {seconds(best.p99)}"
        return [f"The cheapest that meets the SLO ({scan.slo}): {best.cold_rate:.2%} are cold, {times} ({how})."]
    return [
        f"No option meets the SLO ({scan.slo}); this is the nearest.",
        *(f"Blocked: {each}." for each in best.blockers),
    ]


def _hosting(best: Option, scan: Scan) -> list[str]:
    lines, setting, rates = [], best.setting, scan.demand.workload.rates
    if setting.dedicated and setting.instance_type is not None:
        apart = [each.model for each in setting.dedicated]
        lines.append(
            f"{len(apart)} busy models, {rates[apart].sum() / rates.sum():.0%} of the traffic, have endpoints of their "
            f"own; {len(rates) - len(apart)} share one."
        )
    if setting.instance_type is not None:
        site = site_of(scan.types[setting.instance_type], setting.count, scan.assumptions)
        alone = {each.model for each in setting.dedicated}
        which = np.asarray([each for each in range(len(rates)) if each not in alone])
        room = site.memory_bytes * setting.count
        need = float(scan.demand.memory[which].sum())
        fit = "all fit into memory" if need <= room else f"{room / need:.0%} of their bytes fit into memory at a time"
        lines.append(
            f"{len(which)} models of {need / 2**30:.1f} GiB on {room / 2**30:.1f} GiB: {fit}; loaders are "
            f"{best.estimate.loader_saturation:.0%} busy at the peak, vCPUs {best.estimate.cpu:.0%}."
        )
    if setting.mode == "uncached":
        lines.append("Hardly any model is asked for again before it would be evicted: caching would save nothing.")
    return lines


def _others(best: Option, options: list[Option]) -> list[str]:
    names = {
        "dedicated": "an endpoint for each model",
        "shared": "one endpoint for all",
        "hybrid": "endpoints for the busiest and one for the rest",
        "uncached": "one endpoint without a cache",
    }
    lines = []
    for mode, name in names.items():
        others = [each for each in options if each.setting.mode == mode]
        if mode == best.setting.mode or not others:
            continue
        rival = min(others, key=lambda each: (not each.meets, each.cost))
        if rival.meets and rival.cost > 0:
            lines.append(
                f"{name.capitalize()} would cost {rival.cost / best.cost:.1f} times as much ({rival.cost:,.0f})."
            )
        elif rival.blockers:
            lines.append(f"{name.capitalize()} ({rival.setting}) does not do: {rival.blockers[0]}.")
    return lines
