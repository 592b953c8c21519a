"""`python -m mme_sdk.local`: an embedded SageMaker until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import resource
import shlex
import signal
import sys
import threading

from mme_sdk.errors import MMEError
from mme_sdk.local.host import LocalSageMaker


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop.

    Args:
        arguments: Command line; that of the process where None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m mme_sdk.local", description="An embedded SageMaker on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=4567, help="port of everything but S3; 0 for any (default 4567)")
    parser.add_argument("--s3-port", type=int, default=0, help="port of S3 (default: any)")
    parser.add_argument("--data-dir", help="folder that keeps objects and resources (default: temporary)")
    parser.add_argument("--region", default="us-east-1", help="the region it claims to be (default us-east-1)")
    given = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    allow_many_connections()
    host = LocalSageMaker(given.data_dir, port=given.port, s3_port=given.s3_port, region=given.region)
    try:
        with host:
            print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in host.environ().items()))
            print("# ready; Ctrl-C stops it", flush=True)
            stopping.wait()
    except MMEError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (soft < hard or hard == resource.RLIM_INFINITY):
        wanted = 65536 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


if __name__ == "__main__":
    sys.exit(main())
