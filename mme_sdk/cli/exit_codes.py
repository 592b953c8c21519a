"""Exit codes of `mme`, in one table that the help of each command shows."""

from __future__ import annotations

__all__ = [
    "DIFFERENT",
    "EXIT_CODES",
    "FAILED",
    "FOUND",
    "INTERRUPTED",
    "NOT_MET",
    "OK",
    "PARTLY",
    "PIPE",
    "TIMEOUT",
    "USAGE",
]

OK = 0
FAILED = 1
DIFFERENT = 2
TIMEOUT = 3
PARTLY = 4
NOT_MET = 5
FOUND = 6
USAGE = 64
INTERRUPTED = 130
PIPE = 141

EXIT_CODES = {
    OK: "success",
    FAILED: "the operation failed; for a wait, the endpoint failed or its update was rolled back",
    DIFFERENT: "the endpoint differs from the spec, or a repeated decision from its record",
    TIMEOUT: "the time limit has passed; the operation may still go on",
    PARTLY: "a part of the models or rows failed",
    NOT_MET: "no hosting option meets the limits",
    FOUND: "a diagnosis found something that is not only information",
    USAGE: "the command line is not valid, or a deletion was not confirmed",
    INTERRUPTED: "Ctrl-C",
    PIPE: "the reader of the output has closed it",
}


def epilog(*more: int) -> str:
    """Return the exit codes of a command as text for its help.

    Args:
        more: Codes of this command besides those that each command has.
    """
    codes = sorted({OK, FAILED, TIMEOUT, USAGE, INTERRUPTED, PIPE, *more})
    return "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {EXIT_CODES[code]}" for code in codes)
