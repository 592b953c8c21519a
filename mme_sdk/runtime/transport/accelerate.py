"""The lean lane under a boto3 client that an application already has."""

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
from mme_sdk.runtime.transport.pool_base import SPENT, BrokenConnectionError
from mme_sdk.runtime.transport.request_headers import HEADERS
from mme_sdk.runtime.transport.settings import Settings
from mme_sdk.runtime.transport.sync_pool import LeanTransport
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["Accelerated", "accelerate"]

_FOREVER = 1e6  # seconds; botocore has time-outs for each step and none for all of them
_LANES_OWN = ""  # headers that the lane makes itself
_FIELDS = (
    {header: field for field, header in HEADERS.items()}
    | {header.lower(): field for field, header in HEADERS.items()}
    | dict.fromkeys(("User-Agent", "user-agent", "X-Amzn-Trace-Id", "x-amzn-trace-id"), _LANES_OWN)
)

_accelerated: WeakSet[Any] = WeakSet()


class Accelerated:
    """What `accelerate` returns: undo it with `remove()`, or use it as a context manager.

    Attributes:
        name: The lane that sends: `fast` or `core`.
    """

    def __init__(self, client: Any, route: Route) -> None:
        self._client = client
        pool = Settings(max_idle=max(client.meta.config.max_pool_connections, 1))
        self._lane = LeanTransport(lambda: _supported(client), settings=pool)
        self.name = self._lane.name
        self._http_layer = HttpLayer(client, route.url, self._send, fits=lambda: isinstance(describe(client), Route))
        self._http_layer.attach()
        _accelerated.add(client)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._lane!r}>"

    @property
    def passed_on(self) -> int:
        """Calls left to botocore: streamed bodies, and parameters that the lane does not know."""
        return self._http_layer.passed_on

    def remove(self) -> None:
        """Let botocore send again, and close the lane's connections; idempotent."""
        self._http_layer.detach()
        _accelerated.discard(self._client)
        self._lane.close()

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
        # botocore sends no Content-Type that it was not given.
        fields: dict[str, Any] = {"content_type": None}
        for header, value in headers.items():
            field = _FIELDS.get(header, _FIELDS.get(header.lower()))
            if field is None:
                return None
            fields[field] = value
        fields.pop(_LANES_OWN, None)
        wanted = InvokeRequest(endpoint=endpoint, body=body, invocation_id=invocation_id, **fields)
        try:
            answer = self._lane.send_until(wanted, monotonic() + _FOREVER, connect_timeout, read_timeout)
        except InvalidInputError:
            return None  # botocore has its own words for it
        except (NotSentError, OutcomeUnknownError) as error:
            raise _failure(error) from error
        except ConfigurationError as error:
            raise error.__cause__ or error from None
        return answer.status, dict(answer.headers), answer.body


def accelerate(client: Any) -> Accelerated:
    """Send the `invoke_endpoint` calls of a boto3 client over a lean lane, at a fraction of the CPU.

    Answers, exceptions, validation and retries stay botocore's. The read time-out bounds the whole answer rather than
    each piece of it. A handler added to the client's events later gives the calls back to botocore, where it is heard.

    Args:
        client: A boto3 client of `sagemaker-runtime`.

    Returns:
        A handle to undo it.

    Raises:
        ConfigurationError: The client is accelerated already, or configured in a way that the lane cannot honour; the
            message says in which.
        InvalidInputError: Not a client of `sagemaker-runtime`.

    Example:
        ```python
        runtime = boto3.client("sagemaker-runtime")
        with accelerate(runtime):
            runtime.invoke_endpoint(EndpointName="scoring", TargetModel="fraud/v3.tar.gz", Body=b"1,2")
        ```
    """
    service = getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", None)
    if service != "sagemaker-runtime":
        raise InvalidInputError(f"accelerate() takes a boto3 client of sagemaker-runtime, not {client!r}")
    if client in _accelerated:
        raise ConfigurationError("this client is accelerated already", hint="call remove() on the handle first")
    return Accelerated(client, _supported(client))


def _supported(client: Any) -> Route:
    found = describe(client)
    if isinstance(found, Unsupported):
        raise ConfigurationError(
            f"this client cannot be accelerated: {found.reason}",
            hint="leave it to botocore, or change its configuration",
        )
    return found


def _failure(error: NotSentError | OutcomeUnknownError) -> SendFailure:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, BrokenConnectionError):
        return SendFailure("read-timeout" if cause.stage == SPENT else "closed", cause)
    if isinstance(cause, TimeoutError):
        return SendFailure("connect-timeout", cause)
    return SendFailure("tls" if isinstance(cause, ssl.SSLError) else "connect", cause)
