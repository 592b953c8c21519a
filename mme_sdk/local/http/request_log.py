"""The last requests that reached the host; the same `amz-sdk-invocation-id` twice is a client that tried again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime

import attrs

__all__ = ["RequestLog", "RequestRecord"]


@attrs.frozen(kw_only=True)
class RequestRecord:
    """One request.

    Attributes:
        at: When it was answered.
        operation: API operation.
        endpoint: EndpointName, of an invocation.
        model: TargetModel, of an invocation.
        status: HTTP status; 0 where the connection was dropped.
        code: Error code of the host's own refusals.
        seconds: From the first byte to the answer.
        request_id: The host's id of it.
        invocation_id: The client's `amz-sdk-invocation-id`: the same for every attempt of one call.
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
    """The last requests.

    Args:
        now: The host's time.
        kept: How many are kept.
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
        """Keep one request."""
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
        """The last requests, oldest first.

        Args:
            count: How many; all that are kept where None.
        """
        records = tuple(self._records)
        return records if count is None else records[-count:]

    def duplicates(self) -> dict[str, int]:
        """How many requests came with the same invocation id, for those that came more than once."""
        counts = Counter(one.invocation_id for one in self.last() if one.invocation_id is not None)
        return {invocation_id: count for invocation_id, count in counts.items() if count > 1}
