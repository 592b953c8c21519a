"""Access to AWS: a boto3 session and its clients, retries, flows and worker threads."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mme_sdk._flows import cancellation
from mme_sdk._flows.cancellation import Cancelled, CancelScope, CleanUp, current_scope
from mme_sdk._version import __version__
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import (
    ClosedError,
    ConfigurationError,
    MMEError,
    NotSentError,
    OutcomeUnknownError,
    ServiceError,
    ThrottledError,
)
from mme_sdk.protocols import AsyncClock, Clock, Rng

if TYPE_CHECKING:
    from concurrent.futures import Future

    import boto3
    import tenacity
    from boto3 import Session as Session  # noqa: PLC0414 - the type, for modules that may not import boto3

    from mme_sdk._flows.effects import Call, Flow
    from mme_sdk._flows.workers import Workers

__all__ = ["AsyncSystemClock", "Aws"]

T = TypeVar("T")
_CLOSE_GRACE = 0.05  # seconds
_CANCEL_GRACE = 2.0  # seconds for cancelled work to end; a DNS lookup or a TLS handshake can take longer
_RETRY_INTERVAL = 0.02  # seconds between two attempts to wake a thread
_POOL = 64  # connections and worker threads


class AsyncSystemClock:
    """System clock for asyncio."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float, /) -> None:
        """Wait without blocking other tasks."""
        import asyncio

        await asyncio.sleep(seconds)


