"""The options of a plan as a table, as text and as HTML."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mme_sdk.display import html as render
from mme_sdk.planning.advice.explain import seconds
from mme_sdk.planning.advice.inputs import SLO
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.prices import Prices
from mme_sdk.planning.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame", "html", "text"]

_SHOWN = 8


def frame(options: Sequence[HostingOption]) -> pd.DataFrame:
    """Return a table with one row for each option.

    Args:
        options: The options.

    Returns:
        A DataFrame.
    """
    import pandas as pd

    return pd.DataFrame([_row(option) for option in options])


def _row(option: HostingOption) -> dict[str, object]:
    layout, found = option.layout, option.estimate
    return {
        "mode": layout.mode,
        "instance type": layout.instance_type or "",
        "instances": layout.count,
        "dedicated": len(layout.dedicated),
        "cost": found.cost,
        "cold rate": option.cold_rate,
        "p50": option.p50,
        "p95": option.p95,
        "p99": option.p99,
        "loaders": option.loaders,
        "vCPUs": found.cpu,
        "meets": option.meets,
        "simulated": option.simulated is not None,
        "blocked by": "; ".join(option.blockers),
    }


_HEAD = ("hosting", "per month", "cold", "p50", "p95", "p99", "loaders", "")


def _head(prices: Prices) -> tuple[str, ...]:
    return (_HEAD[0], f"{prices.currency} {_HEAD[1]}".strip(), *_HEAD[2:])


def _cells(option: HostingOption) -> tuple[str, ...]:
    layout = option.layout
    shared = f"{layout.count} x {layout.instance_type}" if layout.instance_type else ""
    own = f"{len(layout.dedicated)} dedicated" if layout.dedicated else ""
    return (
        f"{layout.mode}: {' + '.join(part for part in (shared, own) if part)}",
        f"{option.cost:,.0f}",
        f"{option.cold_rate:.2%}",
        seconds(option.p50),
        seconds(option.p95),
        seconds(option.p99),
        f"{min(option.loaders, 9.99):.0%}",
        "yes, simulated"
        if option.meets and option.simulated
        else "yes, by formula"
        if option.meets
        else option.blockers[0],
    )


def text(
    options: Sequence[HostingOption],
    *,
    workload: Workload,
    slo: SLO,
    prices: Prices,
    estimated: int,
    what_ifs: pd.DataFrame,
    warnings: Sequence[str],
) -> str:
    """Return the advice for a terminal.

    Args:
        options: The options, best first.
        workload: The traffic.
        slo: The service level objective.
        prices: The prices that were used.
        estimated: Number of layouts that were estimated.
        what_ifs: The table of `HostingPlan.what_ifs`.
        warnings: Sentences on models that are unlike, and on assumptions that matter.

    Returns:
        Several lines of text.
    """
    best = options[0]
    rows = [_head(prices), *(_cells(option) for option in options[:_SHOWN])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = [repr(workload)[1:-1], f"SLO: {slo}", f"Prices: {prices.source}", ""]
    lines.append(("Advice: " if best.meets else "Nearest: ") + str(best))
    lines += [f"  - {reason}" for reason in (*best.why, *warnings)]
    lines.append("")
    for row in rows:
        cells = [
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    lines += ["", f"{estimated:,} layouts were estimated by formula. The best one under other conditions, simulated:"]
    for case in what_ifs.to_dict("records"):
        verdict = "meets the SLO" if case["meets the SLO"] else case["blocked by"]
        verdict += f"; with other seeds, {case['may exceed']}" if case["may exceed"] else ""
        how = "" if case["simulated"] else " (by formula)"
        lines.append(
            f"  {case['case']:<28} {case['cold rate']:>7.2%} cold, p99 {seconds(case['p99']):>7}{how}: {verdict}"
        )
    return "\n".join(lines)


def html(
    options: Sequence[HostingOption], *, prices: Prices, warnings: Sequence[str], picture: bytes | None = None
) -> str:
    """Return the advice for a notebook.

    Args:
        options: The options, best first.
        prices: The prices that were used.
        warnings: Sentences on models that are unlike, and on assumptions that matter.
        picture: The charts as a PNG file. None means no charts.

    Returns:
        An HTML fragment.
    """
    best = options[0]
    names = (*_head(prices)[:-1], "meets the SLO")
    table = render.table("", [dict(zip(names, _cells(option), strict=True)) for option in options[:_SHOWN]])
    why = "".join(f"<li>{render.escape(reason)}</li>" for reason in (*best.why, *warnings))
    title = "Advice" if best.meets else "Nearest"
    charts = ""
    if picture is not None:
        charts = f"<img alt='charts of the plan' width='800' src='data:image/png;base64,{b64encode(picture).decode()}'>"
    return f"<div><p><b>{title}:</b> {render.escape(str(best))}</p><ul>{why}</ul>{table}{charts}</div>"
