"""Start the parts of the embedded SageMaker on one event loop, and stop them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import importlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.artifacts.temporary import TemporaryFolder, remove_abandoned
from mme_sdk.errors import ConfigurationError, MissingExtraError, MMEError, StorageError
from mme_sdk.local import processes
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.credentials import CREDENTIALS, LocalCredentials, load_credentials
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import HostContext, Hosting
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.ports import reserve
from mme_sdk.local.storage import disk
from mme_sdk.local.storage.s3 import RECORD, S3Server, disk_space_warning

__all__ = ["HostOptions", "RunningHost", "local_hosting", "run_host"]

_log = logging.getLogger(__name__)
_S3_CHECK_SECONDS = 0.5
_TEMPORARY = "mme-sdk-data-"
_STATE = "state.sqlite"
_ENTRIES = ("lock", CREDENTIALS, _STATE, f"{_STATE}-wal", f"{_STATE}-shm", "s3", "hosting")  # of a data directory


@attrs.frozen(kw_only=True)
class HostOptions:
    """The arguments of `LocalSageMaker`; see there.

    Attributes:
        make_hosting: Factory of the object that runs the endpoints.
        make_s3_client: Factory of a boto3 client for this host's S3.
    """

    data_dir: Path | None
    port: int
    s3_port: int
    region: str
    account_id: str
    images: Mapping[str, Any]
    settings: Any
    control: ControlSettings
    faults: Faults
    requests: RequestLog
    iam: bool
    make_hosting: Callable[[HostContext], Hosting]
    make_s3_client: Callable[[], Any]


@attrs.frozen(kw_only=True)
class RunningHost:
    """A host that answers requests.

    Attributes:
        port: TCP port of every service except S3.
        s3_port: TCP port of S3.
        s3: SeaweedFS.
        credentials: The keys that requests must be signed with.
        hosting: The object that runs the endpoints.
        make_status: Returns the data of the status page; call it on the event loop.
    """

    port: int
    s3_port: int
    s3: S3Server
    credentials: LocalCredentials
    hosting: Hosting
    make_status: Callable[[], dict[str, Any]]


@contextlib.asynccontextmanager
async def run_host(options: HostOptions) -> AsyncIterator[RunningHost]:
    """Run a host until the block ends.

    Args:
        options: How to run it.

    Yields:
        The running host.

    Raises:
        MissingExtraError: The `local` extra is not installed.
        ConfigurationError: A port is in use, or the data directory cannot be used.
        StorageError: The disk is full, or a file cannot be written.
    """
    async with contextlib.AsyncExitStack() as started:
        data_dir = _open_data_dir(options.data_dir, started)
        listening = started.enter_context(_listen(options.port))
        s3_listening = started.enter_context(_listen(options.s3_port))
        port, s3_port = listening.getsockname()[1], s3_listening.getsockname()[1]
        keys = load_credentials(data_dir / CREDENTIALS)
        s3 = S3Server(
            data_dir / "s3",
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            kms_url=f"http://127.0.0.1:{port}",
            region=options.region,
            keep=options.data_dir is not None,
        )
        started.callback(s3.stop)
        # Linux kills SeaweedFS when the thread that started it ends, so do not start it in a worker thread.
        s3.spawn()
        # SeaweedFS needs most of a second to start. The imports take as long, so they come now and not above.
        try:
            from aiohttp import web
        except ImportError as error:
            raise MissingExtraError(
                "the embedded SageMaker needs aiohttp", hint="pip install 'mme-sdk[local]'"
            ) from error
        from mme_sdk.local.async_inference import AsyncInference
        from mme_sdk.local.containers import command_for
        from mme_sdk.local.control import Account, ControlPlane, Metrics, utc_now
        from mme_sdk.local.control.iam.authorizer import Authorizer
        from mme_sdk.local.control.iam.identities import Identities
        from mme_sdk.local.control.store import Store
        from mme_sdk.local.http.admin_api import AdminApi
        from mme_sdk.local.http.dataplane import DataPlane
        from mme_sdk.local.http.s3.bucket_settings import BucketSettings
        from mme_sdk.local.http.s3.gateway import S3Gateway
        from mme_sdk.local.http.server import Server
        from mme_sdk.local.http.status import status_report
        from mme_sdk.local.http.timelines import Timelines
        from mme_sdk.local.wire.service_model import load_service_model
        from mme_sdk.local.wire.signing import SignatureVerifier

        load_service_model("sagemaker")
        if options.make_hosting is local_hosting:
            isolation = importlib.import_module("mme_sdk.local.hosting.isolation")
            asyncio.get_running_loop().run_in_executor(None, isolation.prepare)  # before the first endpoint needs it
        s3.finish_start()
        store = started.enter_context(contextlib.closing(Store(data_dir / _STATE)))
        metrics = Metrics(min(options.control.minute, 60.0))

        timelines = Timelines(time.time)

        def measure(name: str, endpoint: str, variant: str | None, value: float) -> None:
            metrics.measure(name, endpoint, variant, value, at=time.time())
            if variant is not None:
                timelines.measure(name, endpoint, variant, value)

        account = Account(account_id=options.account_id, region=options.region)
        identities = Identities(store, account, keys, utc_now)
        authorizer = Authorizer(identities, store, account, utc_now) if options.iam else None
        context = HostContext(
            data_dir=data_dir / "hosting",
            s3_endpoint_url=f"http://127.0.0.1:{s3_port}",
            archives_url=s3.endpoint_url,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            region=options.region,
            account_id=options.account_id,
            images=options.images,
            settings=options.settings,
            measure=measure,
            faults=options.faults,
            **({} if authorizer is None else {"role_allows": authorizer.role_allows}),
        )
        hosting = options.make_hosting(context)
        started.push_async_callback(hosting.close)

        def multi_model(image: str) -> bool:
            return command_for(image, options.images).multi_model

        plane = ControlPlane(
            store,
            account,
            hosting,
            metrics,
            options.control,
            options.faults,
            utc_now,
            multi_model,
            logs=context.logs,
            authorizer=authorizer,
        )
        started.push_async_callback(plane.close)
        await plane.start()

        def make_status() -> dict[str, Any]:
            endpoints = plane.endpoints
            events = tuple(endpoints.events)
            described, variants = endpoints.describe_all(), hosting.inspect()
            return status_report(
                described,
                variants,
                events,
                options.requests,
                options.faults,
                timelines,
                utc_now(),
                options.region,
            )

        async_inference = AsyncInference(
            hosting,
            plane.endpoints.async_endpoint,
            plane.endpoints.async_endpoints,
            options.make_s3_client,
            measure,
            options.control.minute,
        )
        started.push_async_callback(async_inference.close)
        plane.endpoints.on_change = async_inference.dispatch
        started.push_async_callback(_cancel, asyncio.create_task(async_inference.run(), name="async inference"))
        find_key = (lambda _access_key: None) if authorizer is None else identities.find_credentials
        verifier = SignatureVerifier(keys.access_key, keys.secret_key, options.region, find_key)
        server = Server(
            DataPlane(hosting, async_inference),
            plane.services,
            verifier,
            options.faults,
            options.requests,
            AdminApi(options.faults, make_status),
            authorizer,
        )
        runner = web.ServerRunner(server.for_aiohttp(), shutdown_timeout=2.0)
        await runner.setup()
        started.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listening, backlog=4096).start()
        gateway = S3Gateway(
            lambda: s3.port,
            keys,
            account,
            verifier,
            BucketSettings(store, _bucket_lister(options.make_s3_client)),
            authorizer,
        )
        started.push_async_callback(gateway.close)
        s3_server = await gateway.serve(s3_listening)
        started.callback(s3_server.close)
        supervision = asyncio.create_task(_supervise_s3(s3), name="s3")
        started.push_async_callback(_cancel, supervision)
        yield RunningHost(port=port, s3_port=s3_port, s3=s3, credentials=keys, hosting=hosting, make_status=make_status)


async def _supervise_s3(s3: S3Server) -> None:
    """Restart SeaweedFS when it exits. Log one error when its disk becomes almost full."""
    logged = None
    while True:
        warning = disk_space_warning(s3.data_dir)
        if warning is not None and logged is None:
            _log.error("%s", warning)
        logged = warning
        await asyncio.sleep(_S3_CHECK_SECONDS)
        if s3.has_exited():
            _log.error("SeaweedFS exited; the host restarts it on port %d", s3.port)
            try:
                s3.spawn()
                await asyncio.to_thread(s3.wait_ready)
            except MMEError:
                _log.exception("SeaweedFS could not be restarted; the host tries again")


def _bucket_lister(make_client: Callable[[], Any]) -> Callable[[], dict[str, str]]:
    """Return a function that returns the creation time of each bucket by name."""
    client = functools.cache(make_client)
    return lambda: {one["Name"]: str(one["CreationDate"]) for one in client().list_buckets()["Buckets"]}


def _open_data_dir(given: Path | None, started: contextlib.AsyncExitStack) -> Path:
    if given is None:
        # A host that was killed may have left its SeaweedFS running: kill it before its data is removed.
        remove_abandoned(_TEMPORARY, first=lambda folder: processes.kill_recorded(folder / "s3" / RECORD))
        try:
            temporary = TemporaryFolder(_TEMPORARY)
        except OSError as error:
            raise StorageError(
                f"cannot create a temporary data directory: {error.strerror or error}",
                hint="free some space, set TMPDIR, or choose a data_dir (--data-dir)",
            ) from error
        started.callback(temporary.close)
        return temporary.path
    data_dir = disk.open_data_dir(given, _ENTRIES)
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


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _listen(port: int) -> socket.socket:
    try:
        return reserve(port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on 127.0.0.1:{port}: {error.strerror}",
            hint="stop the program that uses the port, or choose another port (`--port`; 0 takes a free one)",
        ) from error


def local_hosting(context: HostContext) -> Hosting:
    """Return the hosting that runs containers on this machine."""
    from mme_sdk.local.hosting import LocalHosting

    return LocalHosting(context)
