"""Connections of the host's HTTP server: none is held for ever by a client that stops in the middle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

__all__ = ["HEAD_SECONDS", "STALLED_SECONDS", "serve"]

_log = logging.getLogger(__name__)

HEAD_SECONDS = 30.0
"""From the first byte of a request to the end of its headers."""

STALLED_SECONDS = 600.0
"""How long a client may leave an answer unread."""


def serve(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
    """A server for `aiohttp.web.ServerRunner`; without a router, which the few paths of the host do not need.

    Args:
        handler: Answers one request.
    """
    # BodyReader are signed as they were sent, so they are not to be decompressed on the way in.
    return _Server(handler, auto_decompress=False)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The server waits for a request although bytes of one have come: its headers have not ended.
        if data and self._waiter is not None and not self._waiter.done():
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(HEAD_SECONDS, self.force_close)
        else:
            self._stop("_head_timer")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self._loop.call_later(STALLED_SECONDS, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("_stall_timer")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        # Bytes that are not HTTP are the client's fault: the host's log has no traceback for them.
        _log.info("a request that is not HTTP was refused: %r", message)
        said = {"message": "The request is not valid HTTP/1.1, or its headers are too long."}
        response = web.json_response(said, status=status)
        response.force_close()
        return response

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop("_head_timer")
        self._stop("_stall_timer")
        super().connection_lost(exc)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _stop(self, name: str) -> None:
        timer: Any = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
