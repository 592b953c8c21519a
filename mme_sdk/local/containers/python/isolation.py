"""Isolation of a model process: it can access only its own folders."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from mme_sdk.local.containers import landlock

__all__ = ["enter", "leave", "policy"]


def policy() -> dict[str, Any] | None:
    """Return the file access of models, which the host configures; None if models are not isolated."""
    file = os.environ.pop("MME_ISOLATION", None)
    if file is None:
        return None
    rules: dict[str, Any] = json.loads(Path(file).read_text())["model"]
    return rules


def enter(rules: dict[str, Any], directory: str, number: int) -> None:
    """Restrict this process to the folder of its model and a temporary folder, and change to the latter.

    Args:
        rules: The return value of `policy`.
        directory: Folder of the model.
        number: Number of this process, a child of the process that calls `leave`.
    """
    scratch = _scratch(os.getppid(), number)
    scratch.mkdir(mode=0o700)
    os.environ["TMPDIR"] = os.environ["HOME"] = str(scratch)
    tempfile.tempdir = None  # so that tempfile reads TMPDIR again
    os.chdir(scratch)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # standard input belongs to the container
    os.close(nothing)
    reason = landlock.apply(rules, write=[directory, str(scratch)])
    if reason is not None:
        print(f"the model is not isolated: {reason}", file=sys.stderr, flush=True)  # noqa: T201


def leave(number: int) -> int | None:
    """Start to remove the temporary folder of a model process that has ended.

    Args:
        number: Number of the model process.

    Returns:
        Id of the child process that removes the folder; None if there is no folder.
    """
    scratch = _scratch(os.getpid(), number)
    if not scratch.exists():
        return None
    # A separate process: removing a large folder here would delay other models.
    return os.posix_spawnp("rm", ["rm", "-rf", "--", str(scratch)], os.environ)


def _scratch(parent: int, number: int) -> Path:
    # A restarted container starts again with number 1, while folders of its predecessor can still exist.
    return Path(tempfile.gettempdir(), f"{parent}-{number}")
