"""The function that the script `mme` and `python -m mme_sdk.cli` call. It needs no package besides the SDK's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_MISSING = "mme: the command line needs the package {name}: pip install 'mme-sdk[cli]'\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments after the name of the program. Default: None, those of the process.

    Returns:
        The exit code; `mme_sdk/cli/exit_codes.py` lists them.
    """
    try:
        from mme_sdk.cli.main import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "click":
            raise
        sys.stderr.write(_MISSING.format(name=error.name))
        return 1
    except KeyboardInterrupt:
        return 130
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
