"""What each command shares: its options, the client, confirmation, and the host that runs on this machine."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mme_sdk.cli.exit_codes import epilog
from mme_sdk.cli.output import Output
from mme_sdk.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from mme_sdk.client import MMEClient

__all__ = ["KEY", "Shell", "command", "host_file", "numbers", "read_host", "timeout_option"]

KEY = "{name}/{version}.tar.gz"
"""Template of a model's key, the default of `MMEClient.models`."""
_SERVICES = ("application-autoscaling", "cloudwatch", "ecr", "iam", "logs", "s3", "sagemaker", "sagemaker-runtime",
             "service-quotas", "sts")  # fmt: skip
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class Shell:
    """What a command works with.

    Args:
        region: AWS region. None means that of the environment.
        endpoint_url: Addresses by service. None means those of the environment.
        out: Writes the results.

    Attributes:
        out: As given.
    """

    def __init__(self, *, region: str | None, endpoint_url: Mapping[str, str] | None, out: Output) -> None:
        self.out = out
        self._region, self._endpoint_url = region, endpoint_url
        self._client: MMEClient | None = None

    @property
    def client(self) -> MMEClient:
        """The client. It is created on first use, and closed at the end of the command."""
        if self._client is None:
            from mme_sdk.client import MMEClient

            self._client = MMEClient(region=self._region, endpoint_url=self._endpoint_url)
        return self._client

    @property
    def s3_url(self) -> str | None:
        """Address of S3. None means that of the environment."""
        addresses = self._endpoint_url or {}
        return addresses.get("s3", addresses.get("*"))

    @property
    def sagemaker_url(self) -> str | None:
        """Address of SageMaker that an option or the environment names. None means that of AWS."""
        addresses = self._endpoint_url or {}
        given = addresses.get("sagemaker", addresses.get("*"))
        return given or os.environ.get("AWS_ENDPOINT_URL_SAGEMAKER") or os.environ.get("AWS_ENDPOINT_URL")

    def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            self._client.close()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before a deletion.

        Args:
            question: What is deleted, as a question.
            yes: Whether the option `--yes` was given.

        Raises:
            click.UsageError: The answer is not yes, or nobody can answer because the input is not a terminal.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} The input is not a terminal: confirm with --yes.")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise click.UsageError("The deletion was not confirmed; nothing is changed.")


def command(
    group: click.Group, name: str, *, exits: tuple[int, ...] = (), dry_run: bool = False, yes: bool = False
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Return a decorator that makes a command of a function.

    The function receives a `Shell` and the values of its own options, and returns the exit code, or None for 0.

    Args:
        group: The group that the command is added to.
        name: Name of the command.
        exits: Exit codes that it has besides those of all commands.
        dry_run: Whether it has the option `--dry-run`.
        yes: Whether it has the option `--yes`.
    """

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def call(
            *,
            region: str | None,
            profile: str | None,
            endpoint_url: tuple[str, ...],
            as_json: bool,
            quiet: bool,
            **own: Any,
        ) -> int:
            out = Output(as_json=as_json, quiet=quiet)
            click.get_current_context().find_root().obj = out
            with _environment(profile, endpoint_url) as addresses:
                shell = Shell(region=region, endpoint_url=addresses, out=out)
                try:
                    code = function(shell, **own) or 0
                    sys.stdout.flush()
                    return code
                finally:
                    shell.close()

        made: Any = call
        if yes:
            made = click.option("--yes", "-y", is_flag=True, help="Do not ask before a deletion.")(made)
        if dry_run:
            made = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")(made)
        for option in reversed(_SHARED):
            made = option(made)
        return group.command(name, epilog=epilog(*exits))(made)

    return decorate


def timeout_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--timeout`.

    Args:
        default: Its default, in seconds.
    """
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=True,
        help="Longest time to wait, in seconds.",
    )


def numbers(pairs: Iterable[str]) -> dict[str, float]:
    """Return the numbers of `NAME=NUMBER` pairs.

    Raises:
        click.UsageError: A pair has another form, or a name is given twice.
    """
    found: dict[str, float] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{pair} is not NAME=NUMBER, such as {name or 'v1'}=0.5")
        if name in found:
            raise click.UsageError(f"{name} is given twice")
        try:
            found[name] = float(text)
        except ValueError:
            raise click.UsageError(f"{pair}: {text!r} is not a number") from None
    return found


_SHARED = (
    click.option("--region", help="AWS region. Default: that of the profile or the environment."),
    click.option("--profile", help="Profile of the AWS configuration. It replaces keys of the environment."),
    click.option(
        "--endpoint-url",
        multiple=True,
        envvar="MME_ENDPOINT_URL",
        metavar="URL|SERVICE=URL|local",
        help="Address of all services, or of one (s3=http://…); can be repeated. 'local' means the host that "
        "'mme local up' runs. Environment: MME_ENDPOINT_URL.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Write JSON."),
    click.option("--quiet", "-q", is_flag=True, help="Write no progress and no notes."),
)


@contextmanager
def _environment(profile: str | None, urls: tuple[str, ...]) -> Iterator[dict[str, str] | None]:
    """Set the environment variables of a profile or of the local host while a command runs. Yield the addresses."""
    if "local" in urls and (len(urls) > 1 or profile is not None):
        raise click.UsageError("--endpoint-url local excludes other addresses and --profile.")
    changes: dict[str, str | None] = {}
    addresses: dict[str, str] | None = None
    if urls == ("local",):
        changes = {"AWS_PROFILE": None, "AWS_SESSION_TOKEN": None, **read_host()["environ"]}
    elif urls:
        addresses = dict(map(_address, urls))
    if profile is not None:
        changes |= {"AWS_PROFILE": profile, **dict.fromkeys(_KEYS)}
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield addresses
    finally:
        _set(before)


def _address(text: str) -> tuple[str, str]:
    """Return the service (`*` for all) and the address of a value of `--endpoint-url`."""
    service, equals, address = text.partition("=")
    if not equals or "/" in service:
        service, address = "*", text
    elif service not in _SERVICES:
        raise click.UsageError(f"--endpoint-url {text}: the service is one of {', '.join(_SERVICES)}.")
    if not address.startswith(("http://", "https://")):
        raise click.UsageError(f"--endpoint-url {text}: an address begins with http:// or https://.")
    return service, address


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def host_file() -> Path:
    """Return the path of the file that `mme local up` writes while its host runs.

    The environment variable `MME_LOCAL_FILE` replaces it.
    """
    given = os.environ.get("MME_LOCAL_FILE")
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "mme" / "local.json"


def read_host() -> dict[str, Any]:
    """Return what `mme local up` wrote: `pid`, `environ` and `data_dir`.

    Raises:
        ConfigurationError: No host runs.
        InvalidInputError: The file is damaged.
    """
    path = host_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        os.kill(found["pid"], 0)
        dict(found["environ"])
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ConfigurationError("no local host runs", hint="start one with: mme local up") from error
    except PermissionError as error:
        raise ConfigurationError(f"the host of {path} belongs to another user") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} is damaged: {error}", hint="delete it, and start the host again") from error
    return dict(found)
