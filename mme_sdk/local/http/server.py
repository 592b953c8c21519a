"""The HTTP server of all services except S3: verify the signature, find the operation, and send the response."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
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
from mme_sdk.local.control.iam.authorizer import CALLER, Authorizer
from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.http.admin_api import AdminApi
from mme_sdk.local.http.connections import make_server
from mme_sdk.local.http.dataplane import ConnectionDropped, DataPlane, invocation_params
from mme_sdk.local.http.request_bodies import BodyReader
from mme_sdk.local.http.request_headers import read_headers
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.wire.errors import ApiError, service_code
from mme_sdk.local.wire.fields import check_supported
from mme_sdk.local.wire.protocols import WireProtocol, detect_protocol
from mme_sdk.local.wire.service_model import load_service_model
from mme_sdk.local.wire.signing import SignatureVerifier, VerifiedSignature

__all__ = ["Server", "decompress"]

_log = logging.getLogger(__name__)
# The limit of CloudWatch, compressed or not. The largest request has 150,000 values with their counts.
_MAX_BODY = 1024 * 1024
_MAX_DECOMPRESSED = 4 * 1024 * 1024
_MAX_INLINE = 16 * 1024  # bytes; a larger or compressed body is decoded in a worker thread
_MAX_LOGGED_NAME = 128
_TARGETS = {"cloudwatch": "GraniteServiceVersion20100801"}


@attrs.frozen(kw_only=True)
class _Call:
    """A decoded request of the control plane."""

    protocol: WireProtocol
    service: str
    name: str
    operation: Any
    run: Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]
    params: dict[str, Any]


class Server:
    """The request handler of a host.

    Args:
        data_plane: The invocation operations.
        services: The services of the control plane.
        signatures: Verifies signatures.
        faults: Active faults.
        request_log: Log of the requests.
        admin_api: The paths below `/_mme`.
        authorizer: Evaluates the policies of the signer; None if the host evaluates no policies.
    """

    def __init__(
        self,
        data_plane: DataPlane,
        services: Sequence[Service],
        signatures: SignatureVerifier,
        faults: Faults,
        request_log: RequestLog,
        admin_api: AdminApi,
        authorizer: Authorizer | None = None,
    ) -> None:
        self._data_plane = data_plane
        self._signatures = signatures
        self._faults = faults
        self._request_log = request_log
        self._admin_api = admin_api
        self._authorizer = authorizer
        self._bodies = BodyReader()
        self._decoding = asyncio.Lock()
        models = [(load_service_model(one.service), one) for one in services]
        # Newer clients use JSON for services whose model in this host's botocore may have the query protocol only.
        self._by_target = {model.metadata.get("targetPrefix", _TARGETS.get(one.service)): one for model, one in models}
        self._by_scope = {model.signing_name: one for model, one in models}

    def for_aiohttp(self) -> web.Server:
        """Return the server for `aiohttp.web.ServerRunner`."""
        return make_server(self.handle)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request."""
        request_id = str(uuid.uuid4())
        headers: dict[str, str] = {}
        started = monotonic()
        operation, endpoint, logged = "", None, True
        status, code, message = 500, None, None
        try:
            headers = read_headers(request)
            if self._admin_api.matches(request):
                logged = False
                return await self._admin_api.handle(request, headers, self._signatures, self._bodies)
            invocation = self._data_plane.match(request.method, request.raw_path)
            if invocation is not None:
                operation, endpoint = invocation
                response = await self._invoke(request, operation, endpoint, headers, request_id)
            else:
                operation = headers.get("x-amz-target", "").rpartition(".")[2]
                response, operation = await self._call_operation(request, headers, request_id)
            status = response.status
            if invocation is not None and status >= 400:
                code, message = _error_in(response)
            return response
        except ApiError as error:
            status, code, message = error.status, error.code, error.message
            return self._error_response(error, headers, request_id, request)
        except ConnectionDropped:
            status, code = 0, "dropped"
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ConnectionError:
            status, code = 0, "client closed the connection"
            return web.Response()
        except StorageError as error:
            _log.error("%s %s failed: %s", request.method, request.raw_path, error)
            internal = ApiError("InternalFailure", str(error), status=500)
            return self._error_response(internal, headers, request_id, request)
        except Exception:  # noqa: BLE001 - an unexpected error must not stop the server; it is logged
            _log.exception("%s %s failed", request.method, request.raw_path)
            internal = ApiError("InternalFailure", "The embedded SageMaker failed; see its log.", status=500)
            return self._error_response(internal, headers, request_id, request)
        finally:
            if logged:
                self._request_log.add(
                    operation[:_MAX_LOGGED_NAME],
                    endpoint,
                    headers,
                    status,
                    code,
                    monotonic() - started,
                    request_id,
                    message,
                )

    def _error_response(
        self, error: ApiError, headers: Mapping[str, str], request_id: str, request: web.BaseRequest
    ) -> web.Response:
        protocol = detect_protocol(headers, request.path, b"")  # an empty body, because the body may be what is invalid
        service = self._by_target.get(protocol.target[0])
        model = None if service is None else load_service_model(service.service)
        body, sent = protocol.serialize_error(error, request_id, model)
        response = web.Response(status=error.status, body=body, headers={"x-amzn-RequestId": request_id, **sent})
        if not request.content.at_eof():  # the next bytes on this connection may be the rest of the body
            response.force_close()
        return response

    async def _invoke(
        self, request: web.BaseRequest, operation: str, endpoint: str, headers: Mapping[str, str], request_id: str
    ) -> web.StreamResponse:
        pending = self._signatures.verify_headers(request.method, request.raw_path, headers)
        async with self._bodies.read(request, headers, self._data_plane.max_body(operation)) as body:
            signature = pending.verify_body(body.digest)
            model = headers.get("x-amzn-sagemaker-target-model")
            self._authorize(signature, "sagemaker-runtime", operation, invocation_params(endpoint, headers))
            self._inject_fault_before(operation, endpoint=endpoint, model=model)
            response = await self._data_plane.handle(request, operation, endpoint, headers, body.content, request_id)
            self._inject_fault_after(operation, endpoint=endpoint, model=model)
            return response

    async def _call_operation(
        self, request: web.BaseRequest, headers: Mapping[str, str], request_id: str
    ) -> tuple[web.Response, str]:
        pending = self._signatures.verify_headers(request.method, request.raw_path, headers)
        async with self._bodies.read(request, headers, _MAX_BODY) as body:
            signature = pending.verify_body(body.digest)
            if len(body.content) <= _MAX_INLINE and "content-encoding" not in headers:
                call = self._parse(request, headers, body.content, signature)
            else:
                # One at a time, because the decoded value may need many times the memory of the body.
                async with self._decoding:
                    call = await asyncio.to_thread(self._parse, request, headers, body.content, signature)
        self._authorize(signature, call.service, call.name, call.params)
        endpoint = call.params.get("EndpointName")
        self._inject_fault_before(call.name, endpoint=endpoint)
        returned = call.run(call.params)
        result = returned if isinstance(returned, dict) else await returned
        self._inject_fault_after(call.name, endpoint=endpoint)
        content, sent = call.protocol.serialize_response(call.operation, result, request_id)
        return web.Response(body=content, headers={"x-amzn-RequestId": request_id, **sent}), call.name

    def _parse(
        self, request: web.BaseRequest, headers: Mapping[str, str], body: bytes, signature: VerifiedSignature
    ) -> _Call:
        protocol = detect_protocol(headers, request.path, decompress(body, headers))
        prefix, name = protocol.target
        if protocol.uses_signed_service:
            prefix = signature.service
        service = (self._by_scope if protocol.uses_signed_service else self._by_target).get(prefix)
        if service is None:
            what = f"{name} of {prefix}" if name else f"{request.method} {request.path}"
            text = f"{what} is not supported by the embedded SageMaker."
            raise ApiError("UnsupportedOperation", text, status=400 if name else 404)
        run, model = service.operations.get(name), load_service_model(service.service)
        if signature.service != model.signing_name:
            raise ApiError(
                "InvalidSignatureException",
                f"Credential should be scoped to correct service: '{model.signing_name}'.",
                status=403,
            )
        if run is None:
            known = name in model.operation_names
            raise ApiError(
                "UnsupportedOperation" if known else "UnknownOperationException",
                f"{name} is not supported by the embedded SageMaker.{getattr(service, 'hint', '')}"
                if known
                else f"The operation {name!r} does not exist.",
            )
        operation = model.operation_model(name)
        try:
            params = protocol.parse(operation)
            check_supported(service.service, operation.input_shape, params)
        except ApiError as error:
            raise ApiError(service_code(model, operation, error.code), error.message, status=error.status) from error
        return _Call(protocol=protocol, service=service.service, name=name, operation=operation, run=run, params=params)

    def _authorize(self, signature: VerifiedSignature, service: str, operation: str, params: Mapping[str, Any]) -> None:
        if self._authorizer is not None:
            CALLER.set(self._authorizer.check(signature.access_key, service, operation, params))

    def _inject_fault_before(self, operation: str, *, endpoint: str | None, model: str | None = None) -> None:
        fault = self._faults.trigger(
            "throttle", "rate", "error", "drop_before", operation=operation, endpoint=endpoint, model=model
        )
        if fault is not None:
            raise _error_of(fault)

    def _inject_fault_after(self, operation: str, *, endpoint: str | None, model: str | None = None) -> None:
        if self._faults.trigger("drop_after", operation=operation, endpoint=endpoint, model=model) is not None:
            raise ConnectionDropped


def _error_in(response: web.StreamResponse) -> tuple[str | None, str | None]:
    """Return code and message of the error that the response to an invocation has."""
    code = response.headers.get("x-amzn-ErrorType")
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) > _MAX_BODY:
        return code, None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return code, None
    text = said.get("Message", said.get("message")) if isinstance(said, dict) else None
    return code, text if isinstance(text, str) else None


def _error_of(fault: Fault) -> Exception:
    match fault.kind:
        case "throttle" | "rate":
            return ApiError("ThrottlingException", fault.message or "Rate exceeded")
        case "error":
            return ApiError(fault.code, fault.message or "An injected fault.", status=fault.status)
        case _:
            return ConnectionDropped()


def decompress(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a body after removing its content encoding, which may be gzip.

    Raises:
        ApiError: The body is not gzip, or the decompressed body is too large.
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
            content = file.read(_MAX_DECOMPRESSED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ApiError("SerializationException", f"The request body is not valid gzip: {error}") from error
    if len(content) > _MAX_DECOMPRESSED:
        raise ApiError(
            "RequestEntityTooLarge",
            f"The decompressed request body has more than {_MAX_DECOMPRESSED} bytes.",
            status=413,
        )
    return content
