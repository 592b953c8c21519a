"""`mme top`: what an endpoint does now."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mme_sdk.cli.common import Shell, command

if TYPE_CHECKING:
    from mme_sdk.cli.screens.figures import Figures

__all__ = ["add_to"]

_HOST_SECONDS, _CLOUDWATCH_SECONDS = 2.0, 60.0


def add_to(root: click.Group) -> None:
    """Add the command.

    Args:
        root: The root of the commands.
    """

    @command(root, "top")
    @click.option("--once", is_flag=True, help="Write one screen and end. Default if the output is not a terminal.")
    @click.option("--minutes", type=click.IntRange(1, 60), default=60, show_default=True, help="How far to look back.")
    @click.option(
        "--interval",
        type=click.FloatRange(min=1),
        help="Seconds between two reads. Default: 60 for CloudWatch, which charges for each read, and 2 for a host.",
    )
    @click.option(
        "--source",
        type=click.Choice(["auto", "host", "cloudwatch"]),
        default="auto",
        show_default=True,
        help="auto: an embedded SageMaker if one answers at the address, else CloudWatch.",
    )
    @click.argument("endpoint")
    def top(shell: Shell, once: bool, minutes: int, interval: float | None, source: str, endpoint: str) -> None:
        """Show the requests, hits, loads and waits of ENDPOINT until Ctrl-C.

        An embedded SageMaker also shows the models of each instance. With --json, it writes one JSON object a line, or
        one object with --once.
        """
        if interval is not None and (once or not (shell.out.as_json or sys.stdout.isatty())):
            raise click.UsageError("--interval needs a terminal or --json, and excludes --once.")
        read, seconds = _reader(shell, source, endpoint, minutes)
        if shell.out.as_json and not once:
            _stream(shell, read, interval or seconds)
        elif once or shell.out.as_json or not sys.stdout.isatty():
            found = read()
            shell.out.result(found, "" if shell.out.as_json else _text(found))
        else:
            _live(read, interval or seconds)


def _reader(shell: Shell, source: str, endpoint: str, minutes: int) -> tuple[Callable[[], Figures], float]:
    """Return the function that reads the figures, and the seconds between two reads."""
    from mme_sdk.cli.screens.reading import answers, from_cloudwatch, from_host

    url = shell.sagemaker_url
    if source == "host" and url is None:
        raise click.UsageError("--source host needs --endpoint-url, or AWS_ENDPOINT_URL in the environment.")
    if url is not None and (source == "host" or (source == "auto" and answers(url))):
        return lambda: from_host(url, endpoint, minutes=minutes), _HOST_SECONDS
    return lambda: from_cloudwatch(shell.client, endpoint, minutes=minutes), _CLOUDWATCH_SECONDS


def _stream(shell: Shell, read: Callable[[], Figures], seconds: float) -> None:
    while True:
        shell.out.item(read(), "")
        _pause(seconds)


def _text(figures: Figures) -> str:
    drawing, console = _rich()
    with console.capture() as written:
        console.print(drawing.drawn(figures))
    return str(written.get()).rstrip("\n")


def _live(read: Callable[[], Figures], seconds: float) -> None:
    """Draw the screen again and again. An error after the first read is shown above the last data."""
    import attrs

    from mme_sdk.errors import MMEError, NotFoundError

    found = read()
    drawing, console = _rich()
    from rich.live import Live

    with Live(drawing.drawn(found), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            _pause(seconds)
            try:
                found = read()
            except NotFoundError:
                raise
            except MMEError as error:
                found = attrs.evolve(found, problem=error.message)
            live.update(drawing.drawn(found))


def _rich() -> tuple[Any, Any]:
    """Return the module that draws, and the terminal."""
    try:
        from rich.console import Console

        from mme_sdk.cli.screens import drawing
    except ImportError as error:
        from mme_sdk.errors import MissingExtraError

        raise MissingExtraError("this screen needs rich", hint="pip install 'mme-sdk[cli]'") from error
    width = None if sys.stdout.isatty() else 120
    return drawing, Console(width=width, highlight=False, emoji=False, markup=False)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
