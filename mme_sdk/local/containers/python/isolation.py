"""Keeps the process of one model to its own folders."""

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
    """What models may read and write, as the host said it; None where models are not to be isolated."""
    file = os.environ.pop("MME_ISOLATION", None)
    if file is None:
        return None
    rules: dict[str, Any] = json.loads(Path(file).read_text())["model"]
    return rules


def enter(rules: dict[str, Any], directory: str, ticket: int) -> None:
    """Restrict this process to the folder of its model and a temporary one, which is its home and current folder too.

    Args:
        rules: What `policy` returned.
        directory: The model's folder.
        ticket: The number of this process, a child of the one that calls `leave`.
    """
    scratch = _scratch(os.getppid(), ticket)
    scratch.mkdir(mode=0o700)
    os.environ["TMPDIR"] = os.environ["HOME"] = str(scratch)
    tempfile.tempdir = None  # found out anew
    os.chdir(scratch)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the host speaks to the container through it
    os.close(nothing)
    reason = landlock.apply(rules, write=[directory, str(scratch)])
    if reason is not None:
        print(f"the model is not isolated: {reason}", file=sys.stderr, flush=True)  # noqa: T201


def leave(ticket: int) -> int | None:
    """Remove the temporary folder of a model's process that has ended; returns before it is gone.

    Args:
        ticket: The number of the model's process.

    Returns:
        Process id of the child that removes it; None where there is nothing to remove.
    """
    scratch = _scratch(os.getpid(), ticket)
    if not scratch.exists():
        return None
    # A program of its own: what the model wrote may be so large that other models would wait.
    return os.posix_spawnp("rm", ["rm", "-rf", "--", str(scratch)], os.environ)


def _scratch(parent: int, ticket: int) -> Path:
    # A container that is started again counts from one again, where what the first one left may still lie.
    return Path(tempfile.gettempdir(), f"{parent}-{ticket}")
