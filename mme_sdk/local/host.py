"""`LocalSageMaker`: S3, hosting, control plane and HTTP server, started and stopped as one."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import functools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mme_sdk.artifacts.temporary import TemporaryFolder, remove_abandoned
from mme_sdk.errors import ClosedError, ConfigurationError, MissingExtraError, MMEError, StorageError
from mme_sdk.local import processes
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.credentials import CREDENTIALS, LocalCredentials, load_credentials
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import HostContext, Hosting
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.storage import disk
from mme_sdk.local.storage.s3 import RECORD, S3Server, add_disk_space_to_error, disk_space_warning, set_default_kms_key

if TYPE_CHECKING:
    import boto3

    from mme_sdk.client import AsyncMMEClient, MMEClient

__all__ = ["LocalCredentials", "LocalSageMaker"]

_log = logging.getLogger(__name__)
_S3_WATCH = 0.5  # seconds between two looks whether SeaweedFS still runs
_TEMPORARY = "mme-sdk-data-"
_STATE = "state.sqlite"
_OWN = ("lock", CREDENTIALS, _STATE, f"{_STATE}-wal", f"{_STATE}-shm", "s3", "hosting")  # what lies in a data directory


class LocalSageMaker:
    """An embedded SageMaker on 127.0.0.1: real AWS clients talk to it without knowing.

    Args:
        data_dir: Folder for objects, resources and credentials, there again at the next start; a temporary one, removed
            at the end, where None.
        port: Port of SageMaker, SageMaker Runtime, CloudWatch, Application Auto Scaling and STS; a free one where 0.
        s3_port: Port of S3; a free one where 0.
        region: The region it claims to be; signatures must be scoped to it.
        account_id: The account it claims to be.
        images: Program by image name; every other image runs in the Python container.
        settings: How hosting behaves: memory, download bandwidth, …
        control: How long the control plane takes.
        seed: For the dice of `faults`.
        hosting: Makes what runs the endpoints, for tests of the control plane alone.

    Attributes:
        faults: Trouble on demand, for `add`, `remove`, `list` and `clear`.
        requests: The last requests, with `last()` and `duplicates()`.
        hosting: What runs the endpoints; lives on this host's event loop.

    Example:
        >>> with LocalSageMaker() as aws:  # doctest: +SKIP
        ...     client = aws.client()
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        port: int = 0,
        s3_port: int = 0,
        region: str = "us-east-1",
        account_id: str = "123456789012",
        images: Mapping[str, Any] | None = None,
        settings: Any = None,
        control: ControlSettings | None = None,
        seed: int = 0,
        hosting: Callable[[HostContext], Hosting] | None = None,
    ) -> None:
        self.data_dir = None if data_dir is None else Path(data_dir)
        self.port = port
        self.region = region
        self.account_id = account_id
        self._wanted_port = port
        self._s3_port = s3_port
        self._images = dict(images or {})
        self._settings = settings
        self._control = control or ControlSettings()
        self._make_hosting = hosting or _local_hosting
        self.faults = Faults(seed)
        self.hosting: Hosting | None = None
        self.requests = RequestLog(lambda: datetime.now(UTC))
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._s3: S3Server | None = None
        self._credentials: LocalCredentials | None = None
        self._boto_lock = threading.Lock()
        self._boto_session: boto3.Session | None = None
        self._look: Callable[[], dict[str, Any]] = dict

    def __repr__(self) -> str:
        state = self.endpoint_url if self._thread is not None else "stopped"
        return f"<LocalSageMaker {state} data_dir={str(self.data_dir)!r}>"

    @property
    def endpoint_url(self) -> str:
        """The address of everything but S3, for `AWS_ENDPOINT_URL`."""
        self._running()
        return f"http://127.0.0.1:{self.port}"

    @property
    def s3_endpoint_url(self) -> str:
        """The address of S3, for `AWS_ENDPOINT_URL_S3`."""
        return self._running().endpoint_url

    @property
    def endpoint_urls(self) -> dict[str, str]:
        """Addresses by service, `*` for all others, as `mme_sdk` clients take them."""
        return {"*": self.endpoint_url, "s3": self.s3_endpoint_url}

    @property
    def credentials(self) -> LocalCredentials:
        """The keys to sign with."""
        self._running()
        assert self._credentials is not None
        return self._credentials

    def environ(self) -> dict[str, str]:
        """The environment variables with which any AWS client finds this host."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }

    def session(self) -> boto3.Session:
        """A boto3 session with this host's keys and region; the addresses are in `endpoint_urls`.

        Its S3 clients say in the error of a failed request when the host's disk is almost full. They name the default
        key `alias/aws/s3` where a request for SSE-KMS names none; of other clients SeaweedFS refuses such a request.
        """
        import boto3

        session = boto3.Session(
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            region_name=self.region,
        )
        session.events.register("after-call.s3", functools.partial(add_disk_space_to_error, self._running().data_dir))
        for operation in ("PutObject", "CreateMultipartUpload", "CopyObject"):
            session.events.register(f"before-parameter-build.s3.{operation}", set_default_kms_key)
        return session

    def boto(self, service: str, **options: Any) -> Any:
        """A boto3 client of a service of this host.

        Args:
            service: Such as `sagemaker`, `sagemaker-runtime`, `s3`.
            options: Passed on to boto3.
        """
        address = self.s3_endpoint_url if service == "s3" else self.endpoint_url
        with self._boto_lock:  # one session, since each would read the services' models again
            if self._boto_session is None:
                self._boto_session = self.session()
            return self._boto_session.client(service, endpoint_url=address, **options)

    def client(self, **options: Any) -> MMEClient:
        """An `MMEClient` of this host.

        Args:
            options: Passed on to `MMEClient`.
        """
        from mme_sdk.client import MMEClient

        return MMEClient(session=self.session(), endpoint_url=self.endpoint_urls, **options)

    def async_client(self, **options: Any) -> AsyncMMEClient:
        """An `AsyncMMEClient` of this host.

        Args:
            options: Passed on to `AsyncMMEClient`.
        """
        from mme_sdk.client import AsyncMMEClient

        return AsyncMMEClient(session=self.session(), endpoint_url=self.endpoint_urls, **options)

    def status(self) -> dict[str, Any]:
        """What the status page shows: endpoints, what is loaded where, hit ratios, the last requests, faults."""
        self._running()
        assert self._loop is not None

        async def look() -> dict[str, Any]:
            return self._look()

        return asyncio.run_coroutine_threadsafe(look(), self._loop).result()

    def start(self) -> LocalSageMaker:
        """Start it; returns when it answers, and what was in service before serves again.

        Returns:
            This host.

        Raises:
            MissingExtraError: The `local` extra is not installed.
            ConfigurationError: A port is taken, another host uses the data directory, another user owns something in
                it, or a file in it is damaged; nothing is left running.
            StorageError: The disk is full.
        """
        if self._thread is not None:
            return self
        ready: Future[None] = Future()
        self._loop, self._end = None, asyncio.Event()
        thread = threading.Thread(target=self._run, args=(ready,), name="mme-sdk-local", daemon=True)
        thread.start()
        try:
            ready.result()
        except BaseException:
            self._ask_to_end()
            thread.join()
            raise
        self._thread = thread
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Stop everything it started; safe to call again."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        atexit.unregister(self.stop)
        self._ask_to_end()
        thread.join()
        self._boto_session = None  # a temporary data directory has other keys next time

    def __enter__(self) -> LocalSageMaker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> S3Server:
        if self._thread is None or self._s3 is None:
            raise ClosedError("this LocalSageMaker is not running", hint="use it in a `with` block, or call start()")
        return self._s3

    def _ask_to_end(self) -> None:
        if self._loop is None:
            self._end.set()  # nobody waits for it yet
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._end.set)

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        try:
            from aiohttp import web
        except ImportError as error:
            raise MissingExtraError(
                "the embedded SageMaker needs aiohttp", hint="pip install 'mme-sdk[local]'"
            ) from error
        from mme_sdk.local.async_inference import AsyncInference
        from mme_sdk.local.containers import command_for
        from mme_sdk.local.control import Account, ControlPlane, Metrics, utc_now
        from mme_sdk.local.control.store import Store
        from mme_sdk.local.http.admin_api import AdminApi
        from mme_sdk.local.http.dataplane import DataPlane
        from mme_sdk.local.http.server import Server
        from mme_sdk.local.http.status import status
        from mme_sdk.local.wire.signing import SignatureVerifier

        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as started:
            data_dir = self._open_data_dir(started)
            listening = started.enter_context(_listen(self._wanted_port))
            self._credentials = keys = load_credentials(data_dir / CREDENTIALS)
            # S3 is started here and not in a worker thread: it dies with the thread that starts it.
            self._s3 = started.enter_context(
                S3Server(
                    data_dir / "s3",
                    port=self._s3_port,
                    access_key=keys.access_key,
                    secret_key=keys.secret_key,
                    kms_url=f"http://127.0.0.1:{listening.getsockname()[1]}",
                    region=self.region,
                    keep=self.data_dir is not None,
                )
            )
            store = started.enter_context(contextlib.closing(Store(data_dir / _STATE)))
            metrics = Metrics(min(self._control.minute, 60.0))

            def measure(name: str, endpoint: str, variant: str, value: float) -> None:
                metrics.measure(name, endpoint, variant, value, at=time.time())

            context = HostContext(
                data_dir=data_dir / "hosting",
                s3_endpoint_url=self._s3.endpoint_url,
                access_key=keys.access_key,
                secret_key=keys.secret_key,
                region=self.region,
                account_id=self.account_id,
                images=self._images,
                settings=self._settings,
                measure=measure,
                faults=self.faults,
            )
            hosting = self.hosting = self._make_hosting(context)
            started.push_async_callback(hosting.close)

            def multi_model(image: str) -> bool:
                return command_for(image, self._images).multi_model

            account = Account(account_id=self.account_id, region=self.region)
            plane = ControlPlane(store, account, hosting, metrics, self._control, self.faults, utc_now, multi_model)
            started.push_async_callback(plane.close)
            await plane.start()

            def look() -> dict[str, Any]:
                endpoints = plane.endpoints
                return status(
                    endpoints.all(), hosting.inspect(), tuple(endpoints.events), self.requests, self.faults, utc_now()
                )

            self._look = look
            queue = AsyncInference(hosting, plane.endpoints.async_inference, lambda: self.boto("s3"))
            started.push_async_callback(queue.close)
            server = Server(
                DataPlane(hosting, queue),
                plane.services,
                SignatureVerifier(keys.access_key, keys.secret_key, self.region),
                self.faults,
                self.requests,
                AdminApi(self.faults, look),
            )
            runner = web.ServerRunner(server.http(), shutdown_timeout=2.0)
            await runner.setup()
            started.push_async_callback(runner.cleanup)
            await web.SockSite(runner, listening, backlog=4096).start()
            self.port = listening.getsockname()[1]
            watch = asyncio.create_task(self._keep_s3_up(self._s3), name="s3")
            started.push_async_callback(_cancelled, watch)
            ready.set_result(None)
            await self._end.wait()

    @staticmethod
    async def _keep_s3_up(s3: S3Server) -> None:
        told = None
        while True:
            short = disk_space_warning(s3.data_dir)
            if short is not None and told is None:
                _log.error("%s", short)
            told = short
            await asyncio.sleep(_S3_WATCH)
            if s3.has_exited():
                _log.error("SeaweedFS ended; it is started again on port %d", s3.port)
                try:
                    s3.spawn()
                    await asyncio.to_thread(s3.wait_ready)
                except MMEError:
                    _log.exception("SeaweedFS did not come up again")

    def _open_data_dir(self, started: contextlib.AsyncExitStack) -> Path:
        if self.data_dir is None:
            # Where children outlive a host that was killed, its SeaweedFS is ended before its data goes.
            remove_abandoned(_TEMPORARY, first=lambda left: processes.kill_recorded(left / "s3" / RECORD))
            try:
                temporary = TemporaryFolder(_TEMPORARY)
            except OSError as error:  # tempfile has tried all the places it knows
                raise StorageError(
                    f"cannot make a temporary data directory: {error.strerror or error}",
                    hint="free some space there, set TMPDIR, or choose a data_dir (--data-dir)",
                ) from error
            started.callback(temporary.close)
            return temporary.path
        data_dir = disk.open_data_dir(self.data_dir, _OWN)
        try:
            lock = started.enter_context(disk.open_private(data_dir / "lock", append=True))
        except OSError as error:
            raise disk.write_error(data_dir / "lock", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"another embedded SageMaker is running on {data_dir}",
                hint="stop it, or choose another data_dir (--data-dir)",
            ) from error
        return data_dir


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _local_hosting(context: HostContext) -> Hosting:
    from mme_sdk.local.hosting import LocalHosting

    hosting: Hosting = LocalHosting(context)
    return hosting


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"cannot serve on 127.0.0.1:{port}: {error.strerror}",
            hint="stop what uses the port, or choose another one (`--port`; 0 takes any free one)",
        ) from error
    return listening
