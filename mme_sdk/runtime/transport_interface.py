"""The interface between the invoker, which decides on retries, and the transports, which send each request once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

__all__ = ["AsyncTransport", "InvokeRequest", "InvokeResponse", "Transport"]


@attrs.define(kw_only=True)  # not frozen: attrs sets the fields of a frozen object at four times the cost
class InvokeRequest:
    """One InvokeEndpoint request, encoded and checked. Each field is a parameter of the AWS API. Read it only.

    Attributes:
        endpoint: `EndpointName`.
        body: `Body`, the encoded payload.
        content_type: `ContentType`, the media type of the body. `application/octet-stream` by default.
        accept: `Accept`, the requested media type of the response. None by default, as are all fields below.
        target_model: `TargetModel`. None on a single-model endpoint.
        target_variant: `TargetVariant`.
        target_container: `TargetContainerHostname`.
        inference_component: `InferenceComponentName`.
        inference_id: `InferenceId`. It is the same for every attempt of one call.
        custom_attributes: `CustomAttributes`.
        session_id: `SessionId`.
        enable_explanations: `EnableExplanations`.
        prefix_aware_id: `PrefixAwareId`.
        invocation_id: Header `amz-sdk-invocation-id`. It is the same for every attempt of one call.
    """

    endpoint: str
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    content_type: str = "application/octet-stream"
    accept: str | None = None
    target_model: str | None = None
    target_variant: str | None = None
    target_container: str | None = None
    inference_component: str | None = None
    inference_id: str | None = None
    custom_attributes: str | None = None
    session_id: str | None = None
    enable_explanations: str | None = None
    prefix_aware_id: str | None = None
    invocation_id: str | None = None


@attrs.define(kw_only=True)
class InvokeResponse:
    """An HTTP response of any status.

    Attributes:
        status: HTTP status.
        headers: Header values by lower-case name. Values of repeated headers are joined by a comma.
        body: The complete body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


class Transport(Protocol):
    """Sends a request once.

    Attributes:
        name: Name of the transport in use.
    """

    name: str

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        """Send a request and return its response.

        Args:
            request: The request.
            connect_timeout: Seconds for the connection.
            read_timeout: Seconds for the whole call: set-up, credentials, connection, request and response.

        Returns:
            The response, of any status.

        Raises:
            InvalidInputError: A header value cannot be sent.
            ConfigurationError: There is no region or there are no credentials.
            NotSentError: There was no connection, or there were no credentials in time. No request was sent.
            OutcomeUnknownError: The request was sent, but no complete response arrived.
            ClosedError: The transport was closed.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class AsyncTransport(Protocol):
    """Sends a request once, on an event loop.

    Attributes:
        name: Name of the transport in use.
    """

    name: str

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        """Send a request and return its response; see `Transport.send`."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
