"""The process that has the libraries imported and forks one process per model; it never has a second thread."""

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

from mme_sdk.local.containers import descendants as offspring
from mme_sdk.local.containers.python import isolation, worker

__all__ = ["run"]

_CLEANING = 0


def run(orders: socket.socket, events: socket.socket, preload: Iterable[str]) -> None:
    """Fork models' processes as the server orders, until it hangs up; then end them all.

    An order is one line of JSON, `{"op": "fork", "ticket", "modules", "directory", "memory"}` with the model's end of a
    socket pair, or `{"op": "kill", "ticket"}`. An event is one line too: `{"ready"}`, `{"ticket", "pid"}`,
    `{"ticket", "exit"}`.

    Args:
        orders: Where orders come from.
        events: Where events go.
        preload: Modules to import before the first order.
    """
    offspring.adopt()  # what a model started becomes a child of this process when the model's process ends
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    children: dict[int, int] = {}  # pid -> ticket; _CLEANING of a process that removes a folder
    policy = isolation.policy()
    try:
        _import(preload)
        _tell(events, ready=True)
        with selectors.DefaultSelector() as selector:
            selector.register(orders, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if wake_read in ready:
                    os.read(wake_read, 4096)
                _reap(children, events)
                if orders in ready and not _obey(orders, events, children, policy):
                    return
    finally:
        for pid, ticket in children.items():
            if ticket != _CLEANING:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        offspring.end_all({pid for pid, ticket in children.items() if ticket == _CLEANING})


def _obey(
    orders: socket.socket, events: socket.socket, children: dict[int, int], policy: dict[str, Any] | None
) -> bool:
    """Take what has come; False when the server hung up."""
    # The server waits for the answer to a fork before it orders the next: at most one descriptor is in what comes.
    data, descriptors, _, _ = socket.recv_fds(orders, 65536, 1)
    if not data:
        return False
    while not data.endswith(b"\n"):
        data += orders.recv(65536)
    for line in data.splitlines():
        order = json.loads(line)
        if order["op"] == "fork":
            _fork(order, descriptors.pop(), orders, events, children, policy)
        else:
            for pid, ticket in children.items():
                if ticket == order["ticket"]:
                    os.kill(pid, signal.SIGKILL)
    return True


def _fork(
    order: dict[str, Any],
    channel: int,
    orders: socket.socket,
    events: socket.socket,
    children: dict[int, int],
    policy: dict[str, Any] | None,
) -> None:
    _import(order["modules"])
    pid = os.fork()
    if pid:
        os.close(channel)
        children[pid] = order["ticket"]
        _tell(events, ticket=order["ticket"], pid=pid)
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent()
        offspring.adopt()  # while the model lives, so does what it started
        orders.close()
        events.close()
        # Only the process's end closes it: whoever sees it closed may ask how the process ended.
        connection = socket.socket(fileno=channel)
        if policy is not None:
            isolation.enter(policy, order["directory"], order["ticket"])
        worker.run(connection, order["directory"], order["memory"])
        code = 0
    except ConnectionError:
        code = 0  # the server unloaded it meanwhile, or is gone
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, it must not run on as a second zygote
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
            ticket = children.pop(found[0], None)
            if ticket is not None and ticket != _CLEANING:
                cleaner = isolation.leave(ticket)
                if cleaner is not None:
                    children[cleaner] = _CLEANING
                _tell(events, ticket=ticket, exit=os.waitstatus_to_exitcode(found[1]))
    if ended:
        offspring.kill_others(children)


def _import(modules: Iterable[str]) -> None:
    new = [name for name in modules if name not in sys.modules]
    for name in new:
        # A library that is not installed is reported by the load that needs it.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        if sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) > 1:
            print(f"{name} has started a thread: do not preload it, forked models may hang", file=sys.stderr)  # noqa: T201
    if new:
        # Objects that the collector never touches again stay shared with the children.
        gc.collect()
        gc.freeze()


def _tell(events: socket.socket, **what: Any) -> None:
    events.sendall(json.dumps(what).encode() + b"\n")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
