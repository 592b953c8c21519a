"""The seam between policy and transport: what is sent, what comes back, and nothing about retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

__all__ = ["AsyncTransport", "InvokeAnswer", "InvokeRequest", "Transport"]


@attrs.frozen(kw_only=True, slots=False)  # without slots, attrs sets the many fields in half the time
class InvokeRequest:
    """One InvokeEndpoint request, encoded and checked; field names are those of the API.

    Attributes:
        endpoint: EndpointName.
        body: The payload.
        content_type: Its media type.
        accept: Wanted media type of the answer.
        target_model: TargetModel; None on a single-model endpoint.
        target_variant: TargetVariant.
        target_container: TargetContainerHostname.
        inference_component: InferenceComponentName.
        inference_id: InferenceId; the same for every attempt of one call.
        custom_attributes: CustomAttributes.
        session_id: SessionId.
        enable_explanations: EnableExplanations.
        prefix_aware_id: PrefixAwareId.
        invocation_id: `amz-sdk-invocation-id`; the same for every attempt of one call.
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


@attrs.frozen(kw_only=True, slots=False)
class InvokeAnswer:
    """Any HTTP answer, success or not.

    Attributes:
        status: HTTP status.
        headers: Header values by lower-case name.
        body: The whole body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


class Transport(Protocol):
    """Sends one request once."""

    name: str

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer.

        Args:
            request: What to send.
            connect_timeout: Seconds for the connection.
            read_timeout: Seconds for all of it: set-up, credentials, connection, request and answer.

        Returns:
            The answer, whatever its status.

        Raises:
            NotSentError: No connection, or no credentials in time; nothing was sent.
            OutcomeUnknownError: Sent, but no whole answer came back.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class AsyncTransport(Protocol):
    """`Transport`, awaited."""

    name: str

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
