"""`mme diagnose`: what is wrong with an endpoint, and the commands that mend it."""

from __future__ import annotations

import click

from mme_sdk.cli.common import Shell, command
from mme_sdk.cli.exit_codes import FOUND

__all__ = ["add_to"]


def add_to(root: click.Group) -> None:
    """Add the command.

    Args:
        root: The root of the commands.
    """

    @command(root, "diagnose", exits=(FOUND,))
    @click.option(
        "--hours",
        type=click.FloatRange(min=0, min_open=True),
        default=24.0,
        show_default=True,
        help="How far to look back.",
    )
    @click.option("--recordings", help="S3 prefix or directory of the recordings that `Recorder(files=…)` wrote.")
    @click.argument("endpoint")
    def diagnose(shell: Shell, hours: float, recordings: str | None, endpoint: str) -> int:
        """Find what is wrong with ENDPOINT, in its metrics, settings, models and the recordings of its callers."""
        handle = shell.client.endpoint(endpoint)
        minutes = None
        if recordings is not None:
            from datetime import UTC, datetime, timedelta

            from mme_sdk.recording import read_recordings

            minutes = read_recordings(
                recordings,
                start=datetime.now(UTC) - timedelta(hours=hours),
                endpoint=endpoint,
                endpoint_url=shell.s3_url,
            )
        found = handle.diagnose(hours, recordings=minutes)
        shell.out.result(found, str(found))
        return FOUND if any(one.severity != "info" for one in found) else 0