class Aws:
    """A boto3 session and its clients. They are created on first use, shared by threads, and created anew after a fork.

    Args:
        region: AWS region. None takes it from the session or the environment.
        session: The boto3 session. None creates one from the environment.
        endpoint_url: Endpoint URL of all services, or a mapping from service name to URL (`{"s3": …, "sagemaker": …}`,
            `"*"` for other services). None takes it from `AWS_ENDPOINT_URL…` in the environment.
        timeouts: Connect and read timeouts.
        retry: When failed control-plane calls are repeated.
        clock: Clock with `time`, `monotonic` and `sleep`. None uses the `time` module.
        async_clock: Clock for asyncio. None uses the system clock.
        rng: Random numbers for jitter. None creates a generator.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        session: boto3.Session | None = None,
        endpoint_url: str | Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        clock: Clock | None = None,
        async_clock: AsyncClock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self.retry = retry or RetryPolicy()
        self.clock: Clock = clock or time
        self.async_clock: AsyncClock = async_clock or AsyncSystemClock()
        self.rng: Rng = rng or random.Random()
        self._region = region
        self._given_session = session
        self._endpoint_url = endpoint_url
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._session: boto3.Session | None = None
        self._core: Any = None  # botocore's session
        self._clients: dict[str, Any] = {}
        self._workers: Workers[Any] | None = None
        self._scope = CancelScope()  # for all flows in the threads of callers; `close` cancels it
        self._running: dict[int, CleanUp] = {}  # by thread
        self._closed = False
        self.shared: dict[Any, Any] = {}  # of users of this instance, such as a cache; add with `setdefault`

    @property
    def session(self) -> boto3.Session:
        """The boto3 session. It is created on first use."""
        self._check_usable()
        with self._lock:
            if self._session is None:
                import boto3

                self._session = self._given_session or boto3.Session(
                    region_name=self._region, botocore_session=self._core
                )
            return self._session

    @property
    def region(self) -> str:
        """The AWS region.

        Raises:
            ConfigurationError: No region is set.
        """
        region = self._region or self.session.region_name
        if not region:
            raise ConfigurationError(
                "no AWS region is set",
                hint="pass region=…, set AWS_DEFAULT_REGION, or set a region in your AWS profile",
            )
        return region

    @property
    def has_session(self) -> bool:
        """Whether a boto3 session was given, or has been created."""
        self._check_usable()
        return self._given_session is not None or self._session is not None

    def credentials(self) -> Any:
        """Return botocore's credentials for `region`, which may expire. It creates no client of the runtime.

        Raises:
            ConfigurationError: There are none.
        """
        from mme_sdk.aws.error_translation import translating

        self._check_usable()
        with self._lock, translating(service="sagemaker-runtime", operation="client"):
            if self._core is None:
                import botocore.session

                self._core = botocore.session.get_session()
                if self._region is not None:
                    self._core.set_config_variable("region", self._region)
            found = self._core.get_credentials()
        with translating(service="sagemaker-runtime", operation="invoke_endpoint"):
            if found is None:
                from botocore.exceptions import NoCredentialsError

                raise NoCredentialsError
        return found

    @property
    def known_region(self) -> str | None:
        """The AWS region, as far as it is known before a session is created."""
        session = self._session or self._given_session
        return self._region or (None if session is None else session.region_name)

    def address(self, service: str) -> str | None:
        """Return the URL that requests to a service go to, as far as it is known before a client is created."""
        client = self._clients.get(service)
        return self.endpoint_url(service) or (None if client is None else client.meta.endpoint_url)

    def endpoint_url(self, service: str) -> str | None:
        """Return the endpoint URL that was given for a service. None: boto3 chooses the URL."""
        if self._endpoint_url is None or isinstance(self._endpoint_url, str):
            return self._endpoint_url
        return self._endpoint_url.get(service, self._endpoint_url.get("*"))

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service. It makes one attempt per call; `call` does the retries."""
        self._check_usable()
        client = self._clients.get(service)
        if client is not None:
            return client
        with self._lock:
            client = self._clients.get(service)
            if client is None:
                from botocore.config import Config

                from mme_sdk.aws.error_translation import translating

                with translating(service=service, operation="client"):
                    client = self.session.client(
                        service,
                        region_name=self.region,
                        endpoint_url=self.endpoint_url(service),
                        config=Config(
                            retries={"total_max_attempts": 1, "mode": "standard"},
                            connect_timeout=self.timeouts.connect,
                            read_timeout=self.timeouts.read,
                            max_pool_connections=_POOL,
                            user_agent_extra=f"mme_sdk/{__version__}",
                            # Every body has a signed checksum. A digest in the signature would read the body once more.
                            s3={"payload_signing_enabled": False} if service == "s3" else None,
                        ),
                    )
                    cancellation.install(client)
                    if service == "s3":
                        from mme_sdk.aws.s3 import timestamps, upload_connections

                        timestamps.install(client)
                        upload_connections.install(
                            client, connect_timeout=self.timeouts.connect, read_timeout=self.timeouts.read
                        )
                if self._closed:
                    client.close()
                    self._check_usable()
                self._clients[service] = client
            return client

    def send(self, call: Call) -> Any:
        """Make one attempt of an API call.

        Raises:
            MMEError: The call failed.
        """
        client = self.client(call.service)
        from mme_sdk.aws.error_translation import translating

        body: Any = call.params.get("Body")
        if hasattr(body, "seek"):
            body.seek(0)  # an earlier attempt may have read the body
        with (
            cancellation.botocore_call(),
            translating(
                service=call.service,
                operation=call.operation,
                params=call.params,
                endpoint=call.endpoint,
                model=call.model,
            ),
        ):
            return getattr(client, call.operation)(**call.params)

    def call(self, call: Call) -> Any:
        """Make an API call. Repeat it after throttling and server errors, according to the retry policy."""
        import tenacity

        return tenacity.Retrying(**self._loop(call), sleep=self._pause)(self.send, call)

    async def acall(self, call: Call) -> Any:
        """Make an API call in a worker thread, without blocking the event loop."""
        import tenacity

        retrying = tenacity.AsyncRetrying(**self._loop(call), sleep=self.async_clock.sleep)
        return await retrying(self._offloaded_send, call)

    async def _offloaded_send(self, call: Call) -> Any:
        return await self.offload(lambda: self.send(call))

    def _loop(self, call: Call) -> dict[str, Any]:
        import tenacity

        policy = self.retry

        def is_retryable(error: BaseException) -> bool:
            if isinstance(error, OutcomeUnknownError):
                return call.replay
            return isinstance(error, (ThrottledError, NotSentError)) or (
                isinstance(error, ServiceError) and error.replay_safe
            )

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            throttled = isinstance(error, ThrottledError)
            base, cap = (
                (policy.throttle_base, policy.throttle_cap) if throttled else (policy.fault_base, policy.fault_cap)
            )
            drawn = self.rng.uniform(0, min(cap, base * 2 ** (state.attempt_number - 1)))
            asked = error.retry_after if isinstance(error, MMEError) else None
            return max(drawn, asked or 0.0)

        return {
            "retry": tenacity.retry_if_exception(is_retryable),
            "wait": wait,
            "stop": tenacity.stop_after_attempt(policy.fault_attempts),
            "reraise": True,
        }

    def run(self, flow: Flow[T]) -> T:
        """Run a flow in this thread.

        Ctrl-C, SystemExit and `close` in another thread interrupt it: the exception is raised inside the flow, which
        cleans up. The clean-up ends after 5 s, or at the next Ctrl-C. The notes of the exception say what remains.

        Raises:
            ClosedError: The client was closed.
        """
        from mme_sdk._flows.effects import CLEANUP, Call, Do, Interpreter, Sleep

        cleanup, thread = CleanUp(CLEANUP), threading.get_ident()
        interpreter = Interpreter(
            {
                Call: self.call,
                Sleep: lambda effect: self._pause(effect.seconds),
                Do: lambda effect: effect.function(),
            }
        )
        work = partial(interpreter.run, flow, cleanup=cleanup)
        outer = self._running.get(thread)
        self._running[thread] = cleanup
        try:
            return self.within(work)
        finally:
            cleanup.stop()
            if outer is None:
                del self._running[thread]
            else:
                self._running[thread] = outer

    def within(self, work: Callable[[], T]) -> T:
        """Run a blocking function in this thread. `close` in another thread interrupts it.

        Raises:
            ClosedError: The client was closed.
        """
        if current_scope() is not None:
            return work()
        try:
            return self._scope.run(work)
        except Cancelled as ended:
            closed = _closed()
            cancellation.add_notes(closed, ended)
            raise closed from None

    def _pause(self, seconds: float) -> None:
        cancellation.pause(seconds, self.clock.sleep)

    async def arun(self, flow: Flow[T]) -> T:
        """Run a flow on the running event loop."""
        from mme_sdk._flows.effects import AsyncInterpreter, Call, Do, Sleep

        interpreter = AsyncInterpreter(
            {
                Call: self.acall,
                Sleep: lambda effect: self.async_clock.sleep(effect.seconds),
                Do: lambda effect: self.offload(effect.function),
            }
        )
        return await interpreter.run(flow)

    async def offload(self, function: Callable[[], T]) -> T:
        """Run a blocking function in a worker thread. Cancelling the task interrupts it.

        Raises:
            ClosedError: The client was closed.
        """
        import asyncio

        scope = CancelScope()

        def work() -> T:
            outer = current_scope()
            assert outer is not None  # the scope of the worker threads
            with outer.waking(scope.cancel):
                return scope.run(function)

        running: Future[T] = self._threads().submit(work)
        waiting = asyncio.wrap_future(running)
        try:
            await asyncio.wait([waiting])
        except BaseException:
            # The caller may close what the function reads, such as a file: the function has to end first.
            ends = time.monotonic() + _CANCEL_GRACE
            running.cancel()
            while not waiting.done() and time.monotonic() < ends:
                scope.cancel()  # repeated: a connection may have been opened in between
                await asyncio.wait([waiting], timeout=_RETRY_INTERVAL)
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        try:
            return waiting.result()
        except Cancelled:
            raise _closed() from None

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run a function in a worker thread in the background, for example a refresh."""
        return self._threads().submit(function)

    def _threads(self) -> Workers[Any]:
        self._check_usable()
        with self._lock:
            if self._workers is None:
                from mme_sdk._flows.workers import Workers

                self._workers = Workers(_POOL, "mme_sdk-aws")
            return self._workers

    def close(self) -> None:
        """Interrupt the calls of other threads and close all connections. The object cannot be used afterwards.

        Interrupted flows clean up first, for at most 5 s. Ctrl-C ends the clean-up.
        """
        me = threading.get_ident()
        self._scope.cancel()
        try:
            ends = time.monotonic() + _CLOSE_GRACE
            while others := [one for thread, one in list(self._running.items()) if thread != me]:
                self._scope.cancel()  # repeated: a connection may have been opened in between
                if any(one.busy and not one.cancelled for one in others):
                    ends = time.monotonic() + _CLOSE_GRACE
                if time.monotonic() > ends:
                    break
                time.sleep(_RETRY_INTERVAL)
        except BaseException:
            for one in list(self._running.values()):
                one.cancel()
            raise
        finally:
            self._close()

    def _close(self) -> None:
        self._closed = True
        if not self._lock.acquire(timeout=_CLOSE_GRACE):
            return  # another thread is creating a client; it closes the client itself
        try:
            clients, self._clients = self._clients, {}
            workers, self._workers = self._workers, None
        finally:
            self._lock.release()
        if workers is not None:
            workers.close(grace=_CLOSE_GRACE)
        for client in clients.values():
            client.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise _closed()
        if self._pid != os.getpid():
            # After a fork, the child must not use sockets and locks of the parent.
            self._lock = threading.RLock()
            self._clients, self._workers, self._session, self._core = {}, None, None, None
            self._scope, self._running = CancelScope(), {}
            self._pid = os.getpid()


def _closed() -> ClosedError:
    return ClosedError("the client is closed", hint="create a new client, or close this one later")
