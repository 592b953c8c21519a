"""One container: its process, and the HTTP requests to it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import aiohttp
import attrs

from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.local import processes
from mme_sdk.local.containers import Command, opt_ml
from mme_sdk.local.hosting import isolation
from mme_sdk.local.hosting.connections import (
    ContainerConnectionError,
    ContainerConnections,
    ContainerResponse,
    ContainerUnreachableError,
    free_port,
)
from mme_sdk.local.hosting_interface import HostingError
from mme_sdk.local.storage import disk
from mme_sdk.protocols import AsyncClock

__all__ = [
    "Container",
    "ContainerConnectionError",
    "ContainerResponse",
    "ContainerSpec",
    "ContainerUnreachableError",
    "terminate",
]

SOCKET = "mme-sdk-socket-"
SHORT_GRACE = 5.0  # seconds from SIGTERM to SIGKILL for a container that serves nobody any more
SOCKETS = Path("/tmp")  # noqa: S108 - the path of a unix socket is limited to about 100 bytes; TMPDIR can be longer
_TRIES = 3  # another process can take the port between the moment it is found free and the moment it is bound
_LARGE = 1 << 20  # bytes from which aiohttp warns that a body blocks the event loop


@attrs.frozen(kw_only=True)
class ContainerSpec:
    """The parameters of one container.

    Attributes:
        command: The program.
        environment: Environment variables of the model.
        model_dir: Extracted archive of a single-model container; None for a multi-model container.
        work_dir: Working directory of the process.
        scratch: Folder for temporary files.
        models: Folder that contains the model folders.
        hidden: Folder of the host's data; the container cannot read it.
        isolate: Whether the process runs isolated: see `HostingSettings.isolate`.
        readable: More paths that an isolated process can read.
        environments: Folder of the virtual environments of models; None if no packages are installed.
        code_dir: Extracted archive of SAGEMAKER_SUBMIT_DIRECTORY, which the models read too; None without one.
        log: File for the output of the process.
        memory_bytes: Memory for models, in bytes.
        title: Name in messages, such as `The primary container for production variant AllTraffic`.
        startup_limit: Seconds within which the container must become healthy.
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
    code_dir: Path | None = None
    environments: Path | None = None


