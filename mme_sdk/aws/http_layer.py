"""Replace the HTTP layer of an existing boto3 client.

A handler of the `before-call` event returns the response in botocore's own format. botocore still validates parameters,
serialises them and raises exceptions, but it does not build, sign, send and parse HTTP. The client's retry policy is
called through its `needs-retry` event, so that attempts, waits and retry quotas are those of the client.

Half of the remaining time is botocore's work before that event. So a call whose arguments are only strings and bytes is
sent without botocore. If it does not succeed, it continues in botocore, and counts as the first attempt.
"""

from __future__ import annotations

import functools
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mme_sdk.aws.botocore_responses import ResponseFactory, SendFailure

__all__ = ["HttpLayer", "Sender"]

_EVENT = "sagemaker-runtime.InvokeEndpoint"
_NO_LIMIT = 1e6  # seconds
_ID = "mme_sdk.accelerate"
_NAME = re.compile(r"[A-Za-z0-9-]+\Z")
_PATH = re.compile(r"/endpoints/([A-Za-z0-9-]+)/invocations\Z")

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers by lower-case name, and body."""


class Sender(Protocol):
    """A function that sends one request."""

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
        """Send a request and wait for the complete response.

        Args:
            endpoint: EndpointName.
            headers: Headers, serialised by botocore.
            body: The payload.
            invocation_id: `amz-sdk-invocation-id`.
            connect_timeout: Seconds to wait for the connection.
            read_timeout: Seconds to wait for the response.

        Returns:
            The response; None if botocore has to send the request.

        Raises:
            SendFailure: No complete response was received.
        """
        ...


class _FirstAttempt(threading.local):
    """The first attempt of a call in this thread. `accelerate` sends it itself, before it calls botocore."""

    def __init__(self) -> None:
        self.invocation_id: str | None = None
        self.outcome: Answer | SendFailure | None = None


class HttpLayer:
    """Sends the `invoke_endpoint` calls of a client with another transport.

    Args:
        client: A boto3 client of `sagemaker-runtime`.
        url: URL in the text of connection errors.
        send: Sends one request.
        fits: Returns whether the transport can replace the client's own. It is called again after a change of the
            client's event handlers.
        sleep: Waits the given number of seconds between attempts.

    Attributes:
        passed_on: Number of calls that botocore sent.
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
        self._responses = ResponseFactory(client, url)
        self._model = client.meta.service_model.operation_model("InvokeEndpoint")
        self._headers = {
            name: member.serialization["name"]
            for name, member in self._model.input_shape.members.items()
            if member.serialization.get("location") == "header"
        }
        config = client.meta.config
        # In botocore, None means no limit.
        self._timeouts = {
            "connect_timeout": config.connect_timeout or _NO_LIMIT,
            "read_timeout": config.read_timeout or _NO_LIMIT,
        }
        self._first = _FirstAttempt()
        self._handlers: object = None
        self._fitting = True

    def attach(self) -> None:
        """Start sending the client's calls."""
        # Registered last: botocore's own handlers run first.
        self._events.register_last(f"before-call.{_EVENT}", self._before_call, unique_id=_ID)
        self._original = self._client.invoke_endpoint
        self._client.invoke_endpoint = functools.update_wrapper(functools.partial(self._invoke), self._original)
        self._handlers = self._known_handlers()

    def detach(self) -> None:
        """Let botocore send the client's calls again."""
        self._events.unregister(f"before-call.{_EVENT}", unique_id=_ID)
        self._client.__dict__.pop("invoke_endpoint", None)

    def _invoke(self, *args: Any, **arguments: Any) -> Any:
        """Replace `client.invoke_endpoint`."""
        headers = None if args else self._plain_headers(arguments)
        if headers is None or not self._still_fits():
            return self._original(*args, **arguments)
        first = self._first
        first.invocation_id = str(uuid.uuid4())
        try:
            answer = self._send(
                arguments["EndpointName"], headers, arguments["Body"], first.invocation_id, **self._timeouts
            )
            if answer is not None and answer[0] < 300:
                http, parsed = self._responses.response(self._model, *answer)
                parsed["ResponseMetadata"]["RetryAttempts"] = 0
                # This event refills the client's retry quota after a success.
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

    def _plain_headers(self, arguments: dict[str, Any]) -> dict[str, str] | None:
        """Return the headers of a call with plain arguments; None if botocore has to validate or convert them."""
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
        # botocore replaces this dictionary when a handler is added or removed. Without it, botocore sends all calls.
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
                failure = self._responses.failure(error)
            else:
                if answer is None:
                    self.passed_on += 1
                    return None
                response = self._responses.response(model, *answer)
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
            # Handlers return a number of seconds to retry. False and None mean no retry.
            delay = next((value for _, value in delays if value is not None), None)
            if delay is None or delay is False:
                break
            self._sleep(delay)
            attempt += 1
        if failure is not None:
            raise failure
        response[1]["ResponseMetadata"]["RetryAttempts"] = attempt - 1
        return response
