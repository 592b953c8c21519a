"""`LocalSageMaker`: start and stop S3, hosting, control plane and HTTP server together."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance
from mme_sdk.display import html
from mme_sdk.display.shown import Shown
from mme_sdk.errors import ClosedError, InvalidInputError
from mme_sdk.local.access import LocalIam
from mme_sdk.local.assembly import HostOptions, local_hosting, run_host
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import HostContext, Hosting
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.storage.s3 import S3Server, add_disk_space_to_error

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config

    from mme_sdk.async_client import AsyncMMEClient
    from mme_sdk.client import MMEClient
    from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
    from mme_sdk.local.containers import Command
    from mme_sdk.local.hosting import HostingSettings
    from mme_sdk.runtime import Codecs, Hook, Memory

__all__ = ["LocalSageMaker"]


@short_tracebacks
class LocalSageMaker(Shown):
    """An embedded SageMaker on 127.0.0.1 that any AWS client can use in place of AWS.

    Use it in a `with` block, or call `start` and `stop`.

    Args:
        data_dir: Folder that keeps objects, resources and credentials for the next start. The default None uses a
            temporary folder, which `stop` removes.
        port: TCP port of SageMaker, SageMaker Runtime, CloudWatch, CloudWatch Logs, Application Auto Scaling, IAM, KMS
            and STS. The default 0 takes a free port.
        s3_port: TCP port of S3. The default 0 takes a free port.
        region: AWS region of the host, default `us-east-1`. Requests must be signed for it.
        account_id: AWS account id of the host, twelve digits, default `123456789012`.
        images: Program to run for an image name. Every other image runs in the Python container. Default none.
        settings: Settings of hosting, such as memory and download bandwidth. Default `HostingSettings()`.
        control: Durations of the control plane. Default `ControlSettings()`.
        iam: Whether the host evaluates the policies of IAM users and roles. The default False allows everything.
        seed: Seed of the random numbers that decide when a fault with a probability is triggered. Default 0.
        hosting: Factory of the object that runs the endpoints, for tests of the control plane alone. The default None
            runs containers on this machine.

    Attributes:
        data_dir: As given.
        port: TCP port; the one in use after `start`.
        region: As given.
        account_id: As given.
        faults: Fault injection: add, list and remove faults.
        requests: Log of the last requests.
        iam: Creates users and roles, on a host with `iam=True`.
        hosting: The object that runs the endpoints, None before `start`. Use it on the host's event loop only.

    Raises:
        InvalidInputError: `control` is not a ControlSettings, or `iam` is not a bool.

    Example:
        >>> with LocalSageMaker() as host:  # doctest: +SKIP
        ...     client = host.client()
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        port: int = 0,
        s3_port: int = 0,
        region: str = "us-east-1",
        account_id: str = "123456789012",
        images: Mapping[str, Command] | None = None,
        settings: HostingSettings | None = None,
        control: ControlSettings | None = None,
        iam: bool = False,
        seed: int = 0,
        hosting: Callable[[HostContext], Hosting] | None = None,
    ) -> None:
        self.data_dir = None if data_dir is None else Path(data_dir)
        self.port = self._wanted_port = port
        self.region, self.account_id = region, account_id
        self._s3_port = self._running_s3_port = s3_port
        self._images = dict(images or {})
        self._settings = settings
        self._control = ControlSettings() if control is None else control
        check_instance("control", self._control, ControlSettings)
        check_instance("iam", iam, bool)
        self.iam = LocalIam(lambda: self.boto("iam"), enabled=iam)
        self._make_hosting = hosting or local_hosting
        self.faults, self.requests = Faults(seed), RequestLog(lambda: datetime.now(UTC))
        self.hosting: Hosting | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._s3: S3Server | None = None
        self._credentials: LocalCredentials | None = None
        self._boto_lock = threading.Lock()
        self._boto_session: boto3.Session | None = None
        self._make_status: Callable[[], dict[str, Any]] = dict

    def _text(self) -> str:
        where = "" if self.data_dir is None else f" data_dir={str(self.data_dir)!r}"
        return f"<LocalSageMaker {self.endpoint_url if self._thread is not None else 'stopped'}{where}>"

    def _html(self) -> str:
        page = "stopped" if self._thread is None else html.link(self.endpoint_url, f"{self.endpoint_url}/")
        return html.facts("LocalSageMaker", {"status page": page, "data_dir": self.data_dir, "region": self.region})

    @property
    def endpoint_url(self) -> str:
        """The URL of every service except S3, for `AWS_ENDPOINT_URL`.

        Raises:
            ClosedError: The host is not running.
        """
        self._running()
        return f"http://127.0.0.1:{self.port}"

    @property
    def s3_endpoint_url(self) -> str:
        """The URL of S3, for `AWS_ENDPOINT_URL_S3`.

        Raises:
            ClosedError: The host is not running.
        """
        self._running()
        return f"http://127.0.0.1:{self._running_s3_port}"

    @property
    def endpoint_urls(self) -> dict[str, str]:
        """The URL of each service, for the `endpoint_url` of `MMEClient`: `s3`, and `*` for every other service.

        Raises:
            ClosedError: The host is not running.
        """
        return {"*": self.endpoint_url, "s3": self.s3_endpoint_url}

    @property
    def credentials(self) -> LocalCredentials:
        """The access key and secret key that requests must be signed with.

        Raises:
            ClosedError: The host is not running.
        """
        self._running()
        assert self._credentials is not None
        return self._credentials

    def environ(self) -> dict[str, str]:
        """Return the environment variables that make an AWS client use this host.

        Returns:
            `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
            `AWS_DEFAULT_REGION` and `AWS_REGION`. Some AWS SDKs, such as that for JavaScript, read only `AWS_REGION`.

        Raises:
            ClosedError: The host is not running.

        Example:
            >>> os.environ.update(host.environ())  # doctest: +SKIP
        """
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }

    def session(self, credentials: LocalCredentials | None = None) -> boto3.Session:
        """Return a new boto3 session with keys and region for this host.

        Pass `endpoint_url` to its clients; `endpoint_urls` has the URLs. Its S3 clients report a full disk.

        Args:
            credentials: The keys, such as those of `host.iam.add_user`. Default: the host's own.

        Returns:
            The session.

        Raises:
            ClosedError: The host is not running.
        """
        import boto3

        keys = credentials or self.credentials
        session = boto3.Session(
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.session_token,
            region_name=self.region,
        )
        session.events.register("after-call.s3", functools.partial(add_disk_space_to_error, self._running().data_dir))
        return session

    def boto(self, service: str, *, config: Config | None = None) -> Any:
        """Return a new boto3 client for a service of this host.

        Args:
            service: botocore's name of the service, such as `sagemaker`, `sagemaker-runtime` or `s3`.
            config: botocore configuration of the client, such as retries. Default: botocore's own.

        Returns:
            The client. Close it after use.

        Raises:
            ClosedError: The host is not running.

        Example:
            >>> host.boto("sagemaker").list_models()  # doctest: +SKIP
        """
        address = self.s3_endpoint_url if service == "s3" else self.endpoint_url
        with self._boto_lock:  # one session for all clients, because each session loads the service models again
            if self._boto_session is None:
                self._boto_session = self.session()
            return self._boto_session.client(service, endpoint_url=address, config=config)

    def client(
        self,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        cold_start: ColdStart | None = None,
        transport: str = "auto",
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        codecs: Codecs | None = None,
    ) -> MMEClient:
        """Return a new `MMEClient` that uses this host.

        The keywords are those of `MMEClient`; session, region and URLs are the host's.

        Args:
            timeouts: Time limits. Default `Timeouts()`.
            retry: When a failed call is repeated. Default `RetryPolicy()`.
            cold_start: How the client waits for a model to load. Default `ColdStart()`.
            transport: HTTP transport of invocations. The default `auto` selects the fastest one that is supported.
            memory: Load times and loaded models to share with other clients. By default the client has its own.
            hooks: Functions that are called with the events of an invocation. Default none.
            codecs: Encoders and decoders of payloads. Default: those of the package.

        Returns:
            The client. Use it in a `with` block, or close it after use.

        Raises:
            ClosedError: The host is not running.
            InvalidInputError: Both `memory` and `cold_start` are given, or a value is invalid.

        Example:
            >>> with host.client() as client:  # doctest: +SKIP
            ...     print(client.region)
        """
        from mme_sdk.client import MMEClient

        return MMEClient(
            session=self.session(),
            endpoint_url=self.endpoint_urls,
            timeouts=timeouts,
            retry=retry,
            cold_start=cold_start,
            transport=transport,
            memory=memory,
            hooks=hooks,
            codecs=codecs,
        )

    def async_client(
        self,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        cold_start: ColdStart | None = None,
        transport: str = "auto",
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        codecs: Codecs | None = None,
    ) -> AsyncMMEClient:
        """Return a new `AsyncMMEClient` that uses this host.

        The keywords are those of `AsyncMMEClient`; session, region and URLs are the host's.

        Args:
            timeouts: Time limits. Default `Timeouts()`.
            retry: When a failed call is repeated. Default `RetryPolicy()`.
            cold_start: How the client waits for a model to load. Default `ColdStart()`.
            transport: HTTP transport of invocations. The default `auto` selects the fastest one that is supported.
            memory: Load times and loaded models to share with other clients. By default the client has its own.
            hooks: Functions that are called with the events of an invocation. Default none.
            codecs: Encoders and decoders of payloads. Default: those of the package.

        Returns:
            The client. Use it in an `async with` block, or close it after use.

        Raises:
            ClosedError: The host is not running.
            InvalidInputError: Both `memory` and `cold_start` are given, or a value is invalid.

        Example:
            >>> async with host.async_client() as client:  # doctest: +SKIP
            ...     print(client.region)
        """
        from mme_sdk.async_client import AsyncMMEClient

        return AsyncMMEClient(
            session=self.session(),
            endpoint_url=self.endpoint_urls,
            timeouts=timeouts,
            retry=retry,
            cold_start=cold_start,
            transport=transport,
            memory=memory,
            hooks=hooks,
            codecs=codecs,
        )

    def status(self) -> dict[str, Any]:
        """Return the data of the status page.

        Returns:
            Endpoints with the last hour of their variants and the models of their instances, events, the last requests,
            errors and faults, as nested dicts and lists that `json.dumps` accepts, with the keys of `/_mme/status`.

        Raises:
            ClosedError: The host is not running.
        """
        self._running()
        assert self._loop is not None

        async def make_status() -> dict[str, Any]:
            return self._make_status()

        return asyncio.run_coroutine_threadsafe(make_status(), self._loop).result()

    def start(self) -> LocalSageMaker:
        """Start the host and wait until it answers requests.

        Endpoints that were in service when the data directory was last used are in service again. Does nothing if the
        host is running.

        Returns:
            This host.

        Raises:
            MissingExtraError: The `local` extra is not installed.
            ConfigurationError: A port is in use, another host uses the data directory, another user owns a file in it,
                or a file in it is damaged. Nothing is left running.
            StorageError: The disk is full, or a file cannot be written.
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
            self._request_stop()
            thread.join()
            raise
        self._thread = thread
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Stop every process and thread of the host. Does nothing if the host is not running."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        atexit.unregister(self.stop)
        self._request_stop()
        thread.join()
        self._boto_session = None  # a new temporary data directory has new keys

    close = stop  # the name that clients have

    def __reduce__(self) -> NoReturn:
        raise InvalidInputError("a LocalSageMaker cannot be pickled", hint="give other processes host.environ()")

    def __enter__(self) -> LocalSageMaker:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _running(self) -> S3Server:
        if self._thread is None or self._s3 is None:
            raise ClosedError("this LocalSageMaker is not running", hint="use it in a `with` block, or call start()")
        return self._s3

    def _request_stop(self) -> None:
        if self._loop is None:
            self._end.set()  # no event loop waits for the event yet
            return
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._end.set)

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        options = HostOptions(
            data_dir=self.data_dir,
            port=self._wanted_port,
            s3_port=self._s3_port,
            region=self.region,
            account_id=self.account_id,
            images=self._images,
            settings=self._settings,
            control=self._control,
            faults=self.faults,
            requests=self.requests,
            iam=self.iam.enabled,
            make_hosting=self._make_hosting,
            make_s3_client=lambda: self.boto("s3"),
        )
        async with run_host(options) as running:
            self.port, self._running_s3_port = running.port, running.s3_port
            self._s3, self._credentials = running.s3, running.credentials
            self.hosting, self._make_status = running.hosting, running.make_status
            ready.set_result(None)
            await self._end.wait()
