"""`mme local`: the embedded SageMaker on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from typing import Any

import click

from mme_sdk.cli.common import Shell, command, host_file, read_host

__all__ = ["add_to"]

_FILES = ("credentials.json", "s3", "hosting", "lock")


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """
    group = click.Group("local", help="Run an embedded SageMaker on this machine.")
    root.add_command(group)

    @command(group, "up")
    @click.option("--port", type=click.IntRange(0, 65535), default=4567, show_default=True, help="Port; 0: a free one.")
    @click.option("--data-dir", type=click.Path(file_okay=False), help="Folder to keep. Default: a temporary folder.")
    def up(shell: Shell, port: int, data_dir: str | None) -> None:
        """Run the host until SIGTERM or Ctrl-C. Other commands find it with --endpoint-url local."""
        _run(shell, port, data_dir)

    @command(group, "status")
    def status(shell: Shell) -> None:
        """Show the address of the host that runs."""
        found = read_host()
        facts = {"pid": found["pid"], "data_dir": found.get("data_dir")}
        facts |= {name: found["environ"].get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")}
        shell.out.result(facts, "\n".join(f"{name:<20} {value}" for name, value in facts.items() if value))

    @command(group, "reset", dry_run=True, yes=True)
    @click.argument("data_dir", type=click.Path(exists=True, file_okay=False))
    def reset(shell: Shell, data_dir: str, dry_run: bool, yes: bool) -> None:
        """Delete what a stopped host keeps in DATA_DIR."""
        _reset(shell, data_dir, dry_run=dry_run, yes=yes)


def _run(shell: Shell, port: int, data_dir: str | None) -> None:
    from mme_sdk.errors import ConfigurationError

    try:
        running = read_host()["pid"]
    except ConfigurationError:
        running = None
    if running is not None:
        raise ConfigurationError(f"a host runs already, as process {running}", hint="stop it first: kill its process")
    from mme_sdk.local import LocalSageMaker

    stopping = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    path = host_file()
    try:
        with LocalSageMaker(data_dir, port=port) as host:
            _remember(path, {"pid": os.getpid(), "environ": host.environ(), "data_dir": data_dir})
            shown = {key: value for key, value in host.environ().items() if "_KEY" not in key}
            lines = [f"export {name}={shlex.quote(value)}" for name, value in shown.items()]
            shell.out.item(shown, "\n".join([*lines, "# ready: use --endpoint-url local; Ctrl-C stops it"]))
            try:
                stopping.wait()
            finally:
                path.unlink(missing_ok=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def _remember(path: Any, facts: dict[str, Any]) -> None:
    from mme_sdk.errors import StorageError

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(facts, file)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}", hint="set MME_LOCAL_FILE to another path") from error


def _reset(shell: Shell, data_dir: str, *, dry_run: bool, yes: bool) -> None:
    from importlib import import_module

    import_module("mme_sdk.local")  # raises ConfigurationError on Windows, which has no fcntl
    import fcntl
    import shutil
    from pathlib import Path

    from mme_sdk.errors import ConflictError, InvalidInputError

    folder = Path(data_dir)
    if not all((folder / name).exists() for name in _FILES[:2]):
        raise InvalidInputError(f"{folder} is not the data directory of a host", hint="pass the folder of --data-dir")
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(f"a host runs on {folder}", hint="stop it first") from error
        if dry_run:
            shell.out.result({"dry_run": True, "data_dir": data_dir}, f"would delete {folder}")
            return
        shell.confirm(f"Delete {folder} with all its objects and endpoints?", yes=yes)
        shutil.rmtree(folder)
    shell.out.result({"deleted": data_dir}, f"deleted {folder}")
    sys.stdout.flush()
