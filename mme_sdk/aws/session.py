"""One boto3 session and its clients: made on first use, shared between threads, made anew after a fork."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from mme_sdk import _cancellation as cancellation
from mme_sdk._cancellation import Cancelled, CancelScope, CleanUp, current_scope
from mme_sdk._effects import CLEANUP, AsyncInterpreter, Call, Do, Flow, Interpreter, Sleep
from mme_sdk._version import __version__
from mme_sdk._workers import Workers
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import (
    ClosedError,
    ConfigurationError,
    MMEError,
    OutcomeUnknownError,
    ServiceError,
    ThrottledError,
)
from mme_sdk.errors import NotSentError as _NotSent
from mme_sdk.protocols import AsyncClock, Clock, Rng

if TYPE_CHECKING:
    import boto3
    from boto3 import Session as Session  # noqa: PLC0414 - the type, for modules that may not import boto3

__all__ = ["AsyncSystemClock", "Aws"]

T = TypeVar("T")
_CLOSING = 0.05  # seconds
_ENDING = 2.0  # seconds for cancelled work to end; a name look-up, a TLS handshake or hashing of a file take longer
_AGAIN = 0.02  # seconds between two attempts to wake a thread
_POOL = 64  # connections and worker threads; more only wait for each other


class AsyncSystemClock:
    """The machine's clock, for asyncio."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float, /) -> None:
        """Wait, letting other tasks run."""
        await asyncio.sleep(seconds)


