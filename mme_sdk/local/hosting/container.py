"""One container: a process of an instance, and the HTTP contract that it speaks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import secrets
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import aiohttp
import attrs

from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.local import processes as children
from mme_sdk.local.containers import Command
from mme_sdk.local.hosting import isolation
from mme_sdk.local.hosting_interface import HostingError
from mme_sdk.local.storage import disk
from mme_sdk.protocols import AsyncClock

__all__ = ["Container", "ContainerAway", "ContainerGone", "ContainerSpec", "Said"]

SOCKET = "mme-sdk-socket-"
SOCKETS = Path("/tmp")  # noqa: S108 - the path of a unix socket may not be long, as that of TMPDIR can be
_TRIES = 3  # for a port that somebody else took between finding and binding it
_LARGE = 1 << 20  # bytes from which aiohttp warns that a body blocks the event loop


class ContainerGone(Exception):
    """The container gave no whole answer: its process died or hung up."""


class ContainerAway(ContainerGone):
    """Nobody listens at the container's port: nothing was sent."""


@attrs.frozen
class Said:
    """A container's answer.

    Attributes:
        status: HTTP status.
        headers: By lower-case name.
        body: All of it; for a stream, empty.
        chunks: The stream.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: AsyncGenerator[bytes, None] | None = None

    @property
    def text(self) -> str:
        """The body for a message: the `message` of a JSON error, else the start of it."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict):
            for name in ("message", "error"):
                if isinstance(parsed.get(name), str):
                    return str(parsed[name])
        return self.body[:2048].decode(errors="replace")


@attrs.frozen(kw_only=True)
class ContainerSpec:
    """How to run one container.

    Attributes:
        command: The program.
        environment: Of the model.
        model_dir: Extracted archive of a single-model container; None for a multi-model one.
        work_dir: A folder of its own.
        scratch: Its folder for temporary files.
        models: Folder that its models lie in.
        hidden: Folder of the host's data, closed to it.
        isolate: Whether it gets no more of this machine than it needs.
        readable: Paths that it may read all the same.
        code_dir: Extracted archive of SAGEMAKER_SUBMIT_DIRECTORY, which its models read too; None where there is none.
        log: File for what it prints.
        memory_bytes: For its models.
        title: For messages, such as `The primary container for production variant AllTraffic`.
        startup_limit: Seconds until it must be healthy.
        stop_seconds: From SIGTERM to SIGKILL.
    """

    command: Command
    environment: Mapping[str, str] = attrs.field(repr=False)
    model_dir: Path | None
    work_dir: Path
    scratch: Path
    models: Path
    hidden: Path
    isolate: bool
    readable: tuple[str, ...]
    log: Path
    memory_bytes: int
    title: str
    startup_limit: float
    stop_seconds: float
    code_dir: Path | None = None


