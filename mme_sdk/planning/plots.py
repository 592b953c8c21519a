"""Charts of a plan and of simulations."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mme_sdk.errors import MissingExtraError
from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.simulation import FAILED, HIT, SimulationResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


__all__ = ["overview", "png", "timeline"]

_BLUE, _RED, _GREY, _GREEN = "#2f6fb0", "#c0392b", "#8a8f98", "#2e8b57"
_OTHERS = (_BLUE, _GREEN, "#b07d2f", "#7b4ea3", _GREY)  # the best option is red
_MODES = {"shared": _BLUE, "hybrid": _GREEN, "dedicated": _GREY, "uncached": "#b07d2f"}


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = _figures()(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


@functools.cache
def _figures() -> type[Figure]:
    """Return a class of figures that a notebook displays without `%matplotlib inline`."""
    try:
        # Figure instead of pyplot: no global state, and nothing to close.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing needs matplotlib", hint="pip install 'mme-sdk[plot]'") from error

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            return png(self)

    return Picture


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()


def _in_words(axis: Axis, shown: Callable[[float], str], steps: Sequence[float]) -> None:
    """Label a logarithmic axis with plain numbers; matplotlib would write 6 x 10^2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _place: shown(value)))


def _plain(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)


def overview(
    search: LayoutSearch,
    options: Sequence[HostingOption],
    *,
    estimates: Sequence[tuple[HostingLayout, HostingEstimate]],
    sensitivity: pd.DataFrame,
    seed: int,
) -> Figure:
    """Draw misses against memory, cost against instances, latencies by option, and the effect of the assumptions.

    Args:
        search: The search, with the traffic, the instance types and the SLO.
        options: The options, best first.
        estimates: Every layout that was estimated, with its figures.
        sensitivity: The table of `HostingPlan.sensitivity`.
        seed: Seed of the latency draws.

    Returns:
        A matplotlib figure. A notebook displays it; `savefig` writes it to a file.
    """
    figure, axes = _figure(2, 2, (11.0, 7.4))
    _misses(axes[0, 0], search, options[0])
    _costs(axes[0, 1], options[0], estimates)
    _latencies(axes[1, 0], search, options, seed)
    _sensitivity(axes[1, 1], sensitivity)
    return figure


def _misses(axes: Axes, search: LayoutSearch, best: HostingOption) -> None:
    demand, layout = search.demand, best.layout
    alone = {each.model for each in layout.dedicated}
    which = np.asarray([each for each in range(len(demand.workload.models)) if each not in alone], dtype=np.int64)
    if not len(which):
        _plain(axes, "No shared memory", "", "")
        return
    table, sizes, rates = demand.residency.only(which), demand.memory[which], demand.workload.rates[which]
    filled = np.maximum.accumulate(table.present_table @ sizes) / 2**30
    missing = 1.0 - table.hit_table @ (rates / rates.sum())
    axes.plot(filled, missing, color=_BLUE)
    axes.set_xlim(0, float(sizes.sum()) / 2**30 * 1.05)
    axes.set_ylim(0, None)
    if layout.instance_type is not None:
        kind = search.types[layout.instance_type]
        capacity = fleet_config(kind, layout.count, search.assumptions).memory_bytes * layout.count / 2**30
        miss = float(np.interp(capacity, filled, missing))
        axes.plot([capacity], [miss], "o", color=_RED)
        axes.annotate(
            f"{layout.count} x {layout.instance_type}\n{miss:.2%} misses",
            (capacity, miss), xytext=(8, 14), textcoords="offset points", fontsize=8,
        )  # fmt: skip
    _plain(axes, "Misses against memory", "memory for models, GiB", "share of requests that miss")


