"""`python -m mme_sdk.local`: an embedded SageMaker until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import resource
import shlex
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk.errors import InvalidInputError, MMEError

if TYPE_CHECKING:
    from mme_sdk.local import Command, ControlSettings, HostingSettings


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
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="the program that stands for an image, such as 'my-image=python server.py --port {port}'",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a setting of ControlSettings or HostingSettings, such as provisioning=30 or download_bandwidth=50e6",
    )
    given = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    allow_many_connections()
    try:
        from mme_sdk.local import LocalSageMaker

        control, settings = _settings(given.set)
        host = LocalSageMaker(
            given.data_dir,
            port=given.port,
            s3_port=given.s3_port,
            region=given.region,
            images=_images(given.image),
            control=control,
            settings=settings,
        )
        with host:
            print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in host.environ().items()))
            print("# ready; Ctrl-C stops it", flush=True)
            stopping.wait()
    except MMEError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _images(assignments: list[str]) -> dict[str, Command]:
    from mme_sdk.local import Command

    images = {}
    for assignment in assignments:
        name, _, command = assignment.partition("=")
        if not name or not command:
            raise InvalidInputError(f"--image {assignment} names no image or no command", hint="write NAME=COMMAND")
        images[name] = Command(shlex.split(command))
    return images


def _settings(assignments: list[str]) -> tuple[ControlSettings, HostingSettings]:
    from mme_sdk.local import ControlSettings, HostingSettings

    kinds: tuple[Any, Any] = (ControlSettings, HostingSettings)
    changes: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        homes = [i for i, kind in enumerate(kinds) if name in attrs.fields_dict(kind)]
        try:
            number = float(value)
        except ValueError as error:
            raise InvalidInputError(f"--set {assignment}: {value!r} is no number", hint="write NAME=NUMBER") from error
        if not homes:
            known = ", ".join(name for kind in kinds for name in attrs.fields_dict(kind))
            raise InvalidInputError(f"--set {assignment}: there is no setting {name!r}", hint=f"known are {known}")
        changes[homes[0]][name] = int(number) if number.is_integer() else number
    return ControlSettings(**changes[0]), HostingSettings(**changes[1])


def allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (soft < hard or hard == resource.RLIM_INFINITY):
        wanted = 65536 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


if __name__ == "__main__":
    sys.exit(main())
