"""`mme completion`: the script that completes commands in a shell."""

from __future__ import annotations

import sys

import click

from mme_sdk.cli.exit_codes import epilog

__all__ = ["add_to"]


def add_to(root: click.Group) -> None:
    """Add the command.

    Args:
        root: The root of the commands.
    """

    @root.command("completion", epilog=epilog())
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
    def completion(shell: str) -> None:
        """Write the script that completes commands and options in SHELL.

        For bash, add to ~/.bashrc: eval "$(mme completion bash)"
        """
        from click.shell_completion import get_completion_class

        kind = get_completion_class(shell)
        assert kind is not None
        sys.stdout.write(kind(root, {}, "mme", "_MME_COMPLETE").source() + "\n")