class Container:
    """A container's process and its HTTP side.

    Args:
        spec: How to run it.
        session: The HTTP client.
        clock: Time and sleep.
    """

    def __init__(self, spec: ContainerSpec, session: aiohttp.ClientSession, clock: AsyncClock) -> None:
        self._spec = spec
        self._session = session
        self._clock = clock
        self._ports = random.Random()
        self._process: asyncio.subprocess.Process | None = None
        self.address = ""
        self._key = secrets.token_urlsafe(32)
        self._socket_dir: TemporaryFolder | None = None
        self._local: aiohttp.ClientSession | None = None  # for a container on a unix socket

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it and wait until it is healthy.

        Raises:
            HostingError: It ended, or was not healthy in time; nothing is left running.
        """
        deadline = self._clock.monotonic() + self._spec.startup_limit
        for last in (False,) * (_TRIES - 1) + (True,):
            await self._spawn()
            try:
                healthy = await self._healthy(deadline)
            except BaseException:
                await asyncio.shield(self.stop())
                raise
            if healthy:
                return
            await self.stop()
            if last or self._clock.monotonic() >= deadline or "ddress already in use" not in self._log_tail():
                break
        raise HostingError(
            f"{self._spec.title} did not pass the ping health check. "
            f"Please check CloudWatch logs for this endpoint. ({self._log_tail(300) or 'it printed nothing'})"
        )

    async def _spawn(self) -> None:
        spec = self._spec
        port = _free_port(self._ports)
        self.address = f"http://127.0.0.1:{port}"
        if spec.command.on_socket:
            self._socket_dir = TemporaryFolder(SOCKET, SOCKETS)
            self._local = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._socket_dir.path / "s"), limit=0),
                timeout=self._session.timeout,
                auto_decompress=False,
            )
        values = {
            "port": str(port),
            "socket": str(self._socket_dir and self._socket_dir.path / "s"),
            "memory": str(spec.memory_bytes),
            "directory": str(spec.work_dir),
            "model": str(spec.model_dir or ""),
        }
        disk.make_folder(spec.work_dir)
        disk.make_folder(spec.log.parent)
        words: Sequence[str] = spec.command.words(single=spec.model_dir is not None, values=values)
        own, words, notes = await asyncio.to_thread(self._isolated, words)
        environment = {
            **own,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGEMAKER_SAFE_PORT_RANGE": "25000-25999",
            **({"SAGEMAKER_MULTI_MODEL": "true"} if spec.model_dir is None else {}),
            **spec.command.variables(values),
            **spec.environment,
            **notes,
        }
        with disk.open_private(spec.log, append=True) as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *children.die_with_parent(words),
                    stdin=asyncio.subprocess.PIPE,  # its end tells the container that the host is gone
                    stdout=log,
                    stderr=log,
                    cwd=spec.work_dir,
                    env=environment,
                    start_new_session=True,
                    umask=0o077,
                )
            except OSError as error:
                await self.stop()
                raise HostingError(f"{spec.title} cannot be started: {words[0]}: {error.strerror}") from error
        if self._process.stdin is not None:
            self._process.stdin.write(f"{self._key}\n".encode())

    def _isolated(self, words: Sequence[str]) -> tuple[dict[str, str], Sequence[str], dict[str, str]]:
        """The host's part of the environment, the command line, and variables about the isolation."""
        spec = self._spec
        if not spec.isolate:
            return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}, words, {}
        environment = isolation.environment(os.environ, spec.scratch)
        own = [spec.work_dir, spec.scratch, spec.models]
        if self._socket_dir is not None:
            own.append(self._socket_dir.path)
        rules = isolation.policy(words, hidden=spec.hidden, own=own, readable=spec.readable)
        if spec.code_dir is not None:
            for rights in rules.values():
                rights["read"].append(str(spec.code_dir))
        file = spec.work_dir / "isolation.json"
        disk.write_atomically(file, json.dumps(rules).encode())
        if spec.command.isolated:
            words = isolation.restricted(words, file)
        else:
            environment["HOME"] = os.environ.get("HOME", environment["HOME"])
        return environment, words, {isolation.VARIABLE: str(file)}

    async def _healthy(self, deadline: float) -> bool:
        """Poll /ping, and /models of a multi-model container, as SageMaker does."""
        paths = ["/ping"] if self._spec.model_dir is not None else ["/ping", "/models"]
        pause = 0.01
        while paths:
            if self._process is None or self._process.returncode is not None:
                return False
            try:
                async with asyncio.timeout(2.0):
                    said = await self.ask("GET", paths[0])
                if said.status == 200:
                    del paths[0]
                    continue
                if paths[0] == "/models" and said.status == 404:
                    return False
            except (ContainerGone, TimeoutError):
                pass
            if self._clock.monotonic() >= deadline:
                return False
            await self._clock.sleep(pause)
            pause = min(0.25, pause * 1.5)
        return True

    async def ended(self) -> int:
        """Wait until the process ends; its exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone."""
        process, self._process = self._process, None
        if process is not None:
            await self._end(process)
        if self._local is not None:
            await self._local.close()
        if self._socket_dir is not None:
            self._socket_dir.close()
        self._local = self._socket_dir = None

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(self._spec.stop_seconds):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def load(self, model_id: str, directory: Path) -> Said:
        """POST /models."""
        order = json.dumps({"model_name": model_id, "url": str(directory)}).encode()
        return await self.ask("POST", "/models", order, {"Content-Type": "application/json"})

    async def unload(self, model_id: str) -> Said:
        """DELETE /models/{id}."""
        return await self.ask("DELETE", f"/models/{quote(model_id, safe='')}")

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> Said:
        """One request.

        Args:
            method: HTTP method.
            path: Path.
            body: Payload.
            headers: Headers.
            stream: Hand out the body of a good answer as it comes; the stream must be read or closed.

        Returns:
            The answer.

        Raises:
            ContainerAway: Nothing was sent.
            ContainerGone: No whole answer.
        """
        try:
            answer = await (self._local or self._session).request(
                method,
                self.address + path,
                data=_payload(body),
                headers={**(headers or {}), "X-Mme-Sdk-Key": self._key},
            )
            said_headers = {name.lower(): value for name, value in answer.headers.items()}
            if stream and answer.status < 300:
                return Said(answer.status, said_headers, b"", _chunks(answer))
            async with answer:
                return Said(answer.status, said_headers, await answer.read())
        except aiohttp.ClientConnectorError as error:
            raise ContainerAway(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ContainerGone(str(error) or type(error).__name__) from error

    def _log_tail(self, size: int = 2000) -> str:
        try:
            with self._spec.log.open("rb") as file:
                file.seek(max(0, self._spec.log.stat().st_size - size))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a body as aiohttp sends it without blocking the event loop: a large one as a file."""
    return io.BytesIO(body) if body is not None and len(body) > _LARGE else body


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        async with answer:
            async for chunk in answer.content.iter_any():
                yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise ContainerGone(str(error) or type(error).__name__) from error


def _free_port(rng: random.Random) -> int:
    """A free port below the range from which the system takes ports for outgoing connections.

    Multi Model Server takes no port above 32767 either.
    """
    while True:
        port = rng.randrange(15000, 32000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
