"""InvokeEndpoint through botocore itself, with the raw answer handed out instead of botocore's parsed one."""

from __future__ import annotations

import threading
from typing import Any

import attrs

from mme_sdk.aws.cancellation import botocore_call
from mme_sdk.aws.session import Aws
from mme_sdk.errors import MMEError, NotSentError, OutcomeUnknownError

__all__ = ["BotocoreInvoker", "RawAnswer"]

_EVENT = "sagemaker-runtime.InvokeEndpoint"


@attrs.frozen(kw_only=True)
class RawAnswer:
    """What came back over HTTP, whatever its status; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Call(threading.local):
    """What this thread's call in flight asks for, and what became of it."""

    def __init__(self) -> None:
        self.begin(None, None)

    def begin(self, read_timeout: float | None, invocation_id: str | None) -> None:
        """Forget the call before."""
        self.read_timeout, self.invocation_id = read_timeout, invocation_id
        self.answer: RawAnswer | None = None
        self.sent = False


class BotocoreInvoker:
    """Sends with the `sagemaker-runtime` client of an `Aws`; safe to share between threads.

    Args:
        aws: The way to AWS.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._call = _Call()
        self._hooked: Any = None

    def send(self, params: dict[str, Any], *, read_timeout: float, invocation_id: str | None = None) -> RawAnswer:
        """Send once.

        Args:
            params: Arguments of `invoke_endpoint`.
            read_timeout: Seconds for the answer.
            invocation_id: `amz-sdk-invocation-id`; botocore makes one up where None.

        Returns:
            The answer, errors of the service included.

        Raises:
            NotSentError: No connection; nothing was sent.
            OutcomeUnknownError: Sent, but no whole answer came back.
            MMEError: botocore refused to send: no credentials, bad parameters.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        from mme_sdk.aws.translate import translate

        client, call = self._client(), self._call
        call.begin(read_timeout, invocation_id)
        facts = {"endpoint": params.get("EndpointName"), "model": params.get("TargetModel")}
        try:
            with botocore_call():
                parsed = client.invoke_endpoint(**params)
                # botocore leaves the body of a success on the wire; that of an error it has read.
                body = parsed["Body"].read()
            meta = parsed["ResponseMetadata"]
            answer = RawAnswer(status=meta["HTTPStatusCode"], headers=_lower(meta["HTTPHeaders"]), body=body)
        except (BotoCoreError, ClientError) as error:
            if call.answer is not None:
                return call.answer
            ours = translate(error, "sagemaker-runtime", "invoke_endpoint", params, **facts)
            raise (_unknown(params, error, facts) if _too_sure(ours, call.sent) else ours) from error
        except HTTPError as error:
            # What botocore lets through of a body that broke.
            raise _unknown(params, error, facts) from error
        finally:
            call.begin(None, None)
        if answer.status < 200:
            # http.client takes any interim answer but 100 for the last one; the real one is still on the connection.
            client.close()
            raise _unknown(params, f"an interim answer {answer.status}", facts)
        return answer

    def _client(self) -> Any:
        client = self._aws.client("sagemaker-runtime")
        if client is not self._hooked:
            # Two threads may both come here; registered twice, the handlers do the same.
            client.meta.events.register(f"before-call.{_EVENT}", self._before_call)
            client.meta.events.register_last(f"before-send.{_EVENT}", self._before_send)
            client.meta.events.register(f"response-received.{_EVENT}", self._received)
            self._hooked = client
        return client

    def _before_call(self, *, context: dict[str, Any], **_: Any) -> None:
        context["read_timeout"] = self._call.read_timeout
        if self._call.invocation_id:
            context.setdefault("retries", {})["invocation-id"] = self._call.invocation_id

    def _before_send(self, **_: Any) -> None:
        self._call.sent = True

    def _received(self, *, response_dict: dict[str, Any] | None, **_: Any) -> None:
        if response_dict is not None and response_dict["status_code"] >= 300:
            self._call.answer = RawAnswer(
                status=response_dict["status_code"],
                headers=_lower(response_dict["headers"]),
                body=response_dict["body"],
            )


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _too_sure(error: MMEError, sent: bool) -> bool:
    return sent and not isinstance(error, (NotSentError, OutcomeUnknownError))


def _unknown(params: dict[str, Any], error: object, facts: dict[str, Any]) -> OutcomeUnknownError:
    name = params.get("EndpointName")
    return OutcomeUnknownError(f"invoke_endpoint {name}: sent, but no whole answer came back ({error})", **facts)
