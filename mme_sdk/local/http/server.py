"""The one HTTP address of the embedded SageMaker: who signed, which service, which operation, and the answer."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import attrs
from aiohttp import web

from mme_sdk.errors import StorageError
from mme_sdk.local.control import Service
from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.http.admin_api import AdminApi
from mme_sdk.local.http.connections import serve
from mme_sdk.local.http.dataplane import ConnectionDropped, DataPlane
from mme_sdk.local.http.request_bodies import BodyReader
from mme_sdk.local.http.request_headers import read_headers
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.fields import check_supported
from mme_sdk.local.wire.protocols import WireProtocol, detect_protocol
from mme_sdk.local.wire.service_model import load_service_model
from mme_sdk.local.wire.signing import SignatureVerifier, VerifiedSignature

__all__ = ["Server", "decompressed"]

_log = logging.getLogger(__name__)
# CloudWatch takes 1 MB, compressed or not; what it takes at most is 150,000 values with their counts.
_CONTROL_LIMIT = 1024 * 1024
_UNPACKED_LIMIT = 4 * 1024 * 1024
_AT_ONCE = 16 * 1024  # a larger body, or a compressed one, is decoded in another thread
_LONGEST_NAME = 128
_TARGETS = {"cloudwatch": "GraniteServiceVersion20100801"}


@attrs.frozen(kw_only=True)
class _Call:
    """An operation that a request asks for."""

    spoken: WireProtocol
    name: str
    operation: Any
    run: Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]
    params: dict[str, Any]


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
        signatures: SignatureVerifier,
        faults: Faults,
        log: RequestLog,
        backdoor: AdminApi,
    ) -> None:
        self._data = data
        self._signatures = signatures
        self._faults = faults
        self._log = log
        self._backdoor = backdoor
        self._bodies = BodyReader()
        self._decoding = asyncio.Lock()
        models = [(load_service_model(one.service), one) for one in services]
        # Newer clients speak JSON to services that this host's own botocore may still know as query only.
        self._by_target = {model.metadata.get("targetPrefix", _TARGETS.get(one.service)): one for model, one in models}
        self._by_scope = {model.signing_name: one for model, one in models}

    def for_aiohttp(self) -> web.Server:
        """The server for aiohttp."""
        return serve(self.handle)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        request_id = str(uuid.uuid4())
        headers: dict[str, str] = {}
        started = monotonic()
        operation, endpoint, logged = "", None, True
        status, code = 500, None
        try:
            headers = read_headers(request)
            if self._backdoor.opens(request):
                logged = False
                return await self._backdoor.handle(request, headers, self._signatures, self._bodies)
            invocation = self._data.match(request.method, request.raw_path)
            if invocation is not None:
                operation, endpoint = invocation
                response = await self._invoke(request, operation, endpoint, headers, request_id)
            else:
                operation = headers.get("x-amz-target", "").rpartition(".")[2]
                response, operation = await self._operate(request, headers, request_id)
            status = response.status
            return response
        except ApiError as error:
            status, code = error.status, error.code
            return _refusal(error, headers, request_id, request)
        except ConnectionDropped:
            status, code = 0, "dropped"
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ConnectionError:
            status, code = 0, "client gone"
            return web.Response()
        except StorageError as error:
            _log.error("%s %s failed: %s", request.method, request.raw_path, error)
            return _refusal(ApiError("InternalFailure", str(error), status=500), headers, request_id, request)
        except Exception:  # noqa: BLE001 - one request's bug must not end the host; it is logged
            _log.exception("%s %s failed", request.method, request.raw_path)
            internal = ApiError("InternalFailure", "The embedded SageMaker failed; see its log.", status=500)
            return _refusal(internal, headers, request_id, request)
        finally:
            if logged:
                self._log.add(
                    operation[:_LONGEST_NAME], endpoint, headers, status, code, monotonic() - started, request_id
                )

    async def _invoke(
        self, request: web.BaseRequest, operation: str, endpoint: str, headers: Mapping[str, str], request_id: str
    ) -> web.StreamResponse:
        pending = self._signatures.verify_headers(request.method, request.raw_path, headers)
        async with self._bodies.receive(request, headers, self._data.max_body(operation)) as body:
            pending.verify(body.digest)
            model = headers.get("x-amzn-sagemaker-target-model")
            self._before(operation, endpoint=endpoint, model=model)
            response = await self._data.handle(request, operation, endpoint, headers, body.content, request_id)
            self._after(operation, endpoint=endpoint, model=model)
            return response

    async def _operate(
        self, request: web.BaseRequest, headers: Mapping[str, str], request_id: str
    ) -> tuple[web.Response, str]:
        pending = self._signatures.verify_headers(request.method, request.raw_path, headers)
        async with self._bodies.receive(request, headers, _CONTROL_LIMIT) as body:
            signed = pending.verify(body.digest)
            if len(body.content) <= _AT_ONCE and "content-encoding" not in headers:
                call = self._understand(request, headers, body.content, signed)
            else:
                # One at a time: what a body decodes to may be many times as large as the body.
                async with self._decoding:
                    call = await asyncio.to_thread(self._understand, request, headers, body.content, signed)
        endpoint = call.params.get("EndpointName")
        self._before(call.name, endpoint=endpoint)
        made = call.run(call.params)
        result = made if isinstance(made, dict) else await made
        self._after(call.name, endpoint=endpoint)
        content, said = call.spoken.answer(call.operation, result, request_id)
        return web.Response(body=content, headers={"x-amzn-RequestId": request_id, **said}), call.name

    def _understand(
        self, request: web.BaseRequest, headers: Mapping[str, str], body: bytes, signed: VerifiedSignature
    ) -> _Call:
        """What a request asks for; it may take long."""
        spoken = detect_protocol(headers, request.path, decompressed(body, headers))
        prefix, name = spoken.target
        if spoken.scoped:
            prefix = signed.service
        service = (self._by_scope if spoken.scoped else self._by_target).get(prefix)
        if service is None:
            what = f"{name} of {prefix}" if name else f"{request.method} {request.path}"
            text = f"{what} is not supported by the embedded SageMaker."
            raise ApiError("UnsupportedOperation", text, status=400 if name else 404)
        run, model = service.operations.get(name), load_service_model(service.service)
        if signed.service != model.signing_name:
            raise ApiError(
                "InvalidSignatureException",
                f"Credential should be scoped to correct service: '{model.signing_name}'.",
                status=403,
            )
        if run is None:
            known = name in model.operation_names
            raise ApiError(
                "UnsupportedOperation" if known else "UnknownOperationException",
                f"{name} is not supported by the embedded SageMaker." if known else f"There is no operation {name!r}.",
            )
        operation = model.operation_model(name)
        params = spoken.parse(operation)
        check_supported(service.service, operation.input_shape, params)
        return _Call(spoken=spoken, name=name, operation=operation, run=run, params=params)

    def _before(self, operation: str, *, endpoint: str | None, model: str | None = None) -> None:
        fault = self._faults.trigger(
            "throttle", "error", "drop_before", operation=operation, endpoint=endpoint, model=model
        )
        if fault is not None:
            raise _as_error(fault)

    def _after(self, operation: str, *, endpoint: str | None, model: str | None = None) -> None:
        if self._faults.trigger("drop_after", operation=operation, endpoint=endpoint, model=model) is not None:
            raise ConnectionDropped


def _as_error(fault: Fault) -> Exception:
    match fault.kind:
        case "throttle":
            return ApiError("ThrottlingException", fault.message or "Rate exceeded")
        case "error":
            return ApiError(fault.code, fault.message or "An injected fault.", status=fault.status)
        case _:
            return ConnectionDropped()


def decompressed(body: bytes, headers: Mapping[str, str]) -> bytes:
    """A body as it was before `Content-Encoding: gzip`.

    Raises:
        ApiError: No gzip, or more than the host reads.
    """
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise ApiError(
            "MalformedHttpRequestException", f"The content encoding {encoding!r} is not supported; use gzip."
        )
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(_UNPACKED_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ApiError("SerializationException", f"The request body is no gzip: {error}") from error
    if len(content) > _UNPACKED_LIMIT:
        raise ApiError(
            "RequestEntityTooLarge", f"The request body unpacks to more than {_UNPACKED_LIMIT} bytes.", status=413
        )
    return content


def _refusal(error: ApiError, headers: Mapping[str, str], request_id: str, request: web.BaseRequest) -> web.Response:
    # Errors of a form look like errors of its protocol even where the form itself is the error.
    body, said = detect_protocol(headers, "", b"").refusal(error, request_id)
    response = web.Response(status=error.status, body=body, headers={"x-amzn-RequestId": request_id, **said})
    if not request.content.at_eof():  # what else comes on this connection may be the body, or no request
        response.force_close()
    return response
