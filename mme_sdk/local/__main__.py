"""Run an embedded SageMaker until SIGTERM or Ctrl-C: `python -m mme_sdk.local`."""

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
    """Run the host until SIGTERM or SIGINT.

    Args:
        arguments: Command-line arguments. The default None takes those of the process.

    Returns:
        The exit status: 0, or 1 if the host could not start.
    """
    parser = argparse.ArgumentParser(prog="python -m mme_sdk.local", description="An embedded SageMaker on 127.0.0.1.")
    parser.add_argument(
        "--port", type=int, default=4567, help="port of every service except S3; 0 takes a free port (default 4567)"
    )
    parser.add_argument("--s3-port", type=int, default=0, help="port of S3 (default: a free port)")
    parser.add_argument("--data-dir", help="folder that keeps objects and resources (default: a temporary folder)")
    parser.add_argument("--region", default="us-east-1", help="AWS region of the host (default us-east-1)")
    parser.add_argument(
        "--iam",
        action="store_true",
        help="evaluate the policies of IAM users and roles; the exported keys may do everything",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="the program to run for an image, such as 'my-image=python server.py --port {port}'",
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
            iam=given.iam,
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
            raise InvalidInputError(f"--image {assignment} has no image name or no command", hint="write NAME=COMMAND")
        images[name] = Command(shlex.split(command))
    return images


def _settings(assignments: list[str]) -> tuple[ControlSettings, HostingSettings]:
    from mme_sdk.local import ControlSettings, HostingSettings

    kinds: tuple[Any, Any] = (ControlSettings, HostingSettings)
    changes: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        matching = [i for i, kind in enumerate(kinds) if name in attrs.fields_dict(kind)]
        try:
            number = float(value)
        except ValueError as error:
            raise InvalidInputError(
                f"--set {assignment}: {value!r} is not a number", hint="write NAME=NUMBER"
            ) from error
        if not matching:
            known = ", ".join(name for kind in kinds for name in attrs.fields_dict(kind))
            raise InvalidInputError(
                f"--set {assignment}: there is no setting {name!r}", hint=f"the settings are {known}"
            )
        changes[matching[0]][name] = int(number) if number.is_integer() else number
    return ControlSettings(**changes[0]), HostingSettings(**changes[1])


def allow_many_connections() -> None:
    """Raise this process's limit of open files to the maximum, because each connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (soft < hard or hard == resource.RLIM_INFINITY):
        wanted = 65536 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


if __name__ == "__main__":
    sys.exit(main())
