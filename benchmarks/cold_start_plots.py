"""Draws the pictures of `docs/cold-start.md` from the data files in `docs/benchmarks`.

python benchmarks/cold_start_plots.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

sys.path.insert(0, str(Path(__file__).parent))
import cold_start

DOCS = Path(__file__).parents[1] / "docs"
COLORS = {
    "boto3 standard": "#b8b8b8",
    "boto3 legacy": "#8a8a8a",
    "full jitter": "#4d4d4d",
    "mme_sdk, first load": "#9ecae1",
    "mme_sdk, learned": "#3182bd",
    "mme_sdk, learned, leases": "#08519c",
    "mme_sdk": "#3182bd",
    "mme_sdk, leases": "#08519c",
}
TITLES = {"held": "requests are held", "immediate": "429 at once"}
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10, "figure.dpi": 120}
Record = cold_start.Record


def select(records: list[Record], **wanted: str) -> list[Record]:
    return [record for record in records if all(record[name.replace("_", " ")] == wanted[name] for name in wanted)]


def number(record: Record, name: str) -> float:
    return float(record[name] or "nan")


def herds(records: list[Record]) -> Any:
    """Draw extra loads over client processes, and attempts and success over load times."""
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 6.2), layout="constrained")
    for axis, endpoint in zip(axes[0], ("held", "immediate"), strict=True):
        case = select(records, endpoint=endpoint, load_s="20", instances="4")
        names = [name for name in COLORS if select(case, policy=name)]
        for place, name in enumerate(names):
            rows = {row["processes"]: number(row, "extra loads") for row in select(case, policy=name)}
            at = [group + (place - len(names) / 2 + 0.5) * 0.13 for group, _ in enumerate("abc")]
            values = [rows.get(count, float("nan")) for count in ("1", "4", "16")]
            axis.bar(at, values, 0.12, color=COLORS[name], label=name)
            for x, value in zip(at, values, strict=True):
                if value == 0:
                    axis.text(x, 0.03, "0", ha="center", fontsize=7, color=COLORS[name])
        axis.set(title=f"Extra loads of a 20 s load: {TITLES[endpoint]}", ylim=(0, 3.2), xlabel="client processes")
        axis.set_xticks(range(3), ["1", "4", "16"])
    axes[0][0].set_ylabel("loads beyond the first")
    for axis, field, title in (
        (axes[1][0], "attempts per caller", "Requests for each caller: 429 at once, one process"),
        (axes[1][1], "success %", "Success: 429 at once, one process"),
    ):
        for name in list(COLORS)[:5]:
            case = select(records, endpoint="immediate", instances="4", processes="1", policy=name)
            loads, values = [number(row, "load s") for row in case], [number(row, field) for row in case]
            axis.plot(loads, values, "o-", color=COLORS[name], label=name, markersize=4)
        axis.set(xscale="log", title=title, xlabel="load time, s")
        axis.xaxis.set(major_locator=FixedLocator([2, 20, 90, 300]), minor_locator=NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[1][0].set(yscale="log", ylabel="requests")
    axes[1][0].yaxis.set(major_locator=FixedLocator([1, 2, 5, 10, 20, 40]), minor_locator=NullLocator())
    axes[1][0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[1][1].set(ylim=(-4, 106), ylabel="% of callers")
    axes[1][1].text(20, 89, "full jitter and mme_sdk: 100 %", fontsize=8, color=COLORS["mme_sdk, learned"])
    handles, labels = axes[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def fleet(records: list[Record]) -> Any:
    """Draw success and the 95th percentile of a fleet that starts cold."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.0), layout="constrained", sharey=True)
    case = select(records, endpoint="immediate")
    labels = [f"{row['policy']}, {row['processes']} process{'es' * (row['processes'] != '1')}" for row in case]
    colors = [COLORS[row["policy"]] for row in case]
    for axis, field, title, unit in (
        (axes[0], "success %", "Success", "%"),
        (axes[1], "p95 s", "95th percentile of call durations", " s"),
    ):
        values = [number(row, field) for row in case]
        axis.barh(labels, values, color=colors, height=0.7)
        for place, value in enumerate(values):
            axis.text(value + max(values) * 0.015, place, f"{value:.0f}{unit}", va="center", fontsize=8)
        axis.set(title=title, xlim=(0, max(values) * 1.16))
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
    axes[0].invert_yaxis()
    return figure


def bound(records: list[Record]) -> Any:
    """Draw extra loads of `mme_sdk` and of the best schedule over the spread of load times."""
    figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for instances, color in (("2", "#9ecae1"), ("4", "#3182bd"), ("16", "#08306b")):
        case = select(records, instances=instances)
        sigma = [number(row, "sigma") for row in case]
        axis.plot(sigma, [number(row, "extra loads") for row in case], "o-", color=color, markersize=4)
        axis.plot(sigma, [number(row, "least extra loads") for row in case], "o--", color=color, markersize=4)
        axis.annotate(
            f"{instances} instances",
            (sigma[-1], number(case[-1], "extra loads")),
            (6, -3),
            textcoords="offset points",
            color=color,
        )
    axis.plot([], [], "-", color="#666666", label="mme_sdk, which learned from ten loads")
    axis.plot([], [], "--", color="#666666", label="best schedule, if the distribution is known")
    axis.set(xlabel="standard deviation of the logarithm of the load time", ylabel="extra loads", ylim=(0, 1.9))
    axis.set_xlim(0.03, 0.48)
    axis.set_xticks([0.05, 0.1, 0.2, 0.4])
    axis.legend(loc="upper left", frameon=False)
    return figure


def main() -> None:
    pictures = {"cold-start-herds": herds, "cold-start-fleet": fleet, "cold-start-probe-bound": bound}
    with mpl.rc_context(STYLE):
        for name, draw in pictures.items():
            figure = draw(cold_start.read(DOCS / "benchmarks", name))
            figure.savefig(DOCS / "images" / f"{name}.png", metadata={"Software": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
