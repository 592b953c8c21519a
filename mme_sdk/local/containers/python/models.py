"""The models of one container. Each runs in a process, which is replaced when it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.local.containers import gpu
from mme_sdk.local.containers.python.formats import UnsupportedModelError, find
from mme_sdk.local.containers.python.images.profile import current
from mme_sdk.local.containers.python.ipc import pack, read_async
from mme_sdk.local.containers.python.script import script_imports
from mme_sdk.local.containers.python.worker import private_bytes

__all__ = ["ErrorResponse", "LoadedModel", "Models", "first_of"]

_MEASURED_PER_LOAD = 4
_EXIT_WAIT = 2.0  # seconds from the closed connection of a model process to its exit


@attrs.frozen(kw_only=True)
class ErrorResponse(Exception):
    """An error response.

    Attributes:
        status: HTTP status.
        type: Type of the error.
        message: Text of the error.
    """

    status: int
    type: str
    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class LoadedModel:
    """A loaded model. Its process can have ended; then the next request starts a new one.

    Attributes:
        name: Id of the model, from the host.
        url: Directory of the extracted archive.
        label: Name of the model in the log; None if its lines have no label.
        lock: Held during a request: a model process serves one request at a time.
        process: The model process.
    """

    name: str
    url: str
    label: str | None = None
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    process: _ModelProcess | None = None


@attrs.define(eq=False)
class _ModelProcess:
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int = 0
    memory: int = 0
    gpu_memory: int = 0
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    exit: int | None = None


class Models:
    """The models of a container: loads, unloads and invokes them.

    Args:
        requests: Socket for requests to the fork server.
        events: Socket for events of the fork server.
        memory_budget: Memory for all models, in bytes; None for no limit.
        invocation_timeout: Seconds for one response; after that the model process is killed.
        load_timeout: Seconds for one load.
    """

    def __init__(
        self,
        requests: socket.socket,
        events: socket.socket,
        *,
        memory_budget: int | None = None,
        invocation_timeout: float = 60.0,
        load_timeout: float = 360.0,
    ) -> None:
        self.by_name: dict[str, LoadedModel] = {}
        self.ready = asyncio.Event()
        self.fork_server_ended = asyncio.Event()
        self._requests = requests
        self._events = events
        self._budget = memory_budget
        self._invocation_timeout = invocation_timeout
        self._load_timeout = load_timeout
        self._processes: dict[int, _ModelProcess] = {}
        self._last_number = 0
        self._forking = asyncio.Lock()
        self._loading: dict[str, asyncio.Event] = {}
        self._forked: asyncio.Future[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect to the fork server and wait until it has imported the libraries."""
        reader, self._event_writer = await asyncio.open_connection(sock=self._events)
        self._listener = asyncio.create_task(self._listen(reader))
        await first_of(self.ready, self.fork_server_ended)

    async def close(self) -> None:
        """End the fork server, which ends every model process."""
        self._requests.close()
        if self._listener is not None:
            await self._listener
            self._event_writer.close()
        for process in self._processes.values():
            process.writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def load(self, name: str, url: str, label: str | None = None) -> int:
        """Load a model.

        Args:
            name: Id of the model.
            url: Directory of the extracted archive.
            label: Name of the model in the log. None labels no line.

        Returns:
            Memory of the model, in bytes.

        Raises:
            ErrorResponse: 409 if it is loaded, 404 if the directory does not exist, 507 if memory is full, else 500.
        """
        while name in self._loading:  # another request loads the model: wait for the outcome
            await self._loading[name].wait()
        if name in self.by_name:
            raise ErrorResponse(
                status=409, type="ConflictStatusException", message=f"Model {name} is already registered."
            )
        if not Path(url).is_dir():
            raise ErrorResponse(status=404, type="ModelNotFoundException", message=f"Model not found at: {url}")
        over = self._loading[name] = asyncio.Event()
        try:
            served = LoadedModel(name, url, label)
            served.process = await self._start(served)
            self.by_name[name] = served
            return served.process.memory
        finally:
            del self._loading[name]
            over.set()

    async def unload(self, name: str) -> None:
        """Unload a model; return when its memory is free.

        Raises:
            ErrorResponse: 404 if the model is not loaded.
        """
        served = self._get(name)
        async with served.lock:
            if self.by_name.get(name) is not served:
                raise self._absent(name)
            del self.by_name[name]
            if served.process is not None:
                await self._kill(served.process)
                served.process = None

    async def invoke(
        self, name: str, body: bytes, content_type: str, accept: str, headers: dict[str, str]
    ) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
        """Send a request to a model, and yield the frames of its response as they arrive.

        Args:
            name: Id of the model.
            body: Request body.
            content_type: Media type of the request.
            accept: Accepted media types.
            headers: Request headers by lower-case name.

        Returns:
            (head, body) pairs; the first head contains status, content type and headers.

        Raises:
            ErrorResponse: 404 if the model is not loaded, 500 if its process ended or exceeded the time limit.
        """
        served = self._get(name)
        frames: asyncio.Queue[tuple[dict[str, Any], bytes] | ErrorResponse] = asyncio.Queue(maxsize=16)
        abandoned = asyncio.Event()
        request = pack({"content_type": content_type, "accept": accept, "headers": headers}, body)
        # A separate task: the response must be read to its end even if the client closes the connection.
        task = asyncio.create_task(self._exchange(served, request, frames, abandoned))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                frame = await frames.get()
                if isinstance(frame, ErrorResponse):
                    raise frame
                yield frame
                if frame[0]["last"]:
                    return
        finally:
            abandoned.set()
            while not frames.empty():
                frames.get_nowait()

    async def _exchange(
        self,
        served: LoadedModel,
        request: bytes,
        frames: asyncio.Queue[tuple[dict[str, Any], bytes] | ErrorResponse],
        abandoned: asyncio.Event,
    ) -> None:
        async with served.lock:
            try:
                if self.by_name.get(served.name) is not served:
                    raise self._absent(served.name)
                process = served.process
                if process is None or process.ended.is_set():
                    process = served.process = await self._start(served)
                await self._relay(process, request, frames, abandoned)
            except ErrorResponse as error:
                if not abandoned.is_set():
                    await frames.put(error)
            except Exception as error:  # noqa: BLE001 - a model process can send any bytes
                if served.process is not None:
                    await self._kill(served.process)
                message = f"The model process sent an invalid response ({type(error).__name__}: {error})."
                if not abandoned.is_set():
                    await frames.put(ErrorResponse(status=500, type="InternalServerException", message=message))

    async def _relay(
        self,
        process: _ModelProcess,
        request: bytes,
        frames: asyncio.Queue[tuple[dict[str, Any], bytes] | ErrorResponse],
        abandoned: asyncio.Event,
    ) -> None:
        try:
            process.writer.write(request)
            while True:
                async with asyncio.timeout(self._invocation_timeout):
                    await process.writer.drain()
                    head, body = await read_async(process.reader)
                if not abandoned.is_set():
                    await frames.put((head, body))
                if head["last"]:
                    return
        except TimeoutError:
            await self._kill(process)
            raise ErrorResponse(
                status=500,
                type="InternalServerException",
                message=f"Prediction timed out after {self._invocation_timeout:g} s; the model process was killed.",
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            how = await self._exit_reason(process)
            raise ErrorResponse(
                status=500, type="InternalServerException", message=f"The model process ended ({how})."
            ) from None

    async def _start(self, served: LoadedModel) -> _ModelProcess:
        left = None
        if self._budget is not None:
            left = self._budget - self._used()
            if left <= 0:
                raise ErrorResponse(
                    status=507, type="MemoryError", message="There is no memory left for another model."
                )
        process = await self._fork(served, left)
        try:
            async with asyncio.timeout(self._load_timeout):
                head, _ = await read_async(process.reader)
        except TimeoutError:
            await self._kill(process)
            raise ErrorResponse(
                status=500, type="ModelLoadError", message=f"Loading took more than {self._load_timeout:g} s."
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            how = await self._exit_reason(process)
            raise ErrorResponse(
                status=500, type="ModelLoadError", message=f"The model process ended during the load ({how})."
            ) from None
        except Exception as error:
            await self._kill(process)
            raise ErrorResponse(
                status=500,
                type="ModelLoadError",
                message=f"The model process sent an invalid response ({type(error).__name__}: {error}).",
            ) from error
        except BaseException:
            await asyncio.shield(self._kill(process))
            raise
        if head.get("status") != 200 or not isinstance(head.get("memory"), int):
            await self._kill(process)
            raise ErrorResponse(
                status=head["status"] if head.get("status") in (400, 507) else 500,
                type=str(head.get("type", "ModelLoadError")),
                message=str(head.get("message", "The model process sent an invalid response.")),
            )
        process.memory = head["memory"]
        await self._check_gpu(process, head)
        if self._budget is not None and self._used() > self._budget:
            await self._kill(process)
            raise ErrorResponse(status=507, type="MemoryError", message="The model uses more memory than is left.")
        return process

    async def _check_gpu(self, process: _ModelProcess, head: Mapping[str, Any]) -> None:
        """Kill a process that has loaded a model which does not fit into the memory of the GPU."""
        budget = gpu.memory_budget()
        if budget is None or not head.get("gpu_memory"):
            return
        measured = await asyncio.to_thread(gpu.measured_bytes, process.pid)
        process.gpu_memory = int(head["gpu_memory"]) if measured is None else measured
        used = sum(one.gpu_memory for one in self._processes.values() if not one.ended.is_set())
        if used > budget:
            await self._kill(process)
            raise ErrorResponse(
                status=507,
                type="MemoryError",
                message=f"The GPU is out of memory: {used} of {budget} bytes would be in use.",
            )

    async def _fork(self, served: LoadedModel, memory: int | None) -> _ModelProcess:
        try:
            found = await asyncio.to_thread(find, Path(served.url))  # the archive can have many files
        except UnsupportedModelError:
            found = None  # the model process reports the error
        modules = found[0].modules if found else ()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
            async with self._forking:
                self._last_number += 1
                process = self._processes[self._last_number] = _ModelProcess(self._last_number, reader, writer)
                self._forked = asyncio.get_running_loop().create_future()
                request = {
                    "op": "fork",
                    "number": process.number,
                    "modules": current().modules or [*modules, *script_imports(Path(served.url))],
                    "directory": served.url,
                    "memory": memory,
                    "label": served.label,
                }
                try:
                    socket.send_fds(self._requests, [json.dumps(request).encode() + b"\n"], [theirs.fileno()])
                    await asyncio.shield(self._forked)
                except OSError:
                    process.ended.set()  # the fork server has ended; so does the container
        return process

    async def _exit_reason(self, process: _ModelProcess) -> str:
        """Return how a process ended that closed its connection; kill it if it does not end soon."""
        try:
            async with asyncio.timeout(_EXIT_WAIT):
                await process.ended.wait()
        except TimeoutError:
            return "it closed its connection and was killed"
        else:
            return _exit_text(process.exit)
        finally:
            await asyncio.shield(self._kill(process))

    async def _kill(self, process: _ModelProcess) -> None:
        process.writer.close()
        if not process.ended.is_set():
            self._requests.sendall(json.dumps({"op": "kill", "number": process.number}).encode() + b"\n")
            await process.ended.wait()
        self._processes.pop(process.number, None)

    def _used(self) -> int:
        # Measuring a process takes up to a millisecond, so that each load measures only a few of them, in turn.
        living = [one for one in self._processes.values() if one.pid and not one.ended.is_set()]
        for process in living[:_MEASURED_PER_LOAD]:
            process.memory = private_bytes(process.pid)
            self._processes[process.number] = self._processes.pop(process.number)
        return sum(one.memory for one in living)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            event = json.loads(line)
            if "ready" in event:
                self.ready.set()
                continue
            process = self._processes.get(event["number"])
            if "pid" in event:
                if process is not None:
                    process.pid = event["pid"]
                if self._forked is not None and not self._forked.done():
                    self._forked.set_result(None)
            elif process is not None:
                process.exit = event["exit"]
                process.ended.set()
        self.fork_server_ended.set()
        for process in self._processes.values():
            process.ended.set()
        if self._forked is not None and not self._forked.done():
            self._forked.set_result(None)

    def _get(self, name: str) -> LoadedModel:
        try:
            return self.by_name[name]
        except KeyError:
            raise self._absent(name) from None

    @staticmethod
    def _absent(name: str) -> ErrorResponse:
        return ErrorResponse(status=404, type="ModelNotFoundException", message=f"Model not found: {name}")


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
        return "its process ended"
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
