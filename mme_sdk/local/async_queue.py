"""The queue of an asynchronous endpoint."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

import attrs

from mme_sdk.types import S3Uri

__all__ = ["QueuedRequest", "RequestQueue"]


@attrs.define(eq=False, kw_only=True)
class QueuedRequest:
    """An accepted InvokeEndpointAsync request.

    Attributes:
        endpoint: EndpointName.
        input_uri: Address of the payload in S3; None if `body` is the payload.
        body: The payload of a request without InputLocation.
        headers: Headers for the container.
        accepted: InferenceId, OutputLocation and FailureLocation of the response.
        ttl: RequestTTLSeconds.
        timeout: InvocationTimeoutSeconds.
        accepted_at: Time of the event loop at which the request was accepted.
        started: Set when the request leaves the queue for an instance.
    """

    endpoint: str
    input_uri: S3Uri | None
    body: bytes
    headers: Mapping[str, str]
    accepted: Mapping[str, str]
    ttl: float
    timeout: float
    accepted_at: float
    started: asyncio.Event = attrs.field(factory=asyncio.Event)


class RequestQueue:
    """The requests of one endpoint: those that wait, oldest first, and those that an instance processes."""

    def __init__(self) -> None:
        self._waiting: deque[QueuedRequest] = deque()
        self._running: set[QueuedRequest] = set()

    @property
    def backlog(self) -> int:
        """The number of requests that wait or are processed."""
        return len(self._waiting) + len(self._running)

    @property
    def oldest(self) -> float | None:
        """Time of the event loop at which the oldest request was accepted; None if there is no request."""
        return min((one.accepted_at for one in (*self._waiting, *self._running)), default=None)

    def put(self, request: QueuedRequest, *, first: bool = False) -> None:
        """Let a request wait.

        Args:
            request: The request.
            first: Whether it starts before the others, because it has started before.
        """
        request.started.clear()
        self._running.discard(request)
        (self._waiting.appendleft if first else self._waiting.append)(request)

    def start(self, capacity: float) -> None:
        """Start waiting requests until `capacity` requests are processed at once."""
        while self._waiting and len(self._running) < capacity:
            request = self._waiting.popleft()
            self._running.add(request)
            request.started.set()

    def remove(self, request: QueuedRequest) -> None:
        """Remove a request that has ended."""
        self._running.discard(request)
        if request in self._waiting:
            self._waiting.remove(request)
