"""Import and use the SDK as on a system without POSIX: `python -m tests.support.systems.without_posix`.

What Windows does not have is hidden once the other packages are imported. The program prints a line for each module of
mme_sdk that cannot be imported, and for each step that fails.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import socket
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

PACKAGES = """
asyncio attrs boto3 botocore.httpsession botocore.session click concurrent.futures.process http.client
multiprocessing.popen_spawn_posix numpy pandas pydantic rich.console rich.live s3transfer.manager scipy.special sqlite3
ssl tenacity tomllib urllib3 yaml
"""
MODULES = ("fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty")
FUNCTIONS = """
O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH WNOHANG chown fchmod fchown fork forkpty getegid geteuid getgid
getpgid getuid killpg lchown mkfifo nice posix_fadvise posix_spawn register_at_fork sched_getaffinity sched_setaffinity
sendfile setgid setpgid setsid setuid statvfs sysconf uname wait3 wait4 waitid
"""
SIGNALS = "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH"
SOCKETS = ("AF_UNIX", "SO_REUSEPORT", "TCP_INFO")
ATTRIBUTES: dict[Any, Iterable[str]] = {os: FUNCTIONS.split(), signal: SIGNALS.split(), socket: SOCKETS}
HOST = ("mme_sdk.local", "mme_sdk.testing")
LEFT_OUT = (
    "mme_sdk.planning.simulation.numba_engine",  # importing numba takes a second
    "mme_sdk.integrations.mlflow.plugin",  # MLflow imports it; it begins with the import of MLflow
)
REFUSAL = "the embedded SageMaker does not run on Windows"
FAILURES: list[str] = []


def hide() -> None:
    """Import the other packages, then hide what only POSIX systems have."""
    for name in PACKAGES.split():
        importlib.import_module(name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules["msvcrt"] = types.ModuleType("msvcrt")
    connected, family = socket.socketpair, socket.AF_UNIX
    socket.socketpair = lambda *_: connected(family)  # type: ignore[assignment]  # on Windows it connects over TCP
    for module, names in ATTRIBUTES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"


def attempt(what: str, step: Callable[[], object]) -> None:
    """Run a step, and keep its error."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - each is a line of the report
        last = traceback.extract_tb(error.__traceback__)[-1]
        FAILURES.append(f"{what}: {type(error).__name__}: {error} ({last.filename}:{last.lineno})")


def import_all() -> int:
    """Import each module of the SDK besides the embedded SageMaker. Return their number."""
    root = Path(__file__).parents[3]
    names = []
    for path in sorted(root.glob("mme_sdk/**/*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(HOST) and name not in LEFT_OUT:
            names.append(name)
            attempt(name, lambda name=name: importlib.import_module(name))  # type: ignore[misc]
    return len(names)


def use() -> None:
    """Pack a model, replace a file and run a step of the command line."""
    from mme_sdk.artifacts import pack
    from mme_sdk.artifacts.temporary import TemporaryFolder, replace_file
    from mme_sdk.cli.main import run

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        model.mkdir()
        (model / "model.joblib").write_bytes(b"\0" * 1000)
        attempt("pack", lambda: pack(model, io.BytesIO()))
        attempt("replace_file", lambda: replace_file(Path(folder, "file"), b"new"))
        attempt("TemporaryFolder", lambda: TemporaryFolder("mme-", Path(folder)).close())
        attempt("mme --version", lambda: run(["--version"]))


def invoke(address: str) -> None:
    """Invoke an endpoint from a thread and on the event loop."""
    import asyncio

    from mme_sdk import AsyncMMEClient, MMEClient

    def once() -> None:
        with MMEClient(region="us-east-1", endpoint_url=address) as client:
            assert client.endpoint("ok").invoke({"a": 1}, model="m").body

    async def twice() -> None:
        async with AsyncMMEClient(region="us-east-1", endpoint_url=address) as client:
            assert (await client.endpoint("ok").invoke({"a": 1}, model="m")).body

    attempt("invoke", once)
    attempt("invoke on the event loop", lambda: asyncio.run(twice()))


def host(folder: str) -> None:
    """Whatever starts the embedded SageMaker says that it does not run here."""
    from mme_sdk.cli.main import run
    from mme_sdk.errors import ConfigurationError

    def imported() -> None:
        with pytest.raises(ConfigurationError, match=REFUSAL):
            importlib.import_module("mme_sdk.local")

    def run_command(*command: str) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert run(command) == 1
        assert REFUSAL in said.getvalue(), said.getvalue()

    attempt("mme_sdk.local", imported)
    attempt("mme local up", lambda: run_command("local", "up"))
    attempt("mme local reset", lambda: run_command("local", "reset", folder))


if __name__ == "__main__":
    hide()
    print(f"{import_all()} modules")
    use()
    invoke(sys.argv[1])
    host(sys.argv[2])
    print("\n".join(FAILURES))
    sys.exit(bool(FAILURES))
