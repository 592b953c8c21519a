"""`mme autopilot`: the number of instances that an endpoint's traffic needs; decide, run, explain."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mme_sdk.cli.common import Shell, command
from mme_sdk.cli.exit_codes import DIFFERENT

if TYPE_CHECKING:
    from mme_sdk.autopilot.autopilot import Apply, Autopilot
    from mme_sdk.autopilot.decision import Decision

__all__ = ["add_to"]

_file = click.Path(exists=True, dir_okay=False)
_positive = click.FloatRange(min=0, min_open=True)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe the rule, the bounds and the models."""
    for option in reversed(
        (
            click.option("--smallest", type=click.IntRange(min=1), default=2, show_default=True,
                         help="Fewest instances."),
            click.option("--largest", type=click.IntRange(min=1, max=1000), required=True, help="Most instances."),
            click.option("--cold-share", type=_positive, help="Goal: largest share of cold calls, 0 to 1."),
            click.option("--cold-seconds", type=_positive, help="Goal: cold seconds worth an instance-hour."),
            click.option("--cold-price", type=_positive, help="Goal: price of a cold second, as the prices."),
            click.option("--shrink-by", type=click.IntRange(min=1), default=1, show_default=True,
                         help="Most instances removed at a time."),
            click.option("--prices", type=_file, help="Prices of instances. Default: indicative prices."),
            click.option("--money-per-day", type=_positive, help="Largest sum for instances in a day of UTC."),
            click.option("--moves-per-hour", type=click.IntRange(min=1), default=12, show_default=True,
                         help="Most changes within 60 minutes."),
            click.option("--catalogue", type=_file, help="CSV or Parquet file of the models."),
            click.option("--memory-mb", type=_positive, default=100.0, show_default=True,
                         help="Size of a model without a catalogue, MiB."),
            click.option("--service-ms", type=_positive, default=20.0, show_default=True,
                         help="Time of a request, ms."),
            click.option("--load-seconds", type=_positive, default=1.0, show_default=True,
                         help="Time to load a model, s."),
            click.option("--recordings", help="S3 prefix or directory of the recordings. Default: none; CloudWatch."),
            click.option("--journal", help="S3 prefix or directory of the decisions."),
            click.option("--alarm", multiple=True, help="Alarm that freezes the autopilot; can be repeated."),
            click.option("--variant", default="AllTraffic", show_default=True, help="Production variant."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def _pilot(
    shell: Shell, endpoint: str, apply: Apply = "nothing", *, learn: bool = False, lead: int = 15, warm: int = 0,
    **given: Any,
) -> Autopilot:  # fmt: skip
    from mme_sdk.autopilot import Autopilot, Bounds, Goal, Machine, Rule
    from mme_sdk.planning import Catalogue, load_prices

    goals = [given["cold_share"], given["cold_seconds"], given["cold_price"]]
    if all(one is None for one in goals) or None not in goals[1:]:
        raise click.UsageError("Give --cold-share, or --cold-seconds or --cold-price, or --cold-share and one of them.")
    seen = shell.client.endpoint(endpoint).describe()
    kind = next((one.instance_type for one in seen.variants if one.name == given["variant"]), None)
    if kind is None:
        raise click.UsageError(f"{endpoint} has no variant {given['variant']} with instances of one type.")
    models = (
        Catalogue.from_table(given["catalogue"])
        if given["catalogue"]
        else Catalogue.uniform(
            memory_mb=given["memory_mb"], service_ms=given["service_ms"], load_seconds=given["load_seconds"]
        )
    )
    return Autopilot(
        shell.client,
        endpoint,
        rule=Rule(
            goal=Goal(cold_share=goals[0], cold_seconds_per_hour=goals[1], price_of_cold_second=goals[2]),
            shrink_by=given["shrink_by"],
        ),
        bounds=Bounds(
            smallest=given["smallest"],
            largest=given["largest"],
            money_per_day=given["money_per_day"],
            moves_per_hour=given["moves_per_hour"],
        ),
        machine=Machine.of(kind, price=load_prices(given["prices"]).get(kind)),
        catalogue=models,
        recordings=given["recordings"],
        journal=given["journal"],
        variant=given["variant"],
        apply=apply,
        alarms=given["alarm"],
        learn=learn,
        lead=lead,
        warm=warm,
    )


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """

    @root.group("autopilot")
    def group() -> None:
        """Follow the traffic of an endpoint with its number of instances."""

    _decide(group)
    _run(group)
    _explain(group)


def _decide(group: click.Group) -> None:
    @command(group, "decide")
    @_options
    @click.argument("endpoint")
    def decide(shell: Shell, endpoint: str, **given: Any) -> None:
        """Say how many instances ENDPOINT needs now, and why. Nothing is changed or recorded."""
        found = _pilot(shell, endpoint, **given).decide()
        shell.out.result(_short(found), _told(found))


def _run(group: click.Group) -> None:
    @command(group, "run")
    @_options
    @click.option("--apply", type=click.Choice(["nothing", "metric", "scale"]), default="nothing", show_default=True,
                  help="What follows a decision: nothing, a metric with a step policy on it, or a change.")  # fmt: skip
    @click.option("--attach", is_flag=True, help="First attach the step policy that follows the metric.")
    @click.option("--learn", is_flag=True, help="Never below what the same hour a week earlier needed throughout.")
    @click.option(
        "--lead",
        type=click.IntRange(0, 59),
        default=15,
        show_default=True,
        help="Minutes by which the learned number is early.",
    )
    @click.option("--warm", type=click.IntRange(0, 60), default=0, show_default=True,
                  help="With --learn, minutes before which models of the week earlier are loaded.")  # fmt: skip
    @click.option("--every", type=_positive, default=60.0, show_default=True, help="Seconds between decisions.")
    @click.option("--times", type=click.IntRange(min=1), help="Number of decisions. Default: without end.")
    @click.argument("endpoint")
    def run(
        shell: Shell, apply: Apply, attach: bool, learn: bool, lead: int, warm: int, every: float, times: int | None,
        endpoint: str, **given: Any,
    ) -> None:  # fmt: skip
        """Decide about ENDPOINT again and again; with --times 1, once, as a scheduled job does."""
        if attach and apply != "metric":
            raise click.UsageError("--attach needs --apply metric.")
        if warm and (apply == "nothing" or not learn):
            raise click.UsageError("--warm needs --learn, and --apply metric or scale.")
        pilot = _pilot(shell, endpoint, apply, learn=learn, lead=lead, warm=warm, **given)
        if attach:
            pilot.attach(schedule=learn)
        for found in pilot.run(every=every, times=times):
            again = found.observed.detached is not None and found.action != "freeze"
            shell.out.item(_short(found), f"{found}; {found.reasons[0]}" if again else str(found))


def _explain(group: click.Group) -> None:
    @command(group, "explain", exits=(DIFFERENT,))
    @click.option("--journal", required=True, help="S3 prefix or directory of the decisions.")
    @click.option(
        "--hours",
        type=click.FloatRange(min=0, min_open=True, max=1e7),
        default=24.0,
        show_default=True,
        help="How far to look back.",
    )
    @click.option("--variant", help="Production variant. Default: all.")
    @click.option("--all", "everything", is_flag=True, help="Also decisions that changed nothing.")
    @click.option("--repeat", is_flag=True, help="Make each decision again from its record, and compare.")
    @click.argument("endpoint")
    def explain(
        shell: Shell, journal: str, hours: float, variant: str | None, everything: bool, repeat: bool, endpoint: str
    ) -> int:
        """Tell the decisions about ENDPOINT in the journal, with their reasons."""
        from mme_sdk.autopilot import Journal

        if math.isnan(hours):
            raise click.UsageError("--hours must be a number.")
        start = datetime.now(UTC) - timedelta(hours=hours)
        found = Journal(journal, endpoint_url=shell.s3_url).read(endpoint=endpoint, variant=variant, start=start)
        different = [one for one in found if repeat and one.repeat().to_dict() != one.to_dict()]
        chosen = [one for one in found if everything or _tells(one) or one is found[-1]]
        lines = [_told(one) for one in chosen] or [f"the journal has no decisions about {endpoint} in that time"]
        if repeat:
            lines.append(f"{len(found) - len(different)} of {len(found)} decisions are the same when they are repeated")
            lines += [f"different: {one}" for one in different]
        shell.out.result([_short(one) for one in chosen], "\n".join(lines))
        return DIFFERENT if different else 0


def _tells(found: Decision) -> bool:
    """Return whether a decision changed something."""
    return found.action in ("grow", "shrink") or (found.action == "hold" and found.observed.detached is not None)


def _short(found: Decision) -> dict[str, Any]:
    """Return a decision without the calls and sizes of the models."""
    return {name: value for name, value in found.to_dict().items() if name not in ("demand", "format")}


def _told(found: Decision) -> str:
    lines = [
        f"{found.at:%Y-%m-%d %H:%M} {found.endpoint}/{found.variant}: {found.action}, {found.before} → {found.count}"
    ]
    lines += [f"  - {reason}" for reason in found.reasons]
    if found.expected is not None:
        one = found.expected
        seen = f"{found.demand.calls:,} calls of {len(found.demand.models):,} models"
        lines.append(
            f"  expected with {one.count}: {one.cold_share:.3%} cold calls, loader slots {one.loaders:.0%} busy, vCPUs "
            f"{one.vcpus:.0%} busy; by formula, from {seen}"
        )
    return "\n".join(lines)
