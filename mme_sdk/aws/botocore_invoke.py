"""InvokeEndpoint through botocore itself, with the raw answer handed out instead of botocore's parsed one."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import attrs

from mme_sdk._cancellation import botocore_call
from mme_sdk.aws.session import Aws
from mme_sdk.errors import MMEError, NotSentError, OutcomeUnknownError

__all__ = ["BotocoreInvoker", "Progress", "RawAnswer"]

_EVENT = "sagemaker-runtime.InvokeEndpoint"


@attrs.frozen(kw_only=True)
class RawAnswer:
    """What came back over HTTP, whatever its status; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes
    minor: int = 1
    """Minor version of HTTP/1."""
    defects: str | None = None
    """What `http.client` passed over in the head."""


class Progress:
    """How far a call has come; read by another thread when that one's time is over.

    Attributes:
        sent: Whether botocore has begun to send.
        began: Whether the head of an answer came.
    """

    def __init__(self, read_timeout: float | None = None, invocation_id: str | None = None) -> None:
        self.read_timeout, self.invocation_id = read_timeout, invocation_id
        self.sent = False
        self.began = False
        self.answer: RawAnswer | None = None
        self.raw: Any = None

    def give_up(self) -> None:
        """Stop reading the body, from another thread, where urllib3 can (2.3 and later)."""
        shutdown = getattr(self.raw, "shutdown", None)
        if shutdown is not None:
            with contextlib.suppress(Exception):
                shutdown()


class _Current(threading.local):
    """The call that this thread makes."""

    def __init__(self) -> None:
        self.call = Progress()


class BotocoreInvoker:
    """Sends with the `sagemaker-runtime` client of an `Aws`; safe to share between threads.

    Args:
        aws: The way to AWS.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._current = _Current()
        self._hooked: Any = None

    def send(self, params: dict[str, Any], call: Progress) -> RawAnswer:
        """Send once.

        Args:
            params: Arguments of `invoke_endpoint`.
            call: Takes note of how far it comes; `invocation_id` None lets botocore make one up.

        Returns:
            The answer, errors of the service included.

        Raises:
            NotSentError: No connection; nothing was sent.
            OutcomeUnknownError: Sent, but no whole answer came back.
            MMEError: botocore refused to send: no credentials, bad parameters.
        """
        from mme_sdk.aws.error_translation import cause_of, never_sent, translate

        client = self._client()
        self._current.call = call
        facts = {"endpoint": params.get("EndpointName"), "model": params.get("TargetModel")}
        try:
            with botocore_call():
                parsed = client.invoke_endpoint(**params)
                # botocore leaves the body of a success on the wire; that of an error it has read.
                body = parsed["Body"].read()
            meta = parsed["ResponseMetadata"]
            return RawAnswer(
                status=meta["HTTPStatusCode"],
                headers=_lower(meta["HTTPHeaders"]),
                body=body,
                minor=_minor(call.raw),
                defects=_defects(call.raw),
            )
        except Exception as error:  # noqa: BLE001 - of botocore, urllib3, http.client or a credential provider
            if call.answer is not None:
                return call.answer
            ours = translate(error, "sagemaker-runtime", "invoke_endpoint", params, **facts)
            if _too_sure(ours, call.sent and not never_sent(error)):
                ours = _unknown(params, error, facts)
                ours.answer_began = call.began
            raise ours from cause_of(error)
        finally:
            self._current.call = Progress()
            call.raw = None

    def discard_connections(self) -> None:
        """Close the client's idle connections: one of them may hold bytes of an earlier answer."""
        self._client().close()

    def _client(self) -> Any:
        client = self._aws.client("sagemaker-runtime")
        if client is not self._hooked:
            # Two threads may both come here; registered twice, the handlers do the same.
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
        # Before botocore reads the body of an error, which may be anything.
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
    """What the standard library's parser found wrong with a head and took all the same."""
    message = getattr(getattr(raw, "_original_response", None), "msg", None)
    defects = getattr(message, "defects", None)
    return type(defects[0]).__name__ if defects else None


def _too_sure(error: MMEError, sent: bool) -> bool:
    return sent and not isinstance(error, (NotSentError, OutcomeUnknownError))


def _unknown(params: dict[str, Any], error: object, facts: dict[str, Any]) -> OutcomeUnknownError:
    name = params.get("EndpointName")
    return OutcomeUnknownError(f"invoke_endpoint {name}: sent, but no whole answer came back ({error})", **facts)
