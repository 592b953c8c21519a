"""The model process: loads one model, then serves one request at a time until the server closes the connection."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from mme_sdk.local.containers import gpu, requirements
from mme_sdk.local.containers.python.formats import UnsupportedModelError
from mme_sdk.local.containers.python.images.profile import current
from mme_sdk.local.containers.python.ipc import pack, read_blocking
from mme_sdk.local.containers.python.payloads import PayloadError
from mme_sdk.local.containers.python.script import Served, load_model

__all__ = ["execute", "limit_memory", "private_bytes", "run"]


class _Labelled:
    """A text stream that writes the name of the model before each line, because the models share a log."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream, self._label, self._line = stream, label, ""

    def write(self, text: str) -> int:
        *lines, self._line = f"{self._line}{text}".split("\n")
        if lines:
            self._stream.write("".join(f"[{self._label}] {line}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        if self._line:
            self.write("\n")

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run(channel: socket.socket, directory: str, memory_left: int | None, label: str | None) -> None:
    """Serve one model; return when the server closes the connection.

    Args:
        channel: Connection to the server.
        directory: Folder of the extracted archive.
        memory_left: Memory for the model, in bytes; None for no limit.
        label: Name of the model, which precedes each line that it writes to the log; None for no label.
    """
    if label is not None:
        sys.stdout, sys.stderr = (cast("TextIO", _Labelled(each, label)) for each in (sys.stdout, sys.stderr))
    try:
        if memory_left is not None:
            limit_memory(memory_left)
        model = load_model(Path(directory))
    except BaseException as error:  # noqa: BLE001 - a script can raise anything, SystemExit too
        channel.sendall(pack(_failure(error, directory)))
        return
    on_gpu = gpu.estimated_bytes(model.loaded, Path(directory))
    channel.sendall(pack({"status": 200, "memory": private_bytes(os.getpid()), "gpu_memory": on_gpu}))
    while (frame := read_blocking(channel)) is not None:
        head, body = frame
        try:
            _serve(channel, model, head, body)
        except Exception as error:  # noqa: BLE001 - the model stays loaded; other exceptions end the process
            channel.sendall(pack({**_failure(error, directory, current().error_status), "last": True}))


def _serve(channel: socket.socket, model: Served, head: dict[str, Any], body: bytes) -> None:
    response = model.respond(body, head["content_type"], head["accept"], head["headers"])
    first_head = {"status": response.status, "content_type": response.content_type, "headers": response.headers}
    if isinstance(response.body, bytes):
        channel.sendall(pack({**first_head, "last": True}, response.body))
        return
    first = True
    for chunk in response.body:
        channel.sendall(pack({**(first_head if first else {}), "last": False}, chunk))
        first = False
    channel.sendall(pack({**(first_head if first else {}), "last": True}))


def execute(
    environment: Path, channel: socket.socket, directory: str, memory_left: int | None, label: str | None
) -> NoReturn:
    """Replace this process by one that serves the model with the packages of a virtual environment.

    The fork server has imported packages of the host, which can have other versions.

    Args:
        environment: The environment.
        channel: Connection to the server.
        directory: Folder of the extracted archive.
        memory_left: Memory for the model, in bytes; None for no limit.
        label: Name of the model, which precedes each line that it writes to the log; None for no label.
    """
    channel.set_inheritable(True)
    python = str(environment / "bin" / "python")
    words = [
        python,
        "-P",
        "-m",
        __name__,
        json.dumps([channel.fileno(), directory, memory_left, label]),
    ]
    path = os.pathsep.join([str(environment / "bin"), os.environ.get("PATH", "")])
    os.execve(python, words, {**os.environ, "VIRTUAL_ENV": str(environment), "PATH": path})  # noqa: S606


def _failure(error: BaseException, directory: str, other: int = 500) -> dict[str, Any]:
    match error:
        case PayloadError():
            return {"status": error.status, "type": "BadRequestException", "message": error.message}
        case Exception() if isinstance(getattr(error, "status_code", None), int) and hasattr(error, "phrase"):
            # BaseInferenceToolkitError of sagemaker_inference, which a script can raise to select the status.
            traceback.print_exception(error, file=sys.stderr)
            message = str(getattr(error, "message", error))
            return {"status": getattr(error, "status_code", 500), "type": type(error).__name__, "message": message}
        case UnsupportedModelError():
            return {"status": 500, "type": "ModelLoadError", "message": str(error)}
        case MemoryError():
            status, kind = 507, "MemoryError"
        case Exception() if "out of memory" in str(error).lower():
            status, kind = 507, type(error).__name__  # CUDA libraries report full GPU memory with this text
        case _:
            status, kind = other, type(error).__name__
    # The log gets the traceback, the response its last line.
    traceback.print_exception(error, file=sys.stderr)
    message = f"{kind}: {error}" if str(error) else kind
    message += requirements.hint(error, Path(directory)) or _main_hint(error)
    return {"status": status, "type": kind, "message": message}


def _main_hint(error: BaseException) -> str:
    """Return what to do about a pickle that names a function or class of the program that saved it."""
    found = re.search(r"attribute '([^']+)'", str(error))
    if found is None or not isinstance(error, AttributeError) or "__main__'" not in str(error):
        return ""
    return (
        f". The program or notebook that saved the model defines {found[1]}: define it in a module in code/, import it "
        "from there, and save the model again"
    )


def private_bytes(pid: int) -> int:
    """Return the private memory of a process, which is freed when the process ends.

    Args:
        pid: Id of the process.

    Returns:
        Bytes; 0 except on Linux, or if the process has ended.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    wanted = ("Private_Clean:", "Private_Dirty:")
    return sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(wanted))


def limit_memory(more: int) -> None:
    """Limit the memory that this process can allocate in addition; beyond it Python raises MemoryError.

    Args:
        more: Additional memory, in bytes.
    """
    if sys.platform != "linux":
        return  # elsewhere the server checks the memory after the load
    import resource

    status = Path("/proc/self/status").read_text()
    now = next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = now + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    with contextlib.suppress(ConnectionError):  # the server has unloaded the model or has ended
        descriptor, *arguments = json.loads(sys.argv[1])
        run(socket.socket(fileno=descriptor), *arguments)
