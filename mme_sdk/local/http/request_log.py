"""Log of the last requests. Requests with the same `amz-sdk-invocation-id` are attempts of one call of a client."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.local.http.timelines import ModelRates

__all__ = ["RequestLog", "RequestRecord"]

_MAX_MESSAGE = 500
_MAX_MODEL = 1024  # characters of a TargetModel
_REFUSED = 403
_LOADING = "ModelNotReadyException"
_ERROR_KEYS = ("operation", "endpoint", "model", "status", "code", "message")


@attrs.frozen(kw_only=True)
class RequestRecord:
    """A request that the host answered. No attribute has a default.

    Attributes:
        at: Time of the response, in UTC.
        operation: API operation; empty if the request has none.
        endpoint: EndpointName of an invocation, else None.
        model: TargetModel of an invocation, else None.
        status: HTTP status; 0 if the connection was closed without a response.
        code: Error code of the response, else None.
        message: Error message of the response, at most 500 characters, else None. The text of a container
            (`ModelError`) can have parts of a payload.
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
    message: str | None = attrs.field(repr=False)
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
        self._rates = ModelRates(lambda: now().timestamp())
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
        message: str | None = None,
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
            message: Error message of the response. Default None: none.
        """
        model = headers.get("x-amzn-sagemaker-target-model")
        if endpoint is not None and model is not None and len(model) <= _MAX_MODEL and status != _REFUSED:
            self._rates.add(endpoint, model)
        self._records.append(
            RequestRecord(
                at=self._now(),
                operation=operation,
                endpoint=endpoint,
                model=model,
                status=status,
                code=code,
                message=None if message is None else message[:_MAX_MESSAGE],
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

    def rate(self, endpoint: str, model: str) -> float:
        """Return how many requests a minute a model gets. Requests of the last minutes count most.

        Args:
            endpoint: EndpointName.
            model: TargetModel.

        Returns:
            Requests a minute; 0 if there were none in the last minutes.
        """
        return self._rates.rate(endpoint, model)

    def errors(self) -> list[dict[str, Any]]:
        """Return the errors among the kept requests. Equal errors are one entry.

        The answers to requests whose model was being loaded (`ModelNotReadyException`) are one entry for each endpoint,
        without model and message: a client repeats such a request.

        Returns:
            For each operation, endpoint, model, status, code and message: `count`, and the time of the last one as
            `at`. The newest is the first.
        """
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for one in reversed(self._records.copy()):
            if 0 < one.status < 400:
                continue
            model, message = (None, None) if one.code == _LOADING else (one.model, one.message)
            key = (one.operation, one.endpoint, model, one.status, one.code, message)
            entry = found.setdefault(key, dict(zip(_ERROR_KEYS, key, strict=True)) | {"at": one.at, "count": 0})
            entry["count"] += 1
        return list(found.values())
