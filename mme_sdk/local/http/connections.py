"""Connections of the HTTP server, with time limits for clients that stop sending or reading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

__all__ = ["HEADER_TIMEOUT", "READ_TIMEOUT", "make_server"]

_log = logging.getLogger(__name__)

HEADER_TIMEOUT = 30.0
"""Seconds from the first byte of a request to the end of its headers."""

READ_TIMEOUT = 600.0
"""Seconds that a client may leave a response unread."""


def make_server(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
    """Return a server without a router, for `aiohttp.web.ServerRunner`.

    Args:
        handler: Returns the response to a request.
    """
    # The signature covers the body as it was sent, so aiohttp must not decompress it.
    return _Server(handler, auto_decompress=False)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Bytes arrived but the server still waits for a request: the headers are not complete.
        if data and self._waiter is not None and not self._waiter.done():
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(HEADER_TIMEOUT, self.force_close)
        else:
            self._stop("_head_timer")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_timer = self._loop.call_later(READ_TIMEOUT, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("_read_timer")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        _log.info("a request that is not HTTP was refused: %r", message)
        content = {"message": "The request is not valid HTTP/1.1, or its headers are too long."}
        response = web.json_response(content, status=status)
        response.force_close()
        return response

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop("_head_timer")
        self._stop("_read_timer")
        super().connection_lost(exc)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _stop(self, name: str) -> None:
        timer: Any = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
