"""Generate the synchronous facades from the asynchronous ones; `--check` fails where a generated file is out of date.

A facade that differs from its twin in `async`, `await` and names alone is written once, in the file with the
asynchronous class. This script writes the other file. Code is rewritten token by token, docstrings and comments by
words, and the result is formatted with ruff.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "mme_sdk"

# Asynchronous file: synchronous file that is generated from it.
TWINS: dict[str, str] = {
    "async_client.py": "client.py",
    "endpoints/async_invocation.py": "endpoints/invocation.py",
    "runtime/async_invoker.py": "runtime/invoker.py",
    "runtime/batch/async_mixin.py": "runtime/batch/mixin.py",
    "runtime/ledger/async_calls.py": "runtime/ledger/calls.py",
    "runtime/single_model/async_mixin.py": "runtime/single_model/mixin.py",
    "runtime/single_model/async_queued_invocation.py": "runtime/single_model/queued_invocation.py",
    "runtime/single_model/async_stream.py": "runtime/single_model/stream.py",
    "runtime/transport/async_selection.py": "runtime/transport/selection.py",
    "registry/async_registry.py": "registry/registry.py",
    "endpoints/async_collection.py": "endpoints/collection.py",
    "endpoints/async_endpoint.py": "endpoints/endpoint.py",
    "router/async_routed_invoker.py": "router/routed_invoker.py",
    "router/async_router.py": "router/router.py",
}

# Names whose twin is not found by the rules of `_name`.
NAMES = {
    "AsyncInference": "AsyncInference",  # SageMaker's asynchronous inference has nothing to do with asyncio
    "AsyncInferenceOptions": "AsyncInferenceOptions",
    "async_inference": "async_inference",
    "AsyncGenerator": "Generator",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "acall": "call",
    "aclosing": "closing",
    "anext": "next",
    "arun": "run",
    "async_clock": "clock",
    "async_interpreter": "interpreter",
    "asynccontextmanager": "contextmanager",
    "make_async_transport": "make_transport",
    "offload": "within",
    "wait_on_loop": "wait_in_thread",
}
# Sentences and words of docstrings and comments, in order, before the names.
WORDS = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsynchronous (client|collection|handle|invoker|registry|router|model registry)\b", r"Synchronous \1"),
    (r"\b([Aa]|another) task\b", r"\1 thread"),
    (r"\bis safe to share\b", "is safe to share between threads"),
    (r", or asynchronous iterable\b", ""),
    (r"\bapplications that run on an event loop\b", "applications"),
    (r"\basynchronous client\b", "synchronous client"),
    (r"\bon (the|an) event loop\b", "in the calling thread"),
    (r"\bSeveral tasks\b", "Several threads"),
]


def _name(word: str) -> str:
    if word in NAMES:
        return NAMES[word]
    if re.fullmatch(r"_?Async[A-Z]\w*", word):
        return word.replace("Async", "", 1)
    if re.fullmatch(r"_?async_\w+", word):
        return word.replace("async_", "", 1)
    return word


def _prose(text: str) -> str:
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    return re.sub(r"\w+", lambda match: _name(match[0]), text)


def generate(source: str, *, origin: str) -> str:
    """Return the synchronous twin of a module.

    Args:
        source: Text of the asynchronous module.
        origin: Name of its file, for the note at the top of the twin.

    Returns:
        The twin, not yet formatted.
    """
    lines = source.splitlines(keepends=True)
    parts: list[str] = []
    at = (1, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER}:
            continue
        parts.append(_between(lines, at, token.start))
        at = token.end
        if token.type == tokenize.NAME and token.string in {"async", "await"}:
            at = (at[0], at[1] + 1)  # with the space that follows
        elif token.type == tokenize.NAME:
            parts.append(_name(token.string))
        elif token.type in {tokenize.STRING, tokenize.COMMENT}:
            parts.append(_prose(token.string))
        else:
            parts.append(token.string)
    note = f"# Generated from {origin} by scripts/unasync.py. Change that file, then run `make facades`.\n"
    text = re.sub(r"\bAwaitable\[([^][]+)\]", r"\1", "".join(parts))
    # A parameter that accepts both kinds of iterable accepts one kind in the twin.
    return note + re.sub(r"(Iterable\[\w+\]) \| \1", r"\1", text) + "\n"


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two positions, each a line from 1 and a column from 0."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    return "".join([lines[start[0] - 1][start[1] :], *lines[start[0] : end[0] - 1], lines[end[0] - 1][: end[1]]])


def _ruff(text: str, name: str) -> str:
    for words in (["check", "--select", "I,UP028,F401", "--fix", "--unsafe-fixes", "--quiet"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", name, "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> None:
    """Write every twin, or with `--check` exit with 1 where one differs from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a twin is out of date")
    check = parser.parse_args().check
    stale = []
    for origin, target in TWINS.items():
        path = PACKAGE / target
        text = _ruff(generate((PACKAGE / origin).read_text(), origin=origin.rpartition("/")[2]), str(path))
        if not path.exists() or path.read_text() != text:
            stale.append(target)
            if not check:
                path.write_text(text)
    for target in stale:
        print(f"{'out of date' if check else 'written'}: mme_sdk/{target}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
