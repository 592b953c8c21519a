"""A plan as a table, as text and as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mme_sdk.planning.advice.explain import seconds

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.planning.advice.option import Option
    from mme_sdk.planning.advice.plan import Plan

__all__ = ["frame", "html", "text"]

_SHOWN = 8


def frame(plan: Plan) -> pd.DataFrame:
    """One row for each option."""
    import pandas as pd

    return pd.DataFrame([_row(option) for option in plan.options])


def _row(option: Option) -> dict[str, object]:
    setting, found = option.setting, option.estimate
    return {
        "mode": setting.mode,
        "instance type": setting.instance_type or "",
        "instances": setting.count,
        "dedicated": len(setting.dedicated),
        "cost": found.cost,
        "cold rate": option.cold_rate,
        "p50": option.p50,
        "p95": option.p95,
        "p99": option.p99,
        "loaders": found.loader_saturation,
        "vCPUs": found.cpu,
        "meets": option.meets,
        "simulated": option.confirmation is not None,
        "blocked by": "; ".join(option.blockers),
    }


_HEAD = ("hosting", "a month", "cold", "p50", "p95", "p99", "loaders", "")


def _cells(option: Option) -> tuple[str, ...]:
    setting = option.setting
    shared = f"{setting.count} x {setting.instance_type}" if setting.instance_type else ""
    own = f"{len(setting.dedicated)} own" if setting.dedicated else ""
    return (
        f"{setting.mode}: {' + '.join(part for part in (shared, own) if part)}",
        f"{option.cost:,.0f}",
        f"{option.cold_rate:.2%}",
        seconds(option.p50),
        seconds(option.p95),
        seconds(option.p99),
        f"{min(option.estimate.loader_saturation, 9.99):.0%}",
        "yes, simulated" if option.meets and option.confirmation else "yes" if option.meets else option.blockers[0],
    )


def text(plan: Plan) -> str:
    """The advice for a terminal."""
    rows = [_HEAD, *(_cells(option) for option in plan.options[:_SHOWN])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = [repr(plan.workload)[1:-1], f"SLO: {plan.scan.slo}", f"Prices: {plan.prices.source}", ""]
    lines.append(("Advice: " if plan.feasible else "Nearest: ") + str(plan.best))
    lines += [f"  - {reason}" for reason in plan.best.why]
    lines.append("")
    for row in rows:
        cells = [
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    lines += ["", f"{len(plan.estimates):,} settings estimated. If something changes:"]
    for case in plan.what_ifs().to_dict("records"):
        verdict = "meets the SLO" if case["meets the SLO"] else case["blocked by"]
        lines.append(f"  {case['case']:<28} {case['cold rate']:>7.2%} cold, p99 {seconds(case['p99']):>7}: {verdict}")
    return "\n".join(lines)


def html(plan: Plan) -> str:
    """The advice for a notebook."""
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in (*_HEAD[:-1], "meets the SLO"))
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in _cells(option)) + "</tr>"
        for option in plan.options[:_SHOWN]
    )
    why = "".join(f"<li>{escape(reason)}</li>" for reason in plan.best.why)
    title = "Advice" if plan.feasible else "Nearest"
    return (
        f"<div><p><b>{title}:</b> {escape(str(plan.best))}</p><ul>{why}</ul>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
