"""`python -m mme_sdk.local.containers.python --port N`: the container as a process."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys


def main(argv: list[str] | None = None) -> int:
    """Run the container until it is told to stop.

    Args:
        argv: Command line; the process's own where None.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m mme_sdk.local.containers.python", description=__doc__)
    parser.add_argument("--port", type=int, default=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")))
    parser.add_argument("--model", help="serve this one extracted archive under /invocations")
    parser.add_argument("--memory-budget", type=int, help="bytes that all models together may hold")
    parser.add_argument(
        "--invocation-timeout", type=float, default=float(os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT", "60"))
    )
    parser.add_argument("--load-timeout", type=float, default=360.0)
    parser.add_argument("--preload", default="numpy,sklearn", help="modules to import before the first model comes")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input ends")
    parser.add_argument(
        "--key-from-stdin",
        action="store_true",
        help="read a line from standard input and refuse requests without it in the header X-Mme-Sdk-Key",
    )
    given = parser.parse_args(argv)
    # One thread per model: instances share this machine, and a library's thread pool would not survive the fork.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # pyarrow's, which scikit-learn may import
    orders, orders_end = socket.socketpair()
    events, events_end = socket.socketpair()
    pid = os.fork()  # before the event loop and its libraries exist
    if pid == 0:
        orders.close()
        events.close()
        from mme_sdk.local.containers.python import fork_server as zygote

        with contextlib.suppress(BrokenPipeError):  # the server ended first
            zygote.run(orders_end, events_end, [one for one in given.preload.split(",") if one])
        os._exit(0)
    orders_end.close()
    events_end.close()
    try:
        import asyncio

        from mme_sdk.local.containers.python.server import Options, serve

        options = Options(
            port=given.port,
            model=given.model,
            memory_budget=given.memory_budget,
            invocation_timeout=given.invocation_timeout,
            load_timeout=given.load_timeout,
            exit_with_stdin=given.exit_with_stdin,
            # Read after the fork: the processes of models have no copy of it.
            key=_line(sys.stdin.fileno()) if given.key_from_stdin else None,
        )
        events.setblocking(False)
        return asyncio.run(serve(options, orders, events))
    except ImportError as error:
        print(f"{error}\n  pip install 'mme-sdk[local]'", file=sys.stderr)
        return 1
    finally:
        orders.close()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.waitpid(pid, 0)


def _line(descriptor: int) -> bytes:
    line = b""
    while (more := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += more
    return line


if __name__ == "__main__":
    sys.exit(main())
