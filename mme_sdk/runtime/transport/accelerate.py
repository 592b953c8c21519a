"""Send the calls of an existing boto3 client through the SDK's connection pool.

A warm call of 200 bytes over TLS takes about an eighth of the CPU time (docs/benchmarks/invoke.md, rows
`boto3-accelerated` and `boto3`).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Any
from weakref import WeakSet

from mme_sdk.aws.addressing import Route, Unsupported, describe
from mme_sdk.aws.botocore_responses import SendFailure
from mme_sdk.aws.http_layer import HttpLayer
from mme_sdk.errors import ConfigurationError, InvalidInputError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime.transport.pool import ConnectionPool
from mme_sdk.runtime.transport.pool_base import RESPONSE_TIMED_OUT, ExchangeError
from mme_sdk.runtime.transport.request_headers import HEADERS
from mme_sdk.runtime.transport.selection_base import PoolSettings
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["Accelerated", "accelerate"]

_NO_DEADLINE = 1e6  # seconds; botocore has a time-out for each step, and none for the whole call
_IGNORED = ""  # for headers that the pool sets itself
_FIELDS = (
    {header: field for field, header in HEADERS.items()}
    | {header.lower(): field for field, header in HEADERS.items()}
    | dict.fromkeys(("User-Agent", "user-agent", "X-Amzn-Trace-Id", "x-amzn-trace-id"), _IGNORED)
)

_accelerated: WeakSet[Any] = WeakSet()


class Accelerated:
    """The handle of an accelerated client: `remove()` undoes `accelerate`. It is a context manager too.

    Args:
        client: The boto3 client.
        route: Where the client sends.

    Attributes:
        name: Name of the transport that sends the calls: `fast`.
    """

    def __init__(self, client: Any, route: Route) -> None:
        self._client = client
        settings = PoolSettings(max_idle=max(client.meta.config.max_pool_connections, 1))
        self._pool = ConnectionPool(lambda: _supported(client), settings=settings)
        self.name = self._pool.name
        self._http_layer = HttpLayer(client, route.url, self._send, fits=lambda: isinstance(describe(client), Route))
        self._http_layer.attach()
        _accelerated.add(client)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._pool!r}>"

    @property
    def passed_on(self) -> int:
        """Number of calls that botocore sent: those with a streamed body, or with a parameter unknown to the pool."""
        return self._http_layer.passed_on

    def remove(self) -> None:
        """Let botocore send the calls again, and close the connections of the pool. Idempotent."""
        self._http_layer.detach()
        _accelerated.discard(self._client)
        self._pool.close()

    def __enter__(self) -> Accelerated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _send(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        body: bytes,
        invocation_id: str,
        *,
        connect_timeout: float,
        read_timeout: float,
    ) -> tuple[int, dict[str, str], bytes] | None:
        # botocore sends no Content-Type by default.
        fields: dict[str, Any] = {"content_type": None}
        for header, value in headers.items():
            field = _FIELDS.get(header, _FIELDS.get(header.lower()))
            if field is None:
                return None
            fields[field] = value
        fields.pop(_IGNORED, None)
        request = InvokeRequest(endpoint=endpoint, body=body, invocation_id=invocation_id, **fields)
        try:
            answer = self._pool.send_until(request, monotonic() + _NO_DEADLINE, connect_timeout, read_timeout)
        except InvalidInputError:
            return None  # botocore raises its own error
        except (NotSentError, OutcomeUnknownError) as error:
            raise _failure(error) from error
        except ConfigurationError as error:
            raise error.__cause__ or error from None
        return answer.status, dict(answer.headers), answer.body


def accelerate(client: Any) -> Accelerated:
    """Replace the HTTP layer of an existing boto3 client, which reduces the CPU time of `invoke_endpoint`.

    Responses, exceptions, validation and retries remain those of botocore. The read time-out bounds the whole response
    instead of each read. If an event handler is added to the client later, botocore sends the calls again, so that the
    handler is called.

    Args:
        client: A boto3 client of `sagemaker-runtime`.

    Returns:
        A handle whose `remove()` undoes the change.

    Raises:
        ConfigurationError: The client is already accelerated, or the connection pool does not support its
            configuration; the text names the setting.
        InvalidInputError: `client` is not a boto3 client of `sagemaker-runtime`.

    Example:
        ```python
        runtime = boto3.client("sagemaker-runtime")
        with accelerate(runtime):
            runtime.invoke_endpoint(EndpointName="scoring", TargetModel="fraud/v3.tar.gz", Body=b"1,2")
        ```
    """
    service = getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", None)
    if service != "sagemaker-runtime":
        raise InvalidInputError(f"accelerate() needs a boto3 client of sagemaker-runtime, not {client!r}")
    if client in _accelerated:
        raise ConfigurationError("this client is already accelerated", hint="call remove() on its handle first")
    return Accelerated(client, _supported(client))


def _supported(client: Any) -> Route:
    found = describe(client)
    if isinstance(found, Unsupported):
        raise ConfigurationError(
            f"this client cannot be accelerated: {found.reason}",
            hint="change its configuration, or use the client without accelerate()",
        )
    return found


def _failure(error: NotSentError | OutcomeUnknownError) -> SendFailure:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, ExchangeError):
        return SendFailure("read-timeout" if cause.stage == RESPONSE_TIMED_OUT else "closed", cause)
    if isinstance(cause, TimeoutError):
        return SendFailure("connect-timeout", cause)
    return SendFailure("tls" if isinstance(cause, ssl.SSLError) else "connect", cause)
