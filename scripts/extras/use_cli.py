"""The command line says its version, and the commands that need further packages name their extras."""

from __future__ import annotations

from mme_sdk.cli.main import run

assert run(["--version"]) == 0
