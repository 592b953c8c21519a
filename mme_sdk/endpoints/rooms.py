"""`Endpoints` and `AsyncEndpoints`: the same flows, driven in a thread or on the event loop."""

from __future__ import annotations

from mme_sdk.aws import Aws, Flow
from mme_sdk.endpoints import check, creating, deleting, reading, waiting
from mme_sdk.endpoints.calls import Now
from mme_sdk.endpoints.deleting import Deletion
from mme_sdk.endpoints.description import EndpointDescription
from mme_sdk.endpoints.handle import AsyncEndpoint, Endpoint, _Handle
from mme_sdk.endpoints.progress import callback
from mme_sdk.endpoints.spec import EndpointSpec
from mme_sdk.endpoints.waiting import ProgressCallback
from mme_sdk.protocols import AsyncInvoker, Invoker

__all__ = ["AsyncEndpoints", "Endpoints"]


def _wait(handle: _Handle, timeout: float, now: Now, progress: ProgressCallback | bool) -> Flow[EndpointDescription]:
    """Wait for a handle's endpoint, then read the rest of it."""
    creation = handle._creation
    with callback(progress) as told:
        if creation is not None:
            yield from creating.finish(creation, timeout=timeout, now=now, progress=told)
        else:
            yield from waiting.until_settled(handle.name, timeout=timeout, now=now, progress=told)
    return (yield from _describe(handle.name))


def _describe(name: str) -> Flow[EndpointDescription]:
    check.named("name", name)
    return (yield from reading.read_live(name)).description


class Endpoints:
    """Creates, finds, changes and deletes endpoints.

    Args:
        aws: The way to AWS.
        invoker: What the handles' `invoke` goes to.
    """

    def __init__(self, aws: Aws, invoker: Invoker) -> None:
        self.aws = aws
        self.invoker = invoker

    def handle(self, name: str) -> Endpoint:
        """A handle; no call is made.

        Raises:
            InvalidInputError: No endpoint can have this name.
        """
        check.named("name", name)
        return Endpoint(self, name)

    def create(self, spec: EndpointSpec) -> Endpoint:
        """Begin to create an endpoint and return at once; `wait()` on the handle finishes the work.

        Asking again for what exists is no error: interrupted creations go on with the same resources.

        Args:
            spec: What to create.

        Returns:
            The handle.

        Raises:
            ConflictError: An endpoint of this name exists and is something else; the message says what differs.
            EndpointFailedError: An endpoint of this name exists and has failed.
            MMEError: A step failed; everything that this call made is removed.
        """
        creation = self.aws.run(creating.create(spec))
        return Endpoint(self, spec.name, seen=creation.seen, creation=creation)

    def get(self, name: str) -> Endpoint:
        """The handle of an endpoint that exists.

        Raises:
            EndpointNotFoundError: There is none of this name.
        """
        return Endpoint(self, name, seen=self.describe(name))

    def describe(self, name: str) -> EndpointDescription:
        """Read an endpoint, its configuration, models, autoscaling and tags.

        Raises:
            EndpointNotFoundError: There is none of this name.
        """
        return self.aws.run(_describe(name))

    def list(self, name_contains: str | None = None) -> list[Endpoint]:
        """Every endpoint, newest first.

        Args:
            name_contains: Only those with this in their name.
        """
        found = self.aws.run(reading.list_all(name_contains))
        return [Endpoint(self, one.name, seen=one) for one in found]

    def wait(self, name: str, *, timeout: float = 1800, progress: ProgressCallback | bool = False) -> Endpoint:
        """Wait until an endpoint is in service; see `Endpoint.wait`."""
        return self.handle(name).wait(timeout, progress=progress)

    def wait_for(self, handle: Endpoint, *, timeout: float, progress: ProgressCallback | bool = False) -> Endpoint:
        """Wait for a handle's endpoint; see `Endpoint.wait`."""
        seen = self.aws.run(_wait(handle, timeout, self.aws.clock.monotonic, progress))
        return Endpoint(self, handle.name, seen=seen)

    def delete(
        self,
        name: str,
        *,
        dry_run: bool = False,
        timeout: float = 900,
        progress: ProgressCallback | bool = False,
    ) -> Deletion:
        """Delete an endpoint, its autoscaling, its configurations and its models, and wait until they are gone.

        Only what was made for the endpoint goes, told by its derived names; what is not there is no error.

        Args:
            name: The endpoint's name.
            dry_run: Only say what would go.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            What was removed, and what was kept.

        Raises:
            WaitTimeoutError: The time is over; delete again to go on.
        """
        return self.aws.run(_delete(name, timeout, self.aws.clock.monotonic, dry_run, progress))


def _delete(name: str, timeout: float, now: Now, dry_run: bool, progress: ProgressCallback | bool) -> Flow[Deletion]:
    check.named("name", name)
    with callback(progress) as told:
        return (yield from deleting.delete(name, timeout=timeout, now=now, dry_run=dry_run, progress=told))


class AsyncEndpoints:
    """`Endpoints`, awaited.

    Args:
        aws: The way to AWS.
        invoker: What the handles' `invoke` goes to.
    """

    def __init__(self, aws: Aws, invoker: AsyncInvoker) -> None:
        self.aws = aws
        self.invoker = invoker

    def handle(self, name: str) -> AsyncEndpoint:
        """A handle; no call is made; see `Endpoints.handle`."""
        check.named("name", name)
        return AsyncEndpoint(self, name)

    async def create(self, spec: EndpointSpec) -> AsyncEndpoint:
        """Begin to create an endpoint and return at once; see `Endpoints.create`."""
        creation = await self.aws.arun(creating.create(spec))
        return AsyncEndpoint(self, spec.name, seen=creation.seen, creation=creation)

    async def get(self, name: str) -> AsyncEndpoint:
        """The handle of an endpoint that exists; see `Endpoints.get`."""
        return AsyncEndpoint(self, name, seen=await self.describe(name))

    async def describe(self, name: str) -> EndpointDescription:
        """Read an endpoint; see `Endpoints.describe`."""
        return await self.aws.arun(_describe(name))

    async def list(self, name_contains: str | None = None) -> list[AsyncEndpoint]:
        """Every endpoint, newest first; see `Endpoints.list`."""
        found = await self.aws.arun(reading.list_all(name_contains))
        return [AsyncEndpoint(self, one.name, seen=one) for one in found]

    async def wait(
        self, name: str, *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> AsyncEndpoint:
        """Wait until an endpoint is in service; see `Endpoint.wait`."""
        return await self.handle(name).wait(timeout, progress=progress)

    async def wait_for(
        self, handle: AsyncEndpoint, *, timeout: float, progress: ProgressCallback | bool = False
    ) -> AsyncEndpoint:
        """Wait for a handle's endpoint; see `Endpoint.wait`."""
        seen = await self.aws.arun(_wait(handle, timeout, self.aws.async_clock.monotonic, progress))
        return AsyncEndpoint(self, handle.name, seen=seen)

    async def delete(
        self,
        name: str,
        *,
        dry_run: bool = False,
        timeout: float = 900,
        progress: ProgressCallback | bool = False,
    ) -> Deletion:
        """Delete an endpoint and what belongs to it; see `Endpoints.delete`."""
        return await self.aws.arun(_delete(name, timeout, self.aws.async_clock.monotonic, dry_run, progress))
