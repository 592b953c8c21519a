"""The root of the commands, and what happens to errors, Ctrl-C and a closed output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from mme_sdk._version import __version__
from mme_sdk.cli import calls, diagnosing, endpoints, export, local, models, planner
from mme_sdk.cli.autopilot import commands
from mme_sdk.cli.exit_codes import EXIT_CODES, FAILED, INTERRUPTED, PARTLY, PIPE, TIMEOUT, USAGE, epilog
from mme_sdk.cli.output import Output
from mme_sdk.cli.screens import top
from mme_sdk.errors import BatchError, DeadlineError, MMEError

__all__ = ["make", "run"]

_PARTS = (models, endpoints, calls, top, diagnosing, planner, commands, export, local)
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {text}" for code, text in EXIT_CODES.items())


def make() -> click.Group:
    """Return the root of the commands."""
    root = click.Group(
        "mme",
        help="Operate Amazon SageMaker multi-model endpoints and their models.",
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    root = click.version_option(__version__, prog_name="mme")(root)
    for part in _PARTS:
        part.add_to(root)
    _add_completion(root)
    return root


def _add_completion(root: click.Group) -> None:
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


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code.

    Args:
        arguments: Arguments after the name of the program. Default: None, those of the process.
    """
    root = make()
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    out = Output(as_json="--json" in given)
    try:
        code = root.main(given, prog_name="mme", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as error:  # shell completion, and click's own handling of a closed output
        return PIPE if error.code == 1 else int(error.code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        _show(error, out)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has no reader
        return PIPE
    except BatchError as error:
        out.error(error)
        for name, one in error.errors.items():
            sys.stderr.write(f"  {name}: {one.message}\n")
        return PARTLY
    except DeadlineError as error:
        out.error(error)
        return TIMEOUT
    except MMEError as error:
        out.error(error)
        return FAILED
    return int(code or 0)


def _show(error: click.ClickException, out: Output) -> None:
    if out.as_json:
        out.error(MMEError(error.format_message()))
    else:
        error.show()
