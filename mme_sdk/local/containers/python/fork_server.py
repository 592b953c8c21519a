"""The fork server: imports the libraries and forks one process per model. It has a single thread."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mme_sdk.local.containers import descendants, requirements
from mme_sdk.local.containers.python import isolation, worker

__all__ = ["run"]

_CLEANING = 0


def run(requests: socket.socket, events: socket.socket, preload: Iterable[str]) -> None:
    """Fork model processes on request of the server until it closes the connection; then kill them all.

    A request is one line of JSON: `{"op": "fork", "number", "modules", "directory", "memory", "label"}`, sent together
    with the socket of the model process, or `{"op": "kill", "number"}`. An event is one line too: `{"ready"}`,
    `{"number", "pid"}`, `{"number", "exit"}`.

    Args:
        requests: Socket that requests arrive on.
        events: Socket for events.
        preload: Modules to import before the first request.
    """
    descendants.adopt()  # orphaned processes of models become children of this process
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    children: dict[int, int] = {}  # number by process id; _CLEANING for a process that removes a folder
    policy = isolation.policy()
    try:
        _import(preload)
        _send_event(events, ready=True)
        with selectors.DefaultSelector() as selector:
            selector.register(requests, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if wake_read in ready:
                    os.read(wake_read, 4096)
                _reap(children, events)
                if requests in ready and not _handle_requests(requests, events, children, policy):
                    return
    finally:
        for pid, number in children.items():
            if number != _CLEANING:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        descendants.kill_and_reap_children({pid for pid, number in children.items() if number == _CLEANING})


def _handle_requests(
    requests: socket.socket, events: socket.socket, children: dict[int, int], policy: dict[str, Any] | None
) -> bool:
    """Handle the received requests; return False if the server has closed the connection."""
    # The server waits for the event of a fork before it requests the next one: at most one descriptor arrives.
    data, descriptors, _, _ = socket.recv_fds(requests, 65536, 1)
    if not data:
        return False
    while not data.endswith(b"\n"):
        data += requests.recv(65536)
    for line in data.splitlines():
        request = json.loads(line)
        if request["op"] == "fork":
            _fork(request, descriptors.pop(), requests, events, children, policy)
        else:
            for pid, number in children.items():
                if number == request["number"]:
                    os.kill(pid, signal.SIGKILL)
    return True


def _fork(
    request: dict[str, Any],
    channel: int,
    requests: socket.socket,
    events: socket.socket,
    children: dict[int, int],
    policy: dict[str, Any] | None,
) -> None:
    environment = requirements.environment(Path(request["directory"]))
    if environment is None:
        _import(request["modules"])
    pid = os.fork()
    if pid:
        os.close(channel)
        children[pid] = request["number"]
        _send_event(events, number=request["number"], pid=pid)
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent()
        descendants.adopt()  # orphaned processes of the model live as long as the model
        requests.close()
        events.close()
        # The socket stays open until the process exits, so that its exit status is known once the socket closes.
        connection = socket.socket(fileno=channel)
        if policy is not None:
            packages = [] if environment is None else [str(environment)]
            isolation.enter({**policy, "read": [*policy["read"], *packages]}, request["directory"], request["number"])
        if environment is not None:
            worker.execute(environment, connection, request["directory"], request["memory"], request["label"])
        worker.run(connection, request["directory"], request["memory"], request["label"])
        code = 0
    except ConnectionError:
        code = 0  # the server has unloaded the model or has ended
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 - this process must not continue as a second fork server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(children: dict[int, int], events: socket.socket) -> None:
    ended = False
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended = True
            number = children.pop(found[0], None)
            if number is not None and number != _CLEANING:
                cleaner = isolation.leave(number)
                if cleaner is not None:
                    children[cleaner] = _CLEANING
                _send_event(events, number=number, exit=os.waitstatus_to_exitcode(found[1]))
    if ended:
        descendants.kill_children_except(children)


def _import(modules: Iterable[str]) -> None:
    new = [name for name in modules if name not in sys.modules]
    if not new:
        return
    gc.disable()  # garbage collection takes a tenth of the time of an import
    try:
        for name in new:
            # If the library is not installed, the load of a model that needs it reports that.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
            if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) > 1:
                text = f"importing {name} has started a thread, and forked models can hang: do not preload {name}"
                print(text, file=sys.stderr)  # noqa: T201
        gc.collect()
        gc.freeze()  # memory pages of frozen objects stay shared with the forked processes
    finally:
        gc.enable()


def _send_event(events: socket.socket, **what: Any) -> None:
    events.sendall(json.dumps(what).encode() + b"\n")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