def _costs(axes: Axes, best: HostingOption, estimates: Sequence[tuple[HostingLayout, HostingEstimate]]) -> None:
    from matplotlib.ticker import MaxNLocator

    found = [each for each in estimates if each[0].instance_type is not None]
    for mode, colour in _MODES.items():
        label: str | None = mode
        for good, marker, alpha in ((True, "o", 0.9), (False, "x", 0.35)):
            points = [(s.count, e.cost) for s, e in found if s.mode == mode and (not e.blockers) is good]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker, color=colour, alpha=alpha, markersize=4, label=label)
                label = None
    if best.layout.instance_type is not None:
        axes.plot([best.layout.count], [best.cost], "o", color=_RED, markersize=9, fillstyle="none")
    axes.set_yscale("log")
    _in_words(axes.yaxis, lambda cost: f"{cost:,.0f}", (1.0, 2.0, 5.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    _plain(axes, "Cost: dots meet the SLO, crosses do not", "instances of the shared endpoint", "cost per month")


def _latencies(axes: Axes, search: LayoutSearch, options: Sequence[HostingOption], seed: int) -> None:
    others = itertools.cycle(_OTHERS)
    for option in options[:5]:
        if option.estimate.mix is None:
            continue
        drawn = np.sort(option.estimate.mix.draw(40_000, np.random.default_rng(seed)))
        share = 1.0 - (np.arange(len(drawn)) + 0.5) / len(drawn)
        chosen = option is options[0]
        axes.plot(
            drawn, share, label=str(option.layout), color=_RED if chosen else next(others), lw=2 if chosen else 1,
            zorder=3 if chosen else 2,
        )  # fmt: skip
    for name, level in (("p50", 0.5), ("p95", 0.05), ("p99", 0.01)):
        limit = getattr(search.slo, name)
        if limit is not None:
            axes.plot([limit], [level], "v", color="black", markersize=6)
            axes.annotate(f" {name} ≤ {limit:g} s", (limit, level), fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1.05)
    axes.legend(fontsize=7, frameon=False, loc="lower left")
    _plain(axes, "Latency by option, by formula", "seconds", "share of requests that take longer")


def _sensitivity(axes: Axes, sensitivity: pd.DataFrame) -> None:
    table = sensitivity.iloc[::-1]
    ratio = np.minimum(table["p99 ratio"].to_numpy(dtype=float), 100.0)
    colours = [_GREEN if good else _RED for good in table["meets the SLO"]]
    axes.barh(np.arange(len(table)), ratio - 1.0, left=1.0, color=colours, alpha=0.8)
    axes.set_yticks(np.arange(len(table)), table["case"])
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, float(ratio.min()) / 1.1), max(1.25, float(ratio.max()) * 1.1))
    narrow = ratio.max() < 8.0 and ratio.min() > 0.2
    _in_words(axes.xaxis, lambda times: f"{times:g}x", (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 8.0) if narrow else (1.0, 3.0))
    axes.axvline(1.0, color="black", lw=0.8)
    _plain(axes, "Other assumptions (red: the SLO is not met)", "p99 relative to the planned p99", "")


def timeline(
    results: dict[str, SimulationResult], *, window: float = 60.0, marks: dict[str, float] | None = None
) -> Figure:
    """Draw simulations over time: the answered share, the cold share and the latency in each window.

    Args:
        results: Simulations of the same traffic, by name.
        window: Length of a window, seconds. Default 60.
        marks: Times to mark, seconds, by name; none by default.

    Returns:
        A matplotlib figure.
    """
    figure, axes = _figure(3, 1, (9.0, 7.0))
    colours = [_RED, _BLUE, _GREEN, _GREY, "#7b4ea3"]
    for (name, result), colour in zip(results.items(), itertools.cycle(colours)):
        at = (result.times // window).astype(np.int64)
        count = np.maximum(np.bincount(at), 1)
        minutes = np.arange(len(count)) * window / 60.0
        failed = np.bincount(at, weights=result.kinds == FAILED, minlength=len(count))
        cold = np.bincount(at, weights=result.kinds != HIT, minlength=len(count))
        axes[0, 0].plot(minutes, 1.0 - failed / count, color=colour, label=name)
        axes[1, 0].plot(minutes, cold / count, color=colour)
        order = np.argsort(at, kind="stable")
        edges = np.searchsorted(at[order], np.arange(len(count) + 1))
        waits = result.latency[order]
        p95 = [np.quantile(waits[a:b], 0.95) if b > a else np.nan for a, b in itertools.pairwise(edges)]
        axes[2, 0].plot(minutes, p95, color=colour)
    for row, (title, label) in enumerate(
        (
            ("Requests that were answered", "share"),
            ("Requests whose model was not in memory", "share"),
            ("Latency", "p95, s"),
        )
    ):
        _plain(axes[row, 0], title, "minutes" if row == 2 else "", label)
        for name, moment in (marks or {}).items():
            axes[row, 0].axvline(moment / 60.0, color="black", lw=0.8, ls=":")
            if row == 0:
                place = axes[row, 0].get_xaxis_transform()
                axes[row, 0].annotate(f" {name}", (moment / 60.0, 0.03), xycoords=place, fontsize=8)
    axes[2, 0].set_yscale("log")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside upper right", ncols=5
    )
    return figure