class Aws:
    """The way to AWS that all rooms share.

    Args:
        region: AWS region; the session's or the environment's where None.
        session: A boto3 session to use; made from the environment on first use where None.
        endpoint_url: Address for every service, or one per service name (`{"s3": …, "sagemaker": …}`, `"*"` for the
            rest); the environment's `AWS_ENDPOINT_URL…` where None.
        timeouts: Connect and read time-outs.
        retry: When a control-plane call that failed is made again.
        clock: Time and sleep; the `time` module's where None.
        async_clock: Time and sleep on the event loop.
        rng: Randomness for jitter.
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
        self._clients: dict[str, Any] = {}
        self._workers: Workers[Any] | None = None
        self._scope = CancelScope()  # of all that runs in callers' threads; `close` cancels it
        self._running: dict[int, CleanUp] = {}  # by thread
        self._closed = False
        self.shared: dict[Any, Any] = {}
        """What objects over the same way to AWS have in common, such as a cache; put in with `setdefault`."""

    @property
    def session(self) -> boto3.Session:
        """The boto3 session, made on first use."""
        self._check_usable()
        with self._lock:
            if self._session is None:
                import boto3

                self._session = self._given_session or boto3.Session(region_name=self._region)
            return self._session

    @property
    def region(self) -> str:
        """The AWS region.

        Raises:
            ConfigurationError: None is set anywhere.
        """
        region = self._region or self.session.region_name
        if not region:
            raise ConfigurationError(
                "no AWS region is set",
                hint="pass region=…, or set AWS_DEFAULT_REGION or a region in your AWS profile",
            )
        return region

    def endpoint_url(self, service: str) -> str | None:
        """The address that was given for a service; None means AWS's own, or the environment's."""
        if self._endpoint_url is None or isinstance(self._endpoint_url, str):
            return self._endpoint_url
        return self._endpoint_url.get(service, self._endpoint_url.get("*"))

    def client(self, service: str) -> Any:
        """The boto3 client of a service; one attempt per call, since the retries are ours."""
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
                            # Every body carries a signed checksum; a digest in the signature would read it once more.
                            s3={"payload_signing_enabled": False} if service == "s3" else None,
                        ),
                    )
                    cancellation.install(client)
                    if service == "s3":
                        from mme_sdk.aws import upload_connections as uploading

                        uploading.install(
                            client, connect_timeout=self.timeouts.connect, read_timeout=self.timeouts.read
                        )
                if self._closed:
                    client.close()
                    self._check_usable()
                self._clients[service] = client
            return client

    def send(self, call: Call) -> Any:
        """Make one API call once.

        Raises:
            MMEError: The call failed; the kind says how.
        """
        client = self.client(call.service)
        from mme_sdk.aws.error_translation import translating

        body: Any = call.params.get("Body")
        if hasattr(body, "seek"):
            body.seek(0)  # an earlier attempt may have read it
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
        """Make one API call, again after throttling and faults as the retry policy says."""
        return tenacity.Retrying(**self._loop(call), sleep=self._pause)(self.send, call)

    async def acall(self, call: Call) -> Any:
        """`call`, off the event loop."""
        retrying = tenacity.AsyncRetrying(**self._loop(call), sleep=self.async_clock.sleep)
        return await retrying(self._offloaded_send, call)

    async def _offloaded_send(self, call: Call) -> Any:
        return await self.offload(lambda: self.send(call))

    def _loop(self, call: Call) -> dict[str, Any]:
        policy = self.retry

        def again(error: BaseException) -> bool:
            if isinstance(error, OutcomeUnknownError):
                return call.replay
            return isinstance(error, (ThrottledError, _NotSent)) or (
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
            "retry": tenacity.retry_if_exception(again),
            "wait": wait,
            "stop": tenacity.stop_after_attempt(policy.fault_attempts),
            "reraise": True,
        }

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow in this thread.

        Ctrl-C, SystemExit and `close` in another thread end it at once: it is raised inside the flow, which cleans up.
        The clean-up ends after 5 s, or at the next Ctrl-C; the notes of the exception say what is left behind.

        Raises:
            ClosedError: This object was closed.
        """
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
        """Do blocking work in this thread so that `close` in another thread ends it.

        Raises:
            ClosedError: This object was closed.
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
        """Drive a flow on the running event loop."""
        interpreter = AsyncInterpreter(
            {
                Call: self.acall,
                Sleep: lambda effect: self.async_clock.sleep(effect.seconds),
                Do: lambda effect: self.offload(effect.function),
            }
        )
        return await interpreter.run(flow)

    async def offload(self, function: Callable[[], T]) -> T:
        """Run blocking work in this object's own threads; cancellation of the task ends it.

        Raises:
            ClosedError: This object was closed meanwhile.
        """
        scope = CancelScope()

        def work() -> T:
            outer = current_scope()
            assert outer is not None  # that of the workers
            with outer.waking(scope.cancel):
                return scope.run(function)

        running: Future[T] = self._threads().submit(work)
        waiting = asyncio.wrap_future(running)
        try:
            await asyncio.wait([waiting])
        except BaseException:
            # What the work reads, such as a file, may be closed by who is cancelled: it has to end first.
            ends = time.monotonic() + _ENDING
            running.cancel()
            while not waiting.done() and time.monotonic() < ends:
                scope.cancel()  # once more: a connection may have been made meanwhile
                await asyncio.wait([waiting], timeout=_AGAIN)
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        try:
            return waiting.result()
        except Cancelled:
            raise _closed() from None

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Start work that nobody waits for, such as a refresh, in this object's own threads."""
        return self._threads().submit(function)

    def _threads(self) -> Workers[Any]:
        self._check_usable()
        with self._lock:
            if self._workers is None:
                self._workers = Workers(_POOL, "mme_sdk-aws")
            return self._workers

    def close(self) -> None:
        """End what other threads do, and close every connection; the object cannot be used afterwards.

        Flows that are interrupted clean up first, for 5 s at most; Ctrl-C ends that.
        """
        me = threading.get_ident()
        self._scope.cancel()
        try:
            ends = time.monotonic() + _CLOSING
            while others := [one for thread, one in list(self._running.items()) if thread != me]:
                self._scope.cancel()  # once more: a connection may have been made meanwhile
                if any(one.busy and not one.cancelled for one in others):
                    ends = time.monotonic() + _CLOSING
                if time.monotonic() > ends:
                    break
                time.sleep(_AGAIN)
        except BaseException:
            for one in list(self._running.values()):
                one.cancel()
            raise
        finally:
            self._close()

    def _close(self) -> None:
        self._closed = True
        if not self._lock.acquire(timeout=_CLOSING):
            return  # a client is being made, and a credential provider is slow; the thread that makes it closes it
        try:
            clients, self._clients = self._clients, {}
            workers, self._workers = self._workers, None
        finally:
            self._lock.release()
        if workers is not None:
            workers.close(grace=_CLOSING)
        for client in clients.values():
            client.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise _closed()
        if self._pid != os.getpid():
            # Sockets and locks of the parent must not be used in the child.
            self._lock = threading.RLock()
            self._clients, self._workers, self._session = {}, None, None
            self._scope, self._running = CancelScope(), {}
            self._pid = os.getpid()


def _closed() -> ClosedError:
    return ClosedError("this client was closed", hint="make a new one, or close it later")
