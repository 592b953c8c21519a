"""The HTTP server of the container: the multi-model contract, or `/invocations` for a single model."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import signal
import socket
import sys
from typing import Any

import attrs
from aiohttp import web

from mme_sdk.local.containers.python.models import ErrorResponse, Models, first_of

__all__ = ["Options", "serve"]

_PAGE = 100
_SINGLE = "model"
_KEY = "x-mme-sdk-key"
_PASSED_BACK = {"connection", "content-length", "content-type", "date", "server", "transfer-encoding"}


@attrs.frozen(kw_only=True)
class Options:
    """Options of the container.

    Attributes:
        port: TCP port on 127.0.0.1; 0 selects a free port.
        model: Directory of the single model to serve under `/invocations`; None for a multi-model container.
        memory_budget: Memory for all models, in bytes; None for no limit.
        invocation_timeout: Seconds for one response.
        load_timeout: Seconds for one load.
        max_payload: Largest request body, in bytes.
        exit_with_stdin: Whether to exit at the end of standard input, which is when the host ends.
        key: Required value of the header X-Mme-Sdk-Key; None accepts all requests.
    """

    port: int
    model: str | None = None
    memory_budget: int | None = None
    invocation_timeout: float = 60.0
    load_timeout: float = 360.0
    max_payload: int = 1 << 30
    exit_with_stdin: bool = False
    key: bytes | None = attrs.field(default=None, repr=False)


async def serve(options: Options, requests: socket.socket, events: socket.socket) -> int:
    """Serve until SIGTERM, the end of standard input, or the end of the fork server.

    Args:
        options: Options of the container.
        requests: Socket for requests to the fork server.
        events: Socket for events of the fork server.

    Returns:
        The exit status.
    """
    loop = asyncio.get_running_loop()
    models = Models(
        requests,
        events,
        memory_budget=options.memory_budget,
        invocation_timeout=options.invocation_timeout,
        load_timeout=options.load_timeout,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _at_end_of_input, stop)
    runner = web.AppRunner(
        _application(models, options),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=0.2,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=1024)
        await site.start()
        port = runner.addresses[0][1]
        print(f"listening on 127.0.0.1:{port}", flush=True)  # noqa: T201 - reports the port if `port` is 0
        await models.start()
        if options.model is not None and not models.fork_server_ended.is_set():
            try:
                await models.load(_SINGLE, options.model)
            except ErrorResponse as error:
                print(f"cannot load the model: {error.message}", file=sys.stderr, flush=True)  # noqa: T201
                return 1
        await first_of(stop, models.fork_server_ended)
        return 0 if stop.is_set() else 1
    finally:
        await runner.cleanup()
        await models.close()


def _at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


def _application(models: Models, options: Options) -> web.Application:
    middlewares = [_typed_errors] if options.key is None else [_require_key(options.key), _typed_errors]
    app = web.Application(client_max_size=options.max_payload, middlewares=middlewares)
    routes = _Routes(models, single=options.model is not None)
    app.router.add_get("/ping", routes.ping)
    if options.model is not None:
        app.router.add_post("/invocations", routes.invoke_single)
    else:
        app.router.add_post("/models", routes.load)
        app.router.add_get("/models", routes.list)
        app.router.add_get("/models/{name}", routes.describe)
        app.router.add_delete("/models/{name}", routes.unload)
        app.router.add_post("/models/{name}/invoke", routes.invoke)
    return app


def _require_key(key: bytes) -> Any:
    @web.middleware
    async def check(request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get(_KEY, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, key):
            return _error(
                403,
                "AccessDeniedException",
                "the X-Mme-Sdk-Key header is missing or wrong: only the host that started the container can use it",
            )
        response: web.StreamResponse = await handler(request)
        return response

    return check


@web.middleware
async def _typed_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ErrorResponse as error:
        return _error(error.status, error.type, error.message)
    except web.HTTPException as error:
        return _error(error.status, f"{type(error).__name__.removeprefix('HTTP')}Exception", error.text or error.reason)
    return response


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"code": status, "type": kind, "message": message}, status=status)


class _Routes:
    def __init__(self, models: Models, *, single: bool) -> None:
        self._models = models
        self._single = single

    async def ping(self, _request: web.Request) -> web.Response:
        models = self._models
        healthy = models.ready.is_set() and not models.fork_server_ended.is_set()
        if self._single:
            healthy = healthy and _SINGLE in models.by_name
        return web.json_response({"status": "Healthy" if healthy else "Starting"}, status=200 if healthy else 503)

    async def load(self, request: web.Request) -> web.Response:
        try:
            given = json.loads(await request.read())
            name, url = given["model_name"], given["url"]
            if not isinstance(name, str) or not isinstance(url, str) or not name or "/" in name:
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise ErrorResponse(
                status=400,
                type="BadRequestException",
                message='the body must be JSON with two strings: {"model_name": …, "url": …}',
            ) from None
        memory = await self._models.load(name, url, request.headers.get("X-Amzn-SageMaker-Target-Model"))
        return web.json_response({"status": f'Model "{name}" registered', "memory": memory})

    async def list(self, request: web.Request) -> web.Response:
        try:
            start = int(request.query.get("next_page_token", "0"))
            limit = int(request.query.get("limit", str(_PAGE)))
            if start < 0 or limit < 1:
                raise ValueError
        except ValueError:
            raise ErrorResponse(
                status=400,
                type="BadRequestException",
                message="limit must be a positive number, and next_page_token the token of a page",
            ) from None
        served = list(self._models.by_name.values())
        page = {"models": [{"modelName": one.name, "modelUrl": one.url} for one in served[start : start + limit]]}
        if start + limit < len(served):
            return web.json_response({**page, "nextPageToken": str(start + limit)})
        return web.json_response(page)

    async def describe(self, request: web.Request) -> web.Response:
        served = self._models.by_name.get(request.match_info["name"])
        if served is None:
            raise ErrorResponse(
                status=404, type="ModelNotFoundException", message=f"Model not found: {request.match_info['name']}"
            )
        return web.json_response({"modelName": served.name, "modelUrl": served.url})

    async def unload(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        # Finish unloading even if the client closes the connection.
        await asyncio.shield(asyncio.ensure_future(self._models.unload(name)))
        return web.json_response({"status": f'Model "{name}" unregistered'})

    async def invoke_single(self, request: web.Request) -> web.StreamResponse:
        return await self._invoke(request, _SINGLE)

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        return await self._invoke(request, request.match_info["name"])

    async def _invoke(self, request: web.Request, name: str) -> web.StreamResponse:
        headers = {key.lower(): value for key, value in request.headers.items()}
        headers.pop(_KEY, None)  # the model must not see the key
        frames = self._models.invoke(
            name,
            await request.read(),
            headers.get("content-type", ""),
            headers.get("accept", ""),
            headers,
        )
        async with contextlib.aclosing(frames):  # type: ignore[type-var]
            head, body = await anext(frames)
            if "message" in head:
                return _error(head["status"], head["type"], head["message"])
            extra = {key: value for key, value in head["headers"].items() if key.lower() not in _PASSED_BACK}
            extra["Content-Type"] = head["content_type"]
            if head["last"]:
                return web.Response(status=head["status"], body=body, headers=extra)
            return await self._stream(request, frames, body, head["status"], extra)

    @staticmethod
    async def _stream(
        request: web.Request, frames: Any, first: bytes, status: int, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(first)
        try:
            async for head, chunk in frames:
                if "message" in head:
                    raise ErrorResponse(status=head["status"], type=head["type"], message=head["message"])
                if chunk:
                    await response.write(chunk)
        except ErrorResponse as error:
            # The status line has been sent; closing the connection is the only way to report the error.
            print(f"a response stream was interrupted: {error}", file=sys.stderr, flush=True)  # noqa: T201
            if request.transport is not None:
                request.transport.abort()
        return response
