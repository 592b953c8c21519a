"""Send InvokeEndpoint with botocore, and return the raw HTTP response instead of botocore's parsed one."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import attrs

from mme_sdk._flows.cancellation import botocore_call
from mme_sdk.aws.session import Aws
from mme_sdk.errors import MMEError, NotSentError, OutcomeUnknownError

__all__ = ["BotocoreInvoker", "CallState", "RawAnswer"]

_EVENT = "sagemaker-runtime.InvokeEndpoint"


@attrs.frozen(kw_only=True)
class RawAnswer:
    """An HTTP response with any status.

    Attributes:
        status: Status code.
        headers: Headers by lower-case name.
        body: Body.
        minor: Minor version of HTTP/1.
        defects: Defect of the head that `http.client` ignored; None if there is none.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    minor: int = 1
    defects: str | None = None


class CallState:
    """State of a call. Another thread reads it when the deadline of the call has passed.

    Args:
        read_timeout: Seconds to wait for data of the response; None for the setting of the client.
        invocation_id: `amz-sdk-invocation-id` of the call; None lets botocore create one.

    Attributes:
        sent: Whether botocore has begun to send.
        began: Whether the head of a response arrived.
    """

    def __init__(self, read_timeout: float | None = None, invocation_id: str | None = None) -> None:
        self.read_timeout, self.invocation_id = read_timeout, invocation_id
        self.sent = False
        self.began = False
        self.answer: RawAnswer | None = None
        self.raw: Any = None

    def give_up(self) -> None:
        """Stop reading the body, from another thread. urllib3 supports this from version 2.3 on."""
        shutdown = getattr(self.raw, "shutdown", None)
        if shutdown is not None:
            with contextlib.suppress(Exception):
                shutdown()


class _Current(threading.local):
    """The current call of a thread."""

    def __init__(self) -> None:
        self.call = CallState()


class BotocoreInvoker:
    """Sends requests with the `sagemaker-runtime` client of an `Aws`. Threads can share it.

    Args:
        aws: Access to AWS.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._current = _Current()
        self._hooked: Any = None

    def send(self, params: dict[str, Any], call: CallState) -> RawAnswer:
        """Send a request once.

        Args:
            params: Arguments of `invoke_endpoint`.
            call: State of the call, which is updated.

        Returns:
            The response, including error responses of the service.

        Raises:
            NotSentError: The connection failed. Nothing was sent.
            OutcomeUnknownError: The request was sent, but no complete response was received.
            MMEError: botocore did not send the request: credentials are missing, or parameters are not valid.
        """
        from mme_sdk.aws.error_translation import cause_of, never_sent, translate

        client = self._client()
        self._current.call = call
        facts = {"endpoint": params.get("EndpointName"), "model": params.get("TargetModel")}
        try:
            with botocore_call():
                parsed = client.invoke_endpoint(**params)
                # botocore has read the body of an error response, but not the body of a success.
                body = parsed["Body"].read()
            meta = parsed["ResponseMetadata"]
            return RawAnswer(
                status=meta["HTTPStatusCode"],
                headers=_lower(meta["HTTPHeaders"]),
                body=body,
                minor=_minor(call.raw),
                defects=_defects(call.raw),
            )
        except Exception as error:  # noqa: BLE001 - botocore, urllib3, http.client and credential providers have their own exceptions
            if call.answer is not None:
                return call.answer
            translated = translate(error, "sagemaker-runtime", "invoke_endpoint", params, **facts)
            if _is_outcome_unknown(translated, call.sent and not never_sent(error)):
                translated = _outcome_unknown_error(params, error, facts)
                translated.answer_began = call.began
            raise translated from cause_of(error)
        finally:
            self._current.call = CallState()
            call.raw = None

    def discard_connections(self) -> None:
        """Close the client's idle connections: one of them may contain bytes of an earlier response."""
        self._client().close()

    def _client(self) -> Any:
        client = self._aws.client("sagemaker-runtime")
        if client is not self._hooked:
            # Two threads may get here at the same time. Handlers that are registered twice have the same effect.
            client.meta.events.register(f"before-call.{_EVENT}", self._before_call)
            client.meta.events.register_last(f"before-send.{_EVENT}", self._before_send)
            client.meta.events.register(f"before-parse.{_EVENT}", self._before_parse)
            client.meta.events.register(f"needs-retry.{_EVENT}", self._answered)
            self._hooked = client
        return client

    def _before_call(self, *, context: dict[str, Any], **_: Any) -> None:
        call = self._current.call
        context["read_timeout"] = call.read_timeout
        if call.invocation_id:
            context.setdefault("retries", {})["invocation-id"] = call.invocation_id

    def _before_send(self, **_: Any) -> None:
        self._current.call.sent = True

    def _before_parse(self, *, response_dict: dict[str, Any], **_: Any) -> None:
        # Called before botocore parses the body of an error, which may have any format.
        call = self._current.call
        call.began = True
        if response_dict["status_code"] >= 300:
            call.answer = RawAnswer(
                status=response_dict["status_code"],
                headers=_lower(response_dict["headers"]),
                body=response_dict["body"],
            )

    def _answered(self, *, response: Any, **_: Any) -> None:
        if response is not None:
            self._current.call.raw = getattr(response[0], "raw", None)


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value).strip(" \t") for name, value in headers.items()}


def _minor(raw: Any) -> int:
    return 0 if getattr(raw, "version", 11) == 10 else 1


def _defects(raw: Any) -> str | None:
    """Return the first defect of a head that `http.client` ignored."""
    message = getattr(getattr(raw, "_original_response", None), "msg", None)
    defects = getattr(message, "defects", None)
    return type(defects[0]).__name__ if defects else None


def _is_outcome_unknown(error: MMEError, sent: bool) -> bool:
    return sent and not isinstance(error, (NotSentError, OutcomeUnknownError))


def _outcome_unknown_error(params: dict[str, Any], error: object, facts: dict[str, Any]) -> OutcomeUnknownError:
    name = params.get("EndpointName")
    return OutcomeUnknownError(
        f"invoke_endpoint {name}: sent, but no complete response was received ({error})", **facts
    )