class Container:
    """One container process and the HTTP client for it.

    Args:
        spec: The parameters of the container.
        session: The HTTP client.
        clock: Clock for time limits and pauses.
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
        self._connections: ContainerConnections | None = None  # for invocations of a container on a TCP port

    @property
    def command(self) -> Command:
        """The program."""
        return self._spec.command

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of the model."""
        return self._spec.environment

    @property
    def pid(self) -> int | None:
        """The process id; None while the process does not run."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process and wait until the container is healthy.

        Raises:
            HostingError: The process ended, or was not healthy within `startup_limit`. It does not run any more.
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
            f"Please check CloudWatch logs for this endpoint. ({self._log_tail(300) or 'The log is empty.'})"
        )

    async def _spawn(self) -> None:
        spec = self._spec
        port = free_port(self._ports)
        self.address = f"http://127.0.0.1:{port}"
        if spec.command.uses_socket:
            self._socket_dir = TemporaryFolder(SOCKET, SOCKETS)
            self._local = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._socket_dir.path / "s"), limit=0),
                timeout=self._session.timeout,
                auto_decompress=False,
            )
        else:
            self._connections = ContainerConnections(port)
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
        inherited, words, isolation_variables = await asyncio.to_thread(self._isolated, words)
        words, model_dir = await asyncio.to_thread(self._mounted, words)
        environment = {
            **inherited,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGEMAKER_SAFE_PORT_RANGE": "25000-25999",
            **({"SAGEMAKER_MULTI_MODEL": "true"} if model_dir is None else {"SM_MODEL_DIR": model_dir}),
            **spec.command.variables(values),
            **spec.environment,
            **isolation_variables,
        }
        with disk.open_private(spec.log, append=True) as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *processes.die_with_parent(words),
                    stdin=asyncio.subprocess.PIPE,  # end of file tells the container that the host has ended
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
        """Return the inherited environment, the command line, and the variables that configure isolation."""
        spec = self._spec
        if not spec.isolate:
            return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}, words, {}
        environment = isolation.environment(os.environ, spec.scratch)
        writable = [spec.work_dir, spec.scratch, spec.models]
        if spec.model_dir is not None:
            writable.append(spec.model_dir)  # a rule for the folder above it does not hold below /opt/ml/model
        if self._socket_dir is not None:
            writable.append(self._socket_dir.path)
        rules = isolation.policy(words, hidden=spec.hidden, writable=writable, readable=spec.readable)
        if spec.code_dir is not None:
            for rights in rules.values():
                rights["read"].append(str(spec.code_dir))
        if spec.environments is not None:
            disk.make_folder(spec.environments)  # rules hold for folders that exist
            rules["container"]["read"].append(str(spec.environments))  # a model reads only its own
        file = spec.work_dir / "isolation.json"
        disk.write_atomically(file, json.dumps(rules).encode())
        if spec.command.isolated:
            words = isolation.restricted(words, file)
        else:
            environment["HOME"] = os.environ.get("HOME", environment["HOME"])
        return environment, words, {isolation.VARIABLE: str(file)}

    def _mounted(self, words: Sequence[str]) -> tuple[Sequence[str], str | None]:
        """Return the command line that mounts the model at /opt/ml/model if it should, and the path of the model."""
        spec = self._spec
        if spec.model_dir is None:
            return words, None
        if spec.command.opt_ml is False:
            return words, str(spec.model_dir)
        obstacle = opt_ml.obstacle()
        if obstacle is None:
            return opt_ml.mounted(words, spec.model_dir), opt_ml.MODEL
        if spec.command.opt_ml:
            raise HostingError(
                f"{spec.title} cannot be started: its program expects the model at {opt_ml.MODEL}, and this machine "
                f"cannot mount it there ({obstacle}). Let the program read the path from the variable SM_MODEL_DIR or "
                "from an argument {model} of Command, and set opt_ml=False."
            )
        with disk.open_private(spec.log, append=True) as log:
            log.write(f"The model is not mounted at {opt_ml.MODEL}: {obstacle}\n".encode())
        return words, str(spec.model_dir)

    async def _healthy(self, deadline: float) -> bool:
        """Poll /ping, and /models of a multi-model container, as SageMaker does. Return whether all answered 200."""
        paths = ["/ping"] if self._spec.model_dir is not None else ["/ping", "/models"]
        began = self._clock.monotonic()
        while paths:
            if self._process is None or self._process.returncode is not None:
                return False
            try:
                async with asyncio.timeout(2.0):
                    response = await self.request("GET", paths[0])
                if response.status == 200:
                    del paths[0]
                    continue
                if paths[0] == "/models" and response.status == 404:
                    return False
            except (ContainerConnectionError, TimeoutError):
                pass
            now = self._clock.monotonic()
            if now >= deadline:
                return False
            # A container that starts in 0.4 s is noticed within 0.02 s, one that starts in 10 s within 0.25 s.
            await self._clock.sleep(min(0.25, max(0.01, (now - began) / 20)))
        return True

    async def wait_for_exit(self) -> int:
        """Wait until the process ends; return its exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, grace: Callable[[], Awaitable[None]] | None = None) -> None:
        """Send SIGTERM and return when the process has ended.

        Args:
            grace: Waits until it is time for SIGKILL. Default: 5 seconds.
        """
        process, self._process = self._process, None
        if process is not None:
            await terminate(process, grace() if grace is not None else self._clock.sleep(SHORT_GRACE))
        if self._connections is not None:
            self._connections.close()
        if self._local is not None:
            await self._local.close()
        if self._socket_dir is not None:
            self._socket_dir.close()
        self._local = self._socket_dir = self._connections = None

    def kill(self) -> None:
        """Send SIGKILL, which simulates a crash."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def load(self, model_id: str, directory: Path, target_model: str) -> ContainerResponse:
        """Send `POST /models`: load a model. The header lets a container label the model's lines in the log."""
        payload = json.dumps({"model_name": model_id, "url": str(directory)}).encode()
        named = model_id if self._spec.command.target_is_id else target_model  # as the requests of invocations name it
        headers = {"Content-Type": "application/json", "X-Amzn-SageMaker-Target-Model": named}
        return await self.request("POST", "/models", payload, headers)

    async def unload(self, model_id: str) -> ContainerResponse:
        """Send `DELETE /models/{id}`: unload a model."""
        return await self.request("DELETE", f"/models/{quote(model_id, safe='')}")

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> ContainerResponse:
        """Send one HTTP request.

        Args:
            method: HTTP method.
            path: Path of the URL.
            body: Request body.
            headers: Request headers.
            stream: Whether to stream the body of a successful response. The caller reads or closes the stream.

        Returns:
            The response.

        Raises:
            ContainerUnreachableError: The request was not sent.
            ContainerConnectionError: The response is missing or incomplete.
        """
        keyed = {**(headers or {}), "X-Mme-Sdk-Key": self._key}
        session = self._local or self._session
        try:
            response = await session.request(
                method, self.address + path, data=_payload(body), headers=keyed, allow_redirects=False
            )
            received = {name.lower(): value for name, value in response.headers.items()}
            if stream and response.status < 300:
                return ContainerResponse(response.status, received, b"", _chunks(response))
            async with response:
                return ContainerResponse(response.status, received, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise ContainerUnreachableError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ContainerConnectionError(str(error) or type(error).__name__) from error

    async def invoke(
        self, path: str, body: bytes, headers: Mapping[str, str], *, stream: bool = False
    ) -> ContainerResponse:
        """Send one invocation, as `request` does.

        Args:
            path: Path of the URL, of characters that need no escape.
            body: Request body.
            headers: Request headers.
            stream: Whether to stream the body of a successful response.

        Returns:
            The response.

        Raises:
            ContainerUnreachableError: The request was not sent.
            ContainerConnectionError: The response is missing or incomplete.
        """
        connections = self._connections
        if stream or connections is None or len(body) > _LARGE:
            return await self.request("POST", path, body, headers, stream=stream)
        return await connections.post(path, body, {**headers, "X-Mme-Sdk-Key": self._key})

    def _log_tail(self, size: int = 2000) -> str:
        try:
            with self._spec.log.open("rb") as file:
                begin = max(0, self._spec.log.stat().st_size - size)
                file.seek(begin)
                text = file.read().decode(errors="replace").strip()
                return text.partition("\n")[2] or text if begin else text  # whole lines
        except OSError:
            return ""


async def terminate(process: asyncio.subprocess.Process, grace: Awaitable[None]) -> None:
    """Send SIGTERM to a process, and SIGKILL if it still runs when `grace` ends. Return when the process has ended.

    Args:
        process: The process.
        grace: Ends when it is time for SIGKILL.
    """
    limit = asyncio.ensure_future(grace)
    ended = asyncio.ensure_future(process.wait())
    try:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait({ended, limit}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await ended
    finally:
        limit.cancel()
        ended.cancel()
        if process.stdin is not None:
            process.stdin.close()  # the end of standard input would end the containers of this package at once


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a body as aiohttp sends it without blocking the event loop: a large one as a file."""
    return io.BytesIO(body) if body is not None and len(body) > _LARGE else body


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        async with response:
            async for chunk in response.content.iter_any():
                yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise ContainerConnectionError(str(error) or type(error).__name__) from error
