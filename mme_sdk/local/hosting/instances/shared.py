"""Services that all variants share: settings, clients, clock, and threads for blocking work."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.local.containers import Command, command_for
from mme_sdk.local.data_capture import DataCapture
from mme_sdk.local.hosting.container import SHORT_GRACE
from mme_sdk.local.hosting.downloads.objects import ObjectStore
from mme_sdk.local.hosting.environments import Environments, cache_folder
from mme_sdk.local.hosting.settings import HostingSettings
from mme_sdk.local.hosting_interface import HostContext
from mme_sdk.protocols import AsyncClock

__all__ = ["Shared"]

T = TypeVar("T")
_LOG = logging.getLogger("mme_sdk.local")
SCRATCH = "mme-sdk-scratch-"
_THREADS = 4  # for extraction and deletion, which the disk limits


class Shared:
    """Services that all endpoints of one host share. Created on the event loop of the host.

    Args:
        context: Addresses, folders, images and fault injection of the host.
        settings: Settings of hosting.
        clock: Clock for simulated delays and pauses.
        rng: Random number generator for routing.
    """

    def __init__(self, context: HostContext, settings: HostingSettings, clock: AsyncClock, rng: random.Random) -> None:
        self.context = context
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        self.store = ObjectStore(context, self.session)
        self.environments = Environments(
            cache_folder(os.environ),
            hidden=context.data_dir.parent,
            isolate=settings.isolate,
            readable=settings.readable,
        )
        self.capture = DataCapture(self._s3, rng)
        self.closing = asyncio.Event()  # set when the host closes: containers then get little time to end
        self._scratch: TemporaryFolder | None = None
        self._scratch_numbers = itertools.count(1)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mme-hosting")
        self._tasks: set[asyncio.Task[Any]] = set()

    def _s3(self) -> Any:
        """Return a boto3 client for the S3 of the host."""
        import boto3

        return boto3.Session(
            aws_access_key_id=self.context.access_key,
            aws_secret_access_key=self.context.secret_key,
            region_name=self.context.region,
        ).client("s3", endpoint_url=self.context.s3_endpoint_url)

    def command(self, image: str) -> Command:
        """Return the program that runs in place of an image."""
        return command_for(image, self.context.images)

    async def grace(self) -> None:
        """Wait from SIGTERM to SIGKILL: `stop_seconds`, and 5 seconds at most once the host closes."""
        waits = [asyncio.ensure_future(one) for one in (self.clock.sleep(self.settings.stop_seconds), self._hurry())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def _hurry(self) -> None:
        await self.closing.wait()
        await self.clock.sleep(SHORT_GRACE)

    def scratch(self) -> Path:
        """Create a folder for the temporary files of a container, with a path short enough for unix sockets."""
        if self._scratch is None:
            self._scratch = TemporaryFolder(SCRATCH)
        folder = self._scratch.path / str(next(self._scratch_numbers))
        folder.mkdir(mode=0o700)
        return folder

    async def offload(self, function: Callable[[], T]) -> T:
        """Run a blocking function in a thread; in this thread if the interpreter is ending, which starts no more."""
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, function)
        except RuntimeError:
            return function()
        return await running

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background until it ends or `close` cancels it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("hosting: a background task failed", exc_info=task.exception())

    @staticmethod
    def note(text: str, error: BaseException | None = None) -> None:
        """Log a warning, with the traceback of `error` if given."""
        _LOG.warning("%s", text, exc_info=error)

    async def close(self) -> None:
        """Cancel the background tasks and close clients, threads and folders."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self.capture.close()
        await self.session.close()
        if self._scratch is not None:
            await self.offload(self._scratch.close)
        self._threads.shutdown(wait=True, cancel_futures=True)
