"""`mme diagnose` and `mme cost`: what is wrong with an endpoint, and what its models cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from mme_sdk.cli.common import KEY, Shell, command, numbers
from mme_sdk.cli.exit_codes import FOUND

if TYPE_CHECKING:
    from mme_sdk.recording import RecordedMinute

__all__ = ["add_to"]


_hours = click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=24.0,
    show_default=True,
    help="How far to look back.",
)
_PRICES = "Prices of instances: CSV (instance_type, usd_per_hour) or AWS price list. Default: "
_file = click.Path(exists=True, dir_okay=False)
_RECORDINGS = "S3 prefix or directory of the recordings that `Recorder(files=…)` wrote."


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """
    _diagnose(root)
    _cost(root)


def _minutes(shell: Shell, recordings: str, hours: float, endpoint: str) -> list[RecordedMinute]:
    from datetime import UTC, datetime, timedelta

    from mme_sdk.recording import read_recordings

    start = datetime.now(UTC) - timedelta(hours=hours, minutes=1)  # a record begins up to a minute before its calls
    return read_recordings(recordings, start=start, endpoint=endpoint, endpoint_url=shell.s3_url)


def _whole(name: str, number: float) -> int:
    if number < 0 or not number.is_integer():
        raise click.UsageError(f"--quota {name}: {number:g} is not a number of instances")
    return int(number)


def _diagnose(root: click.Group) -> None:
    @command(root, "diagnose", exits=(FOUND,))
    @_hours
    @click.option("--prices", type=_file, help=f"{_PRICES}none, and no finding has a price.")
    @click.option("--recordings", help=_RECORDINGS)
    @click.option(
        "--quota", multiple=True, metavar="TYPE=NUMBER", help="Instances that the account may have; can be repeated."
    )
    @click.option("--key", default=KEY, show_default=True, help="Template of the models' keys under the prefix.")
    @click.argument("endpoint")
    def diagnose(
        shell: Shell,
        hours: float,
        prices: str | None,
        recordings: str | None,
        quota: tuple[str, ...],
        key: str,
        endpoint: str,
    ) -> int:
        """Find what is wrong with ENDPOINT, in its metrics, settings, models and the recordings of its callers."""
        minutes = None if recordings is None else _minutes(shell, recordings, hours, endpoint)
        known = None
        if prices is not None:
            from mme_sdk.planning import load_prices

            known = load_prices(prices)
        quotas = {name: _whole(name, number) for name, number in numbers(quota).items()}
        found = shell.client.endpoint(endpoint).diagnose(
            hours, recordings=minutes, prices=known, quotas=quotas or None, key=key
        )
        shell.out.result(found, str(found))
        return FOUND if any(one.severity != "info" for one in found) else 0


def _cost(root: click.Group) -> None:
    @command(root, "cost")
    @click.option("--by", type=click.Choice(["model", "tenant"]), default="model", show_default=True, help="Who pays.")
    @_hours
    @click.option("--recordings", required=True, help=_RECORDINGS)
    @click.option("--prices", type=_file, help=f"{_PRICES}indicative prices.")
    @click.argument("endpoint")
    def cost(
        shell: Shell, by: Literal["model", "tenant"], hours: float, recordings: str, prices: str | None, endpoint: str
    ) -> None:
        """Share the bill of ENDPOINT's instances among its models or tenants."""
        from mme_sdk.planning import load_prices

        found = shell.client.endpoint(endpoint).cost(
            by=by, hours=hours, recordings=_minutes(shell, recordings, hours, endpoint), prices=load_prices(prices)
        )
        shell.out.result(found, str(found))
