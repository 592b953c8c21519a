"""Log of the last requests. Requests with the same `amz-sdk-invocation-id` are attempts of one call of a client."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime

import attrs

__all__ = ["RequestLog", "RequestRecord"]


@attrs.frozen(kw_only=True)
class RequestRecord:
    """A request that the host answered. No attribute has a default.

    Attributes:
        at: Time of the response, in UTC.
        operation: API operation; empty if the request has none.
        endpoint: EndpointName of an invocation, else None.
        model: TargetModel of an invocation, else None.
        status: HTTP status; 0 if the connection was closed without a response.
        code: Error code if the host refused the request, else None.
        seconds: Seconds from the headers of the request to the response.
        request_id: Id that the host gave to the request.
        invocation_id: `amz-sdk-invocation-id`, the same for all attempts of one call, or None.
    """

    at: datetime
    operation: str
    endpoint: str | None
    model: str | None
    status: int
    code: str | None
    seconds: float
    request_id: str
    invocation_id: str | None


class RequestLog:
    """The last requests that a host answered, as `LocalSageMaker.requests`.

    Args:
        now: Function that returns the current time.
        kept: Number of requests to keep, default 2000.

    Example:
        >>> host.requests.last(1)[0].operation  # doctest: +SKIP
        'InvokeEndpoint'
    """

    def __init__(self, now: Callable[[], datetime], kept: int = 2000) -> None:
        self._now = now
        self._records: deque[RequestRecord] = deque(maxlen=kept)

    def add(
        self,
        operation: str,
        endpoint: str | None,
        headers: Mapping[str, str],
        status: int,
        code: str | None,
        seconds: float,
        request_id: str,
    ) -> None:
        """Add a request. The server calls this.

        Args:
            operation: API operation.
            endpoint: EndpointName of an invocation, or None.
            headers: Request headers by lower-case name.
            status: HTTP status of the response; 0 without a response.
            code: Error code of the response, or None.
            seconds: Duration in seconds.
            request_id: Id of the request.
        """
        self._records.append(
            RequestRecord(
                at=self._now(),
                operation=operation,
                endpoint=endpoint,
                model=headers.get("x-amzn-sagemaker-target-model"),
                status=status,
                code=code,
                seconds=seconds,
                request_id=request_id,
                invocation_id=headers.get("amz-sdk-invocation-id"),
            )
        )

    def last(self, count: int | None = None) -> tuple[RequestRecord, ...]:
        """Return the last requests, oldest first.

        Args:
            count: Largest number of requests. Default None: all that are kept.

        Returns:
            The requests.
        """
        records = tuple(self._records)
        return records if count is None else records[-count:]

    def duplicates(self) -> dict[str, int]:
        """Return the calls that a client attempted more than once.

        Returns:
            The number of requests by invocation id.
        """
        counts = Counter(one.invocation_id for one in self.last() if one.invocation_id is not None)
        return {invocation_id: count for invocation_id, count in counts.items() if count > 1}
