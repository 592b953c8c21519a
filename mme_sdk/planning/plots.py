"""Charts of a plan and of simulations."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from mme_sdk.errors import MissingExtraError
from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.inputs import LATENCIES
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.simulation import FAILED, HIT, SimulationResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


__all__ = ["overview", "pareto", "png", "timeline"]

_BLUE, _RED, _GREY, _GREEN = "#2f6fb0", "#c0392b", "#8a8f98", "#2e8b57"
_OTHERS = (_BLUE, _GREEN, "#b07d2f", "#7b4ea3", _GREY)  # the best option is red
_NARROW = 8.0  # inches; narrower figures have one column
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
    currency: str = "",
    width: float = 11.0,
) -> Figure:
    """Draw misses against memory, cost against instances, latencies by option, and the effect of the assumptions.

    Args:
        search: The search, with the traffic, the instance types and the SLO.
        options: The options, best first.
        estimates: Every layout that was estimated, with its figures.
        sensitivity: The table of `HostingPlan.sensitivity`.
        seed: Seed of the latency draws.
        currency: Currency of the prices; empty (the default) if it is not known.
        width: Width of the figure, inches; the charts of a figure under 8 inches stand in one column. Default 11.

    Returns:
        A matplotlib figure. A notebook displays it; `savefig` writes it to a file.
    """
    narrow = width < _NARROW
    figure = _figures()(figsize=(width, 15.5 if narrow else 0.8 * width), layout="constrained")
    parts = figure.subfigures(4 if narrow else 2, 1 if narrow else 2, squeeze=False)  # each with margins of its own
    misses, costs, latencies, guesses = (part.add_subplot() for part in parts.ravel())
    _misses(misses, search, options[0])
    _costs(costs, options, estimates, currency, narrow=narrow)
    _latencies(latencies, search, options, seed)
    _sensitivity(guesses, sensitivity, narrow=narrow)
    return figure


def _key(axes: Axes, columns: int, handles: Sequence[Any] | None = None) -> None:
    """Write the legend under the axes, where it hides nothing."""
    from matplotlib.transforms import ScaledTranslation

    given = {} if handles is None else {"handles": handles}
    figure = axes.get_figure(root=True)
    assert figure is not None
    below = axes.transAxes + ScaledTranslation(0.0, -0.5, figure.dpi_scale_trans)  # inches
    axes.legend(
        **given, fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0.0, 0.0), bbox_transform=below,
        ncols=columns, borderaxespad=0.0, columnspacing=1.2,
    )  # fmt: skip


def _beside(axes: Axes, text: str, at: tuple[float, float], *, share: float, up: float = 8.0) -> None:
    """Write a text beside a point, on the side that has more space.

    Args:
        axes: The axes.
        text: The text.
        at: The point, in the units of the axes.
        share: Where the point is between the left (0) and the right (1) end of the axes.
        up: Distance above the point, in points; below it if negative. Default 8.
    """
    left = share > 0.5
    axes.annotate(
        text, at, xytext=(-8 if left else 8, up), textcoords="offset points", fontsize=8,
        ha="right" if left else "left", va="bottom" if up >= 0 else "top", zorder=6,
        bbox={"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.75, "lw": 0},
    )  # fmt: skip


def _misses(axes: Axes, search: LayoutSearch, best: HostingOption) -> None:
    demand, layout = search.demand, best.layout
    table, sizes, rates = demand.residency, demand.memory.copy(), demand.workload.rates.copy()
    alone = [each.model for each in layout.dedicated]
    sizes[alone], rates[alone] = 0.0, 0.0
    if not rates.any():
        _plain(axes, "No shared memory", "", "")
        return
    filled, missing = table.filled(sizes) / 2**30, 1.0 - table.hit_ratio(rates)
    end = float(sizes.sum()) / 2**30 * 1.05
    axes.plot(filled, missing, color=_BLUE, label="an LRU cache of this size, by formula")
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1.05)
    if layout.instance_type is not None and layout.mode != "uncached":
        kind = search.types[layout.instance_type]
        capacity = fleet_config(kind, layout.count, search.assumptions).memory_bytes * layout.count / 2**30
        miss = float(np.interp(capacity, filled, missing))
        shown = min(capacity, end)
        axes.plot([shown], [miss], "o", color=_RED, clip_on=False, label=f"the advice: {miss:.2%} misses")
        more = f"\nwith {capacity:.0f} GiB" if capacity > end else ""
        _beside(axes, f"{layout.count} x {layout.instance_type}{more}", (shown, miss), share=shown / end)
    _key(axes, 1)
    _plain(axes, "Misses against memory", "memory for models, GiB", "share of requests that miss")


def _cost_label(currency: str) -> str:
    return f"{currency} per month" if currency else "cost per month"


def _costs(
    axes: Axes,
    options: Sequence[HostingOption],
    estimates: Sequence[tuple[HostingLayout, HostingEstimate]],
    currency: str,
    *,
    narrow: bool,
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    best = options[0]
    simulated = {each.layout: each for each in options if each.simulated is not None}
    points = [(layout, one.cost, not one.blockers) for layout, one in estimates if layout not in simulated]
    points += [(layout, each.cost, each.meets) for layout, each in simulated.items()]
    points = [each for each in points if each[0].instance_type is not None]
    for layout, cost, good in points:
        colour, known = _MODES[layout.mode], layout in simulated
        axes.plot(
            [layout.count], [cost], "o" if good else "x", color=colour, markersize=5 if good else 4,
            fillstyle="full" if known else "none", alpha=0.9 if good or known else 0.4, zorder=3 if known else 2,
        )  # fmt: skip
    if best.layout.instance_type is not None:
        axes.plot([best.layout.count], [best.cost], "o", color=_RED, markersize=11, fillstyle="none", zorder=4)
    axes.set_yscale("log")
    most = max((each[1] for each in points), default=best.cost)
    least = min((each[1] for each in points), default=best.cost)
    axes.set_ylim(least / 1.4, most * 1.4)
    last = max((each[0].count for each in points), default=1)
    axes.set_xlim(0, last + 1)
    _in_words(axes.yaxis, lambda cost: f"{cost:,.0f}", (1.0, 2.0, 5.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [
        Line2D([], [], ls="", marker="s", color=colour, label=mode)
        for mode, colour in _MODES.items()
        if any(each[0].mode == mode for each in points)
    ]
    own = next((each for each in options if each.layout.mode == "dedicated"), None)
    if own is not None:
        line = axes.axhline(own.cost, color=_MODES["dedicated"], ls="--", lw=1)
        line.set_label(f"dedicated: {own.cost:,.0f}{'' if least / 1.4 <= own.cost <= most * 1.4 else ' (not shown)'}")
        handles.append(line)
    marks = (("o", "full", "meets the SLO, simulated"), ("o", "none", "meets it by formula"), ("x", "full", "does not"))
    for marker, style, label in marks:
        handles.append(Line2D([], [], ls="", marker=marker, color="black", fillstyle=style, label=label))  # type: ignore[arg-type]
    handles.append(Line2D([], [], ls="", marker="o", color=_RED, fillstyle="none", markersize=9, label="the advice"))
    _key(axes, 1 if narrow else 2, handles)
    _plain(axes, "Cost against instances", "instances of the shared endpoint", _cost_label(currency))


def _latencies(axes: Axes, search: LayoutSearch, options: Sequence[HostingOption], seed: int) -> None:
    others, best, slo = itertools.cycle(_OTHERS), options[0], search.slo
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1.3)
    for option in options[:5]:
        if option.estimate.mix is None:
            continue
        drawn = np.sort(option.estimate.mix.draw(40_000, np.random.default_rng(seed)))
        share = 1.0 - (np.arange(len(drawn)) + 0.5) / len(drawn)
        chosen = option is best
        axes.plot(
            drawn, share, label=str(option.layout), color=_RED if chosen else next(others), lw=2 if chosen else 1,
            zorder=3 if chosen else 2,
        )  # fmt: skip
    if best.simulated is not None:
        seen = best.simulated
        axes.plot(
            [seen.p50, seen.p95, seen.p99], [0.5, 0.05, 0.01], "o", color=_RED, mec="black", ls="", zorder=4,
            label="the advice, simulated: p50, p95, p99",
        )  # fmt: skip
    limits = {name: value for name in LATENCIES if (value := getattr(slo, name)) is not None}
    low, high = axes.get_xlim()
    low, high = min([low, *(each / 2.0 for each in limits.values())]), max([high, *(2.0 * e for e in limits.values())])
    axes.set_xlim(low, high)
    levels = {"p50": 0.5, "p95": 0.05, "p99": 0.01}
    for name, limit in limits.items():
        words = f"{name.replace('_', ' ')} ≤ {limit:g} s"
        if name in levels:
            axes.plot([limit], [levels[name]], "v", color="black", markersize=6, zorder=5)
            _beside(axes, words, (limit, levels[name]), share=float(np.log(limit / low) / np.log(high / low)), up=4)
        else:
            axes.axvline(limit, color="black", lw=1, ls=":" if name == "warm_p95" else "--", label=f"limit: {words}")
    _key(axes, 1)
    _plain(axes, "Latency by option, by formula", "seconds", "share of requests that take longer")


def _sensitivity(axes: Axes, sensitivity: pd.DataFrame, *, narrow: bool) -> None:
    from matplotlib.patches import Patch

    table = sensitivity.iloc[::-1]
    known = table["p99 ratio"].to_numpy(dtype=float)
    ratio = np.minimum(known, 100.0)
    colours = [_GREEN if good else _RED for good in table["meets the SLO"]]
    axes.barh(np.arange(len(table)), ratio - 1.0, left=1.0, color=colours, alpha=0.8)
    names = [fill(each, 18) if narrow else each for each in table["case"]]
    axes.set_yticks(np.arange(len(table)), names)
    axes.set_xscale("log")
    low, high = min(1.0, float(ratio.min())), max(1.0, float(ratio.max()))
    margin = max(high / low, 1.5) ** (0.35 if narrow else 0.18)  # for the numbers beside the bars
    axes.set_xlim(min(low / margin, 0.9), max(high * margin, 1.25))
    close = high < 8.0 and low > 0.2 and not narrow
    _in_words(axes.xaxis, lambda times: f"{times:g}x", (1.0, 1.2, 1.5, 2.0, 3.0, 5.0) if close else (1.0, 3.0))
    for row, (times, shown) in enumerate(zip(known, ratio, strict=True)):
        text = "endless" if times == np.inf else f"{times:.0f}x" if times >= 10 else f"{times:.3g}x"
        axes.annotate(
            text, (shown, row), xytext=(4 if shown >= 1.0 else -4, 0), textcoords="offset points", fontsize=7,
            ha="left" if shown >= 1.0 else "right", va="center",
        )  # fmt: skip
    axes.axvline(1.0, color="black", lw=0.8)
    marks = ((_GREEN, "the SLO is still met"), (_RED, "it is not met"))
    _key(axes, 1 if narrow else 2, [Patch(color=colour, alpha=0.8, label=label) for colour, label in marks])
    _plain(
        axes,
        "Other assumptions" if narrow else "The advice under other assumptions",
        "p99 relative to the planned p99",
        "",
    )


def pareto(kept: Sequence[HostingOption], best: HostingOption, *, measure: str, currency: str, width: float) -> Figure:
    """Draw the cost of options against the share of cold requests or a latency.

    Args:
        kept: The options that no other one beats, cheapest first.
        best: The best option of the plan.
        measure: `cold_rate`, `p50`, `p95` or `p99`.
        currency: Currency of the prices; empty if it is not known.
        width: Width of the figure, inches.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    figure, grid = _figure(1, 1, (width, 5.6))
    axes = grid[0, 0]
    share = measure == "cold_rate"
    costs, values = [each.cost for each in kept], [float(getattr(each, measure)) for each in kept]
    axes.step(costs, values, where="post", color=_GREY, lw=1, zorder=1)
    handles: list[Any] = []
    for number, (option, cost, value) in enumerate(zip(kept, costs, values, strict=True), start=1):
        colour = _GREEN if option.meets else _RED
        axes.plot([cost], [value], "o", color=colour, markersize=12, clip_on=False, zorder=3)
        if option.layout == best.layout:
            axes.plot([cost], [value], "o", color="black", markersize=17, fillstyle="none", clip_on=False, zorder=3)
        axes.annotate(
            str(number), (cost, value), color="white", fontsize=8, ha="center", va="center", zorder=4,
            annotation_clip=False,
        )  # fmt: skip
        shown = f"{value:.2%} cold" if share else f"{value:.3g} s"
        name = f"{number}  {option.layout}: {cost:,.0f}, {shown}"
        handles.append(Line2D([], [], ls="", marker="o", color=colour, label=name))
    handles.append(
        Line2D([], [], ls="", marker="o", color="black", fillstyle="none", markersize=10, label="the advice")
    )
    marks = ((_GREEN, "meets the SLO"), (_RED, "does not meet the SLO"))
    handles += [Line2D([], [], ls="", marker="s", color=colour, label=label) for colour, label in marks]
    axes.set_ylim(0, max(*values, 1e-9) * 1.12)
    span = max(costs) - min(costs) or max(costs)
    axes.set_xlim(min(costs) - 0.06 * span, max(costs) + 0.06 * span)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _place: f"{cost:,.0f}"))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    _key(axes, 1 if width < _NARROW else 2, handles)
    what = "share of requests that are cold" if share else f"{measure}, seconds"
    _plain(axes, "What more or less money gives, simulated", _cost_label(currency), what)
    return figure


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
