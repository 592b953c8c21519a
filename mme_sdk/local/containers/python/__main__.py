"""Run the Python container: `python -m mme_sdk.local.containers.python --port N`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator


def main(argv: list[str] | None = None) -> int:
    """Run the container until SIGTERM, or until standard input ends with `--exit-with-stdin`.

    Args:
        argv: Command line arguments; those of the process if None.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m mme_sdk.local.containers.python", description=__doc__)
    parser.add_argument("--port", type=int, default=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")))
    parser.add_argument("--model", help="serve this one extracted archive under /invocations")
    parser.add_argument("--memory-budget", type=int, help="memory for all models, in bytes")
    parser.add_argument(
        "--invocation-timeout", type=float, default=float(os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT", "60"))
    )
    parser.add_argument("--load-timeout", type=float, default=360.0)
    parser.add_argument("--preload", default="numpy", help="modules to import at the start, separated by commas")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input ends")
    parser.add_argument(
        "--key-from-stdin",
        action="store_true",
        help="read a key from the first line of standard input and require it in the X-Mme-Sdk-Key header",
    )
    given = parser.parse_args(argv)
    # One thread per model: the instances share this machine, and thread pools do not survive a fork.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault(
        "JE_ARROW_MALLOC_CONF", "background_thread:false"
    )  # for pyarrow, which scikit-learn can import
    if given.model is None:
        os.environ["SAGEMAKER_MULTI_MODEL"] = "true"
    gc.disable()  # garbage collection takes a tenth of the time of these imports
    from mme_sdk.local.containers.python import fork_server  # here, so that both processes have its modules

    gc.freeze()  # both processes, and the models, keep all of it

    requests, requests_end = socket.socketpair()
    events, events_end = socket.socketpair()
    pid = os.fork()  # before the event loop and its libraries exist
    if pid == 0:
        requests.close()
        events.close()
        gc.enable()
        with contextlib.suppress(BrokenPipeError):  # the server ended first
            fork_server.run(requests_end, events_end, [one for one in given.preload.split(",") if one])
        os._exit(0)
    requests_end.close()
    events_end.close()
    try:
        import asyncio

        with _without_certificates():
            from mme_sdk.local.containers.python.server import Options, serve
        gc.freeze()
        gc.enable()

        options = Options(
            port=given.port,
            model=given.model,
            memory_budget=given.memory_budget,
            invocation_timeout=given.invocation_timeout,
            load_timeout=given.load_timeout,
            exit_with_stdin=given.exit_with_stdin,
            # Read after the fork, so that model processes do not contain the key.
            key=_read_line(sys.stdin.fileno()) if given.key_from_stdin else None,
        )
        events.setblocking(False)
        return asyncio.run(serve(options, requests, events))
    except ImportError as error:
        print(f"{error}\n  pip install 'mme-sdk[local]'", file=sys.stderr)
        return 1
    finally:
        requests.close()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _without_certificates() -> Iterator[None]:
    """Let aiohttp find no certificates. It reads those of the system during its import, which takes 0.1 s.

    This process only listens. The models, which can connect to servers, are processes of the fork server.
    """
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _read_line(descriptor: int) -> bytes:
    line = b""
    while (more := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += more
    return line


if __name__ == "__main__":
    sys.exit(main())
