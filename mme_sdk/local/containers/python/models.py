"""The models of one container: a process each, started by the zygote, watched, replaced when they die."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.local.containers.python.formats import Unservable, find
from mme_sdk.local.containers.python.ipc import pack, read_async
from mme_sdk.local.containers.python.worker import private_bytes

__all__ = ["Failure", "Models", "Served", "first_of"]

_MEASURED_PER_LOAD = 4
_DYING = 2.0  # seconds from a model's process hanging up to its end


@attrs.frozen(kw_only=True)
class Failure(Exception):
    """An answer other than 200.

    Attributes:
        status: HTTP status.
        type: Kind of error.
        message: What happened.
    """

    status: int
    type: str
    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class Served:
    """One model that is loaded, or was until its process died.

    Attributes:
        name: The id that the host gave it.
        url: Directory of the extracted archive.
        lock: Held while it answers: a model's process does one thing at a time.
        process: Its process while it lives.
    """

    name: str
    url: str
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    process: _Process | None = None


@attrs.define(eq=False)
class _Process:
    ticket: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int = 0
    memory: int = 0
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    exit: int | None = None


class Models:
    """Loads, unloads and asks models.

    Args:
        orders: Socket for orders to the zygote.
        events: Socket that the zygote's events come from.
        memory_budget: Bytes that all models together may hold; None for no limit.
        invocation_timeout: Seconds for one answer; the model's process is killed after it.
        load_timeout: Seconds for one load.
    """

    def __init__(
        self,
        orders: socket.socket,
        events: socket.socket,
        *,
        memory_budget: int | None = None,
        invocation_timeout: float = 60.0,
        load_timeout: float = 360.0,
    ) -> None:
        self.by_name: dict[str, Served] = {}
        self.ready = asyncio.Event()
        self.lost = asyncio.Event()
        self._orders = orders
        self._events = events
        self._budget = memory_budget
        self._invocation_timeout = invocation_timeout
        self._load_timeout = load_timeout
        self._processes: dict[int, _Process] = {}
        self._tickets = 0
        self._forking = asyncio.Lock()
        self._loading: dict[str, asyncio.Event] = {}
        self._forked: asyncio.Future[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen to the zygote and wait until it has its libraries."""
        reader, self._event_writer = await asyncio.open_connection(sock=self._events)
        self._listener = asyncio.create_task(self._listen(reader))
        await first_of(self.ready, self.lost)

    async def close(self) -> None:
        """End the zygote, and with it every model."""
        self._orders.close()
        if self._listener is not None:
            await self._listener
            self._event_writer.close()
        for process in self._processes.values():
            process.writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def load(self, name: str, url: str) -> int:
        """Load a model.

        Args:
            name: The id to serve it under.
            url: Directory of the extracted archive.

        Returns:
            Bytes of memory that it took.

        Raises:
            Failure: 409 loaded already, 404 no such directory, 507 no memory, 500 anything else.
        """
        while name in self._loading:  # perhaps for somebody who has hung up: what counts is how it ends
            await self._loading[name].wait()
        if name in self.by_name:
            raise Failure(status=409, type="ConflictStatusException", message=f"Model {name} is already registered.")
        if not Path(url).is_dir():
            raise Failure(status=404, type="ModelNotFoundException", message=f"Model not found at: {url}")
        over = self._loading[name] = asyncio.Event()
        try:
            served = Served(name, url)
            served.process = await self._start(served)
            self.by_name[name] = served
            return served.process.memory
        finally:
            del self._loading[name]
            over.set()

    async def unload(self, name: str) -> None:
        """Unload a model; returns when its memory is free.

        Raises:
            Failure: 404 not loaded.
        """
        served = self._get(name)
        async with served.lock:
            if self.by_name.get(name) is not served:
                raise self._absent(name)
            del self.by_name[name]
            if served.process is not None:
                await self._end(served.process)
                served.process = None

    async def ask(
        self, name: str, body: bytes, content_type: str, accept: str, headers: dict[str, str]
    ) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
        """Ask a model; the frames of its answer come as they are made.

        Args:
            name: The model.
            body: The payload.
            content_type: Its media type.
            accept: The wanted media type.
            headers: Request headers by lower-case name.

        Returns:
            (head, body) pairs; the first head carries status, content type and headers.

        Raises:
            Failure: 404 not loaded, 500 its process died or took too long.
        """
        served = self._get(name)
        frames: asyncio.Queue[tuple[dict[str, Any], bytes] | Failure] = asyncio.Queue(maxsize=16)
        gone = asyncio.Event()
        order = pack({"content_type": content_type, "accept": accept, "headers": headers}, body)
        # A task of its own: whoever asked may hang up, but the model's answer must be read to its end.
        task = asyncio.create_task(self._exchange(served, order, frames, gone))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                frame = await frames.get()
                if isinstance(frame, Failure):
                    raise frame
                yield frame
                if frame[0]["last"]:
                    return
        finally:
            gone.set()
            while not frames.empty():
                frames.get_nowait()

    async def _exchange(
        self,
        served: Served,
        order: bytes,
        frames: asyncio.Queue[tuple[dict[str, Any], bytes] | Failure],
        gone: asyncio.Event,
    ) -> None:
        async with served.lock:
            try:
                if self.by_name.get(served.name) is not served:
                    raise self._absent(served.name)
                process = served.process
                if process is None or process.ended.is_set():
                    process = served.process = await self._start(served)
                await self._relay(process, order, frames, gone)
            except Failure as failure:
                if not gone.is_set():
                    await frames.put(failure)
            except Exception as error:  # noqa: BLE001 - a model's process may send anything
                if served.process is not None:
                    await self._end(served.process)
                message = f"The model's process sent a malformed answer ({type(error).__name__}: {error})."
                if not gone.is_set():
                    await frames.put(Failure(status=500, type="InternalServerException", message=message))

    async def _relay(
        self,
        process: _Process,
        order: bytes,
        frames: asyncio.Queue[tuple[dict[str, Any], bytes] | Failure],
        gone: asyncio.Event,
    ) -> None:
        try:
            process.writer.write(order)
            while True:
                async with asyncio.timeout(self._invocation_timeout):
                    await process.writer.drain()
                    head, body = await read_async(process.reader)
                if not gone.is_set():
                    await frames.put((head, body))
                if head["last"]:
                    return
        except TimeoutError:
            await self._end(process)
            raise Failure(
                status=500,
                type="InternalServerException",
                message=f"Prediction timed out after {self._invocation_timeout:g} s; the worker was killed.",
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            how = await self._how_it_ended(process)
            raise Failure(status=500, type="InternalServerException", message=f"Worker died ({how}).") from None

    async def _start(self, served: Served) -> _Process:
        left = None
        if self._budget is not None:
            left = self._budget - self._used()
            if left <= 0:
                raise Failure(status=507, type="MemoryError", message="No memory left for another model.")
        process = await self._fork(served.url, left)
        try:
            async with asyncio.timeout(self._load_timeout):
                head, _ = await read_async(process.reader)
        except TimeoutError:
            await self._end(process)
            raise Failure(
                status=500, type="ModelLoadError", message=f"Loading took more than {self._load_timeout:g} s."
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            how = await self._how_it_ended(process)
            raise Failure(status=500, type="ModelLoadError", message=f"Worker died while loading ({how}).") from None
        except Exception as error:
            await self._end(process)
            raise Failure(
                status=500,
                type="ModelLoadError",
                message=f"The model's process sent a malformed answer ({type(error).__name__}: {error}).",
            ) from error
        except BaseException:
            await asyncio.shield(self._end(process))
            raise
        if head.get("status") != 200 or not isinstance(head.get("memory"), int):
            await self._end(process)
            raise Failure(
                status=head["status"] if head.get("status") in (400, 507) else 500,
                type=str(head.get("type", "ModelLoadError")),
                message=str(head.get("message", "The model's process sent a malformed answer.")),
            )
        process.memory = head["memory"]
        if self._budget is not None and self._used() > self._budget:
            await self._end(process)
            raise Failure(status=507, type="MemoryError", message="The model takes more memory than is left.")
        return process

    async def _fork(self, url: str, memory: int | None) -> _Process:
        try:
            found = find(Path(url))
        except Unservable:
            found = None  # the model's own process says it better
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
            async with self._forking:
                self._tickets += 1
                process = self._processes[self._tickets] = _Process(self._tickets, reader, writer)
                self._forked = asyncio.get_running_loop().create_future()
                order = {
                    "op": "fork",
                    "ticket": process.ticket,
                    "modules": found[0].modules if found else (),
                    "directory": url,
                    "memory": memory,
                }
                try:
                    socket.send_fds(self._orders, [json.dumps(order).encode() + b"\n"], [theirs.fileno()])
                    await asyncio.shield(self._forked)
                except OSError:
                    process.ended.set()  # the zygote is gone, and the container is about to end
        return process

    async def _how_it_ended(self, process: _Process) -> str:
        """Of a process that hung up: killed at once, it would be reported as killed."""
        try:
            async with asyncio.timeout(_DYING):
                await process.ended.wait()
        except TimeoutError:
            return "it hung up and was killed"
        else:
            return _exit_text(process.exit)
        finally:
            await asyncio.shield(self._end(process))

    async def _end(self, process: _Process) -> None:
        process.writer.close()
        if not process.ended.is_set():
            self._orders.sendall(json.dumps({"op": "kill", "ticket": process.ticket}).encode() + b"\n")
            await process.ended.wait()
        self._processes.pop(process.ticket, None)

    def _used(self) -> int:
        # Measuring a process takes up to a millisecond, so a few are measured anew at each load, in turn.
        living = [one for one in self._processes.values() if one.pid and not one.ended.is_set()]
        for process in living[:_MEASURED_PER_LOAD]:
            process.memory = private_bytes(process.pid)
            self._processes[process.ticket] = self._processes.pop(process.ticket)
        return sum(one.memory for one in living)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            event = json.loads(line)
            if "ready" in event:
                self.ready.set()
                continue
            process = self._processes.get(event["ticket"])
            if "pid" in event:
                if process is not None:
                    process.pid = event["pid"]
                if self._forked is not None and not self._forked.done():
                    self._forked.set_result(None)
            elif process is not None:
                process.exit = event["exit"]
                process.ended.set()
        self.lost.set()
        for process in self._processes.values():
            process.ended.set()
        if self._forked is not None and not self._forked.done():
            self._forked.set_result(None)

    def _get(self, name: str) -> Served:
        try:
            return self.by_name[name]
        except KeyError:
            raise self._absent(name) from None

    @staticmethod
    def _absent(name: str) -> Failure:
        return Failure(status=404, type="ModelNotFoundException", message=f"Model not found: {name}")


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _exit_text(code: int | None) -> str:
    if code is None:
        return "its process is gone"
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
