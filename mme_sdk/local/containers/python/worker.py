"""The process of one model: loads it, then answers requests one at a time until the server hangs up."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from mme_sdk.local.containers.python.formats import Unservable
from mme_sdk.local.containers.python.ipc import pack, read_blocking
from mme_sdk.local.containers.python.payloads import Refused
from mme_sdk.local.containers.python.script import Model, open_model

__all__ = ["limit_memory", "private_bytes", "run"]


def run(channel: socket.socket, directory: str, memory_left: int | None) -> None:
    """Serve one model; returns when the server closes its end.

    Args:
        channel: Connection to the server.
        directory: Where the archive was extracted.
        memory_left: Bytes that the model may take; None for no limit.
    """
    try:
        if memory_left is not None:
            limit_memory(memory_left)
        model = open_model(Path(directory))
    except BaseException as error:  # noqa: BLE001 - a script may do anything, SystemExit included
        channel.sendall(pack(_failure(error)))
        return
    channel.sendall(pack({"status": 200, "memory": private_bytes(os.getpid())}))
    while (frame := read_blocking(channel)) is not None:
        head, body = frame
        try:
            _answer(channel, model, head, body)
        except Exception as error:  # noqa: BLE001 - the model stays loaded; what is no Exception ends the process
            channel.sendall(pack({**_failure(error), "last": True}))


def _answer(channel: socket.socket, model: Model, head: dict[str, Any], body: bytes) -> None:
    answer = model.answer(body, head["content_type"], head["accept"], head["headers"])
    said = {"status": 200, "content_type": answer.content_type, "headers": answer.headers}
    if isinstance(answer.body, bytes):
        channel.sendall(pack({**said, "last": True}, answer.body))
        return
    first = True
    for chunk in answer.body:
        channel.sendall(pack({**(said if first else {}), "last": False}, chunk))
        first = False
    channel.sendall(pack({**(said if first else {}), "last": True}))


def _failure(error: BaseException) -> dict[str, Any]:
    match error:
        case Refused():
            return {"status": error.status, "type": "BadRequestException", "message": error.message}
        case Unservable():
            return {"status": 500, "type": "ModelLoadError", "message": str(error)}
        case MemoryError():
            status, kind = 507, "MemoryError"
        case Exception() if "out of memory" in str(error).lower():
            status, kind = 507, type(error).__name__  # as CUDA's libraries say it
        case _:
            status, kind = 500, type(error).__name__
    # The whole story belongs in the container's log, the last line of it in the answer.
    traceback.print_exception(error, file=sys.stderr)
    return {"status": status, "type": kind, "message": f"{kind}: {error}" if str(error) else kind}


def private_bytes(pid: int) -> int:
    """Memory that only this process holds, bytes: what unloading it gives back.

    Args:
        pid: The process.

    Returns:
        Bytes; 0 where the system does not tell or the process is gone.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    wanted = ("Private_Clean:", "Private_Dirty:")
    return sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(wanted))


def limit_memory(more: int) -> None:
    """Let this process allocate so many more bytes; beyond them Python raises MemoryError.

    Args:
        more: Bytes.
    """
    if sys.platform != "linux":
        return  # the server's own count after the load is the only limit there
    import resource

    status = Path("/proc/self/status").read_text()
    now = next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = now + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
