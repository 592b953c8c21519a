"""The one HTTP address of the embedded SageMaker: who signed, which service, which operation, and the answer."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import uuid
import zlib
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from aiohttp import web

from mme_sdk.errors import StorageError
from mme_sdk.local.backdoor import Backdoor
from mme_sdk.local.control import Service
from mme_sdk.local.dataplane import DataPlane, Dropped
from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.fields import refuse_unsupported
from mme_sdk.local.protocols import protocol_of
from mme_sdk.local.requests import RequestLog
from mme_sdk.local.signing import SignatureCheck
from mme_sdk.local.wire import ApiError, service_model

__all__ = ["Server", "decompressed"]

_log = logging.getLogger(__name__)
_BODY_LIMIT = 64 * 1024 * 1024  # what is read at most; the payload limit itself is hosting's
_TARGETS = {"cloudwatch": "GraniteServiceVersion20100801"}


class Server:
    """Answers HTTP requests; one instance for one host.

    Args:
        data: Answers invocations.
        services: The control plane.
        signatures: Checks who asks.
        faults: Trouble on demand.
        log: Remembers requests.
        backdoor: Answers what is not AWS's: the status page and the fault API.
    """

    def __init__(
        self,
        data: DataPlane,
        services: Sequence[Service],
        signatures: SignatureCheck,
        faults: Faults,
        log: RequestLog,
        backdoor: Backdoor,
    ) -> None:
        self._data = data
        self._signatures = signatures
        self._faults = faults
        self._log = log
        self._backdoor = backdoor
        models = [(service_model(one.service), one) for one in services]
        # Newer clients speak JSON to services that this host's own botocore may still know as query only.
        self._by_target = {model.metadata.get("targetPrefix", _TARGETS.get(one.service)): one for model, one in models}
        self._by_scope = {model.signing_name: one for model, one in models}

    def http(self) -> web.Server:
        """The server for aiohttp; without its router, which the few paths here do not need."""
        loop = asyncio.get_running_loop()

        def request(*parts: Any) -> web.BaseRequest:
            message, payload, protocol, writer, task = parts
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_BODY_LIMIT)

        # Bodies are signed as they were sent, so they are not to be decompressed on the way in.
        return web.Server(self.handle, request_factory=request, auto_decompress=False)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if self._backdoor.opens(request):
            return await self._backdoor.handle(request)
        request_id = str(uuid.uuid4())
        headers = {name.lower(): value for name, value in request.headers.items()}
        started = monotonic()
        operation, endpoint = self._data.match(request.method, request.raw_path) or (
            headers.get("x-amz-target", "").rpartition(".")[2],
            None,
        )
        status, code = 500, None
        try:
            body = await _body(request, headers)
            if endpoint is not None:
                response = await self._invoke(request, operation, endpoint, headers, body, request_id)
            else:
                response, operation = self._operate(request, headers, body, request_id)
            status = response.status
            return response
        except ApiError as error:
            status, code = error.status, error.code
            return _refusal(error, headers, request_id)
        except web.HTTPRequestEntityTooLarge:
            status, code = 413, "RequestEntityTooLarge"
            text = f"The request body is larger than {_BODY_LIMIT} bytes."
            return _refusal(ApiError(code, text, status=status), headers, request_id)
        except Dropped:
            status, code = 0, "dropped"
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ConnectionError:
            status, code = 0, "client gone"
            return web.Response()
        except StorageError as error:
            _log.error("%s %s failed: %s", request.method, request.raw_path, error)
            return _refusal(ApiError("InternalFailure", str(error), status=500), headers, request_id)
        except Exception:  # noqa: BLE001 - one request's bug must not end the host; it is logged
            _log.exception("%s %s failed", request.method, request.raw_path)
            internal = ApiError("InternalFailure", "The embedded SageMaker failed; see its log.", status=500)
            return _refusal(internal, headers, request_id)
        finally:
            self._log.add(operation, endpoint, headers, status, code, monotonic() - started, request_id)

    async def _invoke(
        self,
        request: web.BaseRequest,
        operation: str,
        endpoint: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
    ) -> web.StreamResponse:
        self._signatures.check(request.method, request.raw_path, headers, body)
        model = headers.get("x-amzn-sagemaker-target-model")
        self._before(operation, endpoint=endpoint, model=model)
        response = await self._data.answer(request, operation, endpoint, headers, body, request_id)
        self._after(operation, endpoint=endpoint, model=model)
        return response

    def _operate(
        self, request: web.BaseRequest, headers: Mapping[str, str], body: bytes, request_id: str
    ) -> tuple[web.Response, str]:
        signed = self._signatures.check(request.method, request.raw_path, headers, body)
        spoken = protocol_of(headers, request.path, decompressed(body, headers))
        prefix, name = spoken.target
        if spoken.scoped:
            prefix = signed.service
        service = (self._by_scope if spoken.scoped else self._by_target).get(prefix)
        if service is None:
            what = f"{name} of {prefix}" if name else f"{request.method} {request.path}"
            text = f"{what} is not supported by the embedded SageMaker."
            raise ApiError("UnsupportedOperation", text, status=400 if name else 404)
        run, model = service.operations.get(name), service_model(service.service)
        if run is None:
            known = name in model.operation_names
            raise ApiError(
                "UnsupportedOperation" if known else "UnknownOperationException",
                f"{name} is not supported by the embedded SageMaker." if known else f"There is no operation {name!r}.",
            )
        operation = model.operation_model(name)
        params = spoken.parse(operation)
        refuse_unsupported(service.service, operation.input_shape, params)
        endpoint = params.get("EndpointName")
        self._before(name, endpoint=endpoint)
        result = run(params)
        self._after(name, endpoint=endpoint)
        content, said = spoken.answer(operation, result, request_id)
        return web.Response(body=content, headers={"x-amzn-RequestId": request_id, **said}), name

    def _before(self, operation: str, *, endpoint: str | None, model: str | None = None) -> None:
        fault = self._faults.strike(
            "throttle", "error", "drop_before", operation=operation, endpoint=endpoint, model=model
        )
        if fault is not None:
            raise _as_error(fault)

    def _after(self, operation: str, *, endpoint: str | None, model: str | None = None) -> None:
        if self._faults.strike("drop_after", operation=operation, endpoint=endpoint, model=model) is not None:
            raise Dropped


def _as_error(fault: Fault) -> Exception:
    match fault.kind:
        case "throttle":
            return ApiError("ThrottlingException", fault.message or "Rate exceeded")
        case "error":
            return ApiError(fault.code, fault.message or "An injected fault.", status=fault.status)
        case _:
            return Dropped()


async def _body(request: web.BaseRequest, headers: Mapping[str, str]) -> bytes:
    if headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.read()


def decompressed(body: bytes, headers: Mapping[str, str]) -> bytes:
    """A body as it was before `Content-Encoding: gzip`.

    Raises:
        ApiError: No gzip, or more than the host reads.
    """
    if headers.get("content-encoding") != "gzip":
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(_BODY_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ApiError("SerializationException", f"The request body is no gzip: {error}") from error
    if len(content) > _BODY_LIMIT:
        raise ApiError(
            "RequestEntityTooLarge", f"The request body unpacks to more than {_BODY_LIMIT} bytes.", status=413
        )
    return content


def _refusal(error: ApiError, headers: Mapping[str, str], request_id: str) -> web.Response:
    body, said = protocol_of(headers, "", b"").refusal(error, request_id)
    return web.Response(status=error.status, body=body, headers={"x-amzn-RequestId": request_id, **said})
