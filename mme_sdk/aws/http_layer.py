"""Another way of sending under an existing boto3 client.

Its `before-call` event is answered in botocore's own shapes: botocore still validates, serialises and raises; what it
no longer does is build, sign, send and read HTTP. Its retry policy is asked through the event that it is asked through
otherwise, so that attempts, waits and quotas stay the client's.

Half of what is left is then botocore's work before that event. So an ordinary call (nothing but plain strings and
bytes) goes straight to the sender; whatever does not simply succeed there continues in botocore, as its first attempt.
"""

from __future__ import annotations

import functools
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mme_sdk.aws.botocore_responses import Replies, SendFailure

__all__ = ["Bridge", "Sender"]

_EVENT = "sagemaker-runtime.InvokeEndpoint"
_FOREVER = 1e6
_ID = "mme_sdk.accelerate"
_NAME = re.compile(r"[A-Za-z0-9-]+\Z")
_PATH = re.compile(r"/endpoints/([A-Za-z0-9-]+)/invocations\Z")

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers by lower-case name, body."""


class Sender(Protocol):
    """Sends once."""

    def __call__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        body: bytes,
        invocation_id: str,
        *,
        connect_timeout: float,
        read_timeout: float,
    ) -> Answer | None:
        """Send and wait for the whole answer.

        Args:
            endpoint: EndpointName.
            headers: As botocore serialises them.
            body: The payload.
            invocation_id: `amz-sdk-invocation-id`.
            connect_timeout: Seconds for the connection.
            read_timeout: Seconds for the answer.

        Returns:
            The answer; None for a request that botocore should send itself.

        Raises:
            SendFailure: There was no whole answer.
        """
        ...


class _First(threading.local):
    """This thread's first attempt, made before botocore heard of the call."""

    def __init__(self) -> None:
        self.invocation_id: str | None = None
        self.outcome: Answer | SendFailure | None = None


class Bridge:
    """Sends the `invoke_endpoint` calls of a client.

    Args:
        client: A boto3 client of `sagemaker-runtime`.
        url: What to name in errors of connections.
        send: What sends.
        fits: Whether the client can still be stood in for; asked again when its event handlers have changed.
        sleep: Waits between attempts, as long as the client's retry policy says.

    Attributes:
        passed_on: Calls left to botocore.
    """

    def __init__(
        self,
        client: Any,
        url: str,
        send: Sender,
        *,
        fits: Callable[[], bool],
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.passed_on = 0
        self._client, self._events = client, client.meta.events
        self._send, self._fits, self._sleep = send, fits, sleep or time.sleep
        self._replies = Replies(client, url)
        self._model = client.meta.service_model.operation_model("InvokeEndpoint")
        self._headers = {
            name: member.serialization["name"]
            for name, member in self._model.input_shape.members.items()
            if member.serialization.get("location") == "header"
        }
        config = client.meta.config
        # None is botocore's word for no limit.
        self._timeouts = {
            "connect_timeout": config.connect_timeout or _FOREVER,
            "read_timeout": config.read_timeout or _FOREVER,
        }
        self._first = _First()
        self._handlers: object = None
        self._fitting = True

    def attach(self) -> None:
        """Begin to send."""
        # Last, so that whatever botocore itself does before a call has been done.
        self._events.register_last(f"before-call.{_EVENT}", self._before_call, unique_id=_ID)
        self._original = self._client.invoke_endpoint
        self._client.invoke_endpoint = functools.update_wrapper(functools.partial(self._invoke), self._original)
        self._handlers = self._known_handlers()

    def detach(self) -> None:
        """Leave sending to botocore again."""
        self._events.unregister(f"before-call.{_EVENT}", unique_id=_ID)
        self._client.__dict__.pop("invoke_endpoint", None)

    def _invoke(self, *args: Any, **arguments: Any) -> Any:
        """`client.invoke_endpoint`."""
        headers = None if args else self._ordinary(arguments)
        if headers is None or not self._still_fits():
            return self._original(*args, **arguments)
        first = self._first
        first.invocation_id = str(uuid.uuid4())
        try:
            answer = self._send(
                arguments["EndpointName"], headers, arguments["Body"], first.invocation_id, **self._timeouts
            )
            if answer is not None and answer[0] < 300:
                http, parsed = self._replies.response(self._model, *answer)
                parsed["ResponseMetadata"]["RetryAttempts"] = 0
                # Successes refill the quota of the client's retries.
                self._events.emit(
                    f"after-call.{_EVENT}", http_response=http, parsed=parsed, model=self._model, context={}
                )
                return parsed
            first.outcome = answer
        except SendFailure as error:
            first.outcome = error
        try:
            return self._original(**arguments)
        finally:
            first.invocation_id = first.outcome = None

    def _ordinary(self, arguments: dict[str, Any]) -> dict[str, str] | None:
        """The headers of a call that botocore has nothing to say about; None for any other."""
        headers = {}
        for name, value in arguments.items():
            if name in self._headers:
                if type(value) is not str or not value:
                    return None
                headers[self._headers[name]] = value
            elif name == "EndpointName":
                if type(value) is not str or not _NAME.match(value):
                    return None
            elif name != "Body" or type(value) is not bytes:
                return None
        return headers if "Body" in arguments and "EndpointName" in arguments else None

    def _known_handlers(self) -> object:
        # botocore replaces this dictionary whenever a handler comes or goes; where there is none, nothing is ordinary.
        return getattr(getattr(self._events, "_emitter", None), "_lookup_cache", None)

    def _still_fits(self) -> bool:
        handlers = self._known_handlers()
        if handlers is None:
            return False
        if handlers is not self._handlers:
            self._fitting = self._fits()
            self._handlers = handlers
        return self._fitting

    def _before_call(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        first, self._first.outcome = self._first.outcome, None
        found, body = _PATH.match(params["url_path"]), params["body"]
        known = found is not None and not params["query_string"] and isinstance(body, (bytes, bytearray))
        if found is None or not known or not self._still_fits():
            self.passed_on += 1
            return None
        made = self._first.invocation_id or str(uuid.uuid4())
        invocation_id = context.setdefault("retries", {}).setdefault("invocation-id", made)
        attempt = 1
        while True:
            response: Any = None
            failure: Exception | None = None
            try:
                if isinstance(first, SendFailure):
                    raise first
                answer = first or self._send(
                    found.group(1), params["headers"], bytes(body), invocation_id, **self._timeouts
                )
            except SendFailure as error:
                failure = self._replies.failure(error)
            else:
                if answer is None:
                    self.passed_on += 1
                    return None
                response = self._replies.response(model, *answer)
                if response[0].status_code < 300:
                    break
            first = None
            delays = self._events.emit(
                f"needs-retry.{_EVENT}",
                response=response,
                endpoint=None,
                operation=model,
                attempts=attempt,
                caught_exception=failure,
                request_dict=params,
            )
            # A handler's False means no, as None does; only a number of seconds means yes.
            delay = next((value for _, value in delays if value is not None), None)
            if delay is None or delay is False:
                break
            self._sleep(delay)
            attempt += 1
        if failure is not None:
            raise failure
        response[1]["ResponseMetadata"]["RetryAttempts"] = attempt - 1
        return response
