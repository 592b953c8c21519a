"""The one HTTP address of the embedded SageMaker: who signed, which service, which operation, and the answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from aiohttp import web

from mme_sdk.local.contracts import Hosting, Invocation
from mme_sdk.local.signing import SignatureCheck
from mme_sdk.local.wire import ApiError, json_answer, parse_json, service_model

__all__ = ["Server", "Service"]

_log = logging.getLogger(__name__)
_INVOKE = re.compile(r"/endpoints/([^/?]+)/invocations(?:\?.*)?")
_BODY_LIMIT = 64 * 1024 * 1024  # what is read at most; the payload limit itself is hosting's


class Service(Protocol):
    """A service of the control plane: its operations by name, each from parameters to an answer."""

    service: str

    @property
    def operations(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """Operations by name."""
        ...


class Server:
    """Answers HTTP requests; one instance for one host.

    Args:
        hosting: Answers invocations.
        services: The control plane.
        signatures: Checks who asks.
    """

    def __init__(self, hosting: Hosting, services: list[Service], signatures: SignatureCheck) -> None:
        self._hosting = hosting
        self._signatures = signatures
        self._targets = {service_model(one.service).metadata["targetPrefix"]: one for one in services}

    def http(self) -> web.Server:
        """The server for aiohttp; without its router, which the few paths here do not need."""
        loop = asyncio.get_running_loop()

        def request(*parts: Any) -> web.BaseRequest:
            message, payload, protocol, writer, task = parts
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_BODY_LIMIT)

        return web.Server(self.handle, request_factory=request)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        request_id = str(uuid.uuid4())
        try:
            headers = {name.lower(): value for name, value in request.headers.items()}
            body = await _body(request, headers)
            self._signatures.check(request.method, request.raw_path, headers, body)
            invoked = _INVOKE.fullmatch(request.raw_path)
            if invoked is not None and request.method == "POST":
                return await self._invoke(request, unquote(invoked[1]), headers, body, request_id)
            return self._operate(headers, body, request_id)
        except ApiError as error:
            return _refusal(error, request_id)
        except web.HTTPRequestEntityTooLarge:
            raise
        except Exception:  # noqa: BLE001 - one request's bug must not end the host; it is logged
            _log.exception("%s %s failed", request.method, request.raw_path)
            return _refusal(
                ApiError("InternalFailure", "The embedded SageMaker failed; see its log.", status=500), request_id
            )

    async def _invoke(
        self, request: web.BaseRequest, endpoint: str, headers: Mapping[str, str], body: bytes, request_id: str
    ) -> web.StreamResponse:
        answer = await self._hosting.invoke(
            Invocation(endpoint=endpoint, body=body, headers=headers, request_id=request_id)
        )
        if answer.drop and request.transport is not None:
            request.transport.abort()
        return web.Response(
            status=answer.status, body=answer.body, headers={**answer.headers, "x-amzn-RequestId": request_id}
        )

    def _operate(self, headers: Mapping[str, str], body: bytes, request_id: str) -> web.Response:
        prefix, _, name = headers.get("x-amz-target", "").partition(".")
        service = self._targets.get(prefix)
        if service is None:
            raise ApiError(
                "UnknownOperationException",
                f"The embedded SageMaker does not know {prefix or 'this path'}.",
                status=404,
            )
        model = service_model(service.service)
        operation = service.operations.get(name)
        if operation is None:
            known = name in model.operation_names
            raise ApiError(
                "UnsupportedOperation" if known else "UnknownOperationException",
                f"{name} is not supported by the embedded SageMaker." if known else f"There is no operation {name!r}.",
            )
        answer = operation(parse_json(model.operation_model(name), body))
        return web.Response(
            body=json_answer(model.operation_model(name), answer),
            headers={"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": request_id},
        )


async def _body(request: web.BaseRequest, headers: Mapping[str, str]) -> bytes:
    if headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.read()


def _refusal(error: ApiError, request_id: str) -> web.Response:
    return web.Response(
        status=error.status,
        body=json.dumps({"__type": error.code, "message": error.message, "Message": error.message}).encode(),
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "x-amzn-RequestId": request_id,
            "x-amzn-ErrorType": error.code,
        },
    )
