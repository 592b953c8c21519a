"""Endpoints in simulated time: each loads models, evicts the one that was not called for longest, and can fail."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import Any

from mme_sdk import AsyncMMEClient, MMEClient
from mme_sdk.aws import Call, Flow, Sleep
from mme_sdk.errors import AccessDeniedError, NotSentError, OutcomeUnknownError
from mme_sdk.router import AsyncRouter, Router
from mme_sdk.runtime.interpreters import async_interpreter, interpreter
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.registry.interleave import flat
from tests.support.registry.s3_model import S3Model
from tests.support.runtime.scripted import FakeAsyncClock, FakeClock, Middle, ThreadedFakeClock, answer

ABSENT = {
    "status": 400,
    "code": "ValidationError",
    "message": "Endpoint gone of account 123456789012 not found.",
}
ANSWERS: dict[str, dict[str, Any]] = {
    "ok": {},
    "deleted": ABSENT,
    "error": {"status": 500, "code": "InternalFailure", "message": "oops"},
    "throttled": {"status": 400, "code": "ThrottlingException", "message": "Rate exceeded"},
    "busy": {"status": 424, "code": "ModelError", "message": "?", "original_status": 507, "original_message": "full"},
    "bad": {"status": 424, "code": "ModelError", "message": "?", "original_status": 400, "original_message": "no"},
    "denied": {"status": 403, "code": "AccessDeniedException", "message": "no"},
    "unknown": {
        "status": 404,
        "code": "ValidationError",
        "message": "Failed to download model data (bucket: b, key: k)",
    },
}


class Cells:
    """The endpoints of a router, and S3.

    Attributes:
        states: What each endpoint does: a key of `ANSWERS`, `refused` or `dropped`. Default: `ok`.
        loads: How often each endpoint has loaded each model.
        sent: Endpoint and target model of each request.
    """

    name = "cells"

    def __init__(self, clock: FakeClock, space: int = 1_000) -> None:
        self.clock, self.space = clock, space
        self.states: dict[str, str] = {}
        self.models: dict[tuple[str, str | None], str] = {}
        self.loads: Counter[tuple[str, str | None]] = Counter()
        self.loaded: dict[str, OrderedDict[str | None, None]] = {}
        self.sent: list[tuple[str, str | None]] = []
        self.s3 = S3Model()
        self.s3_fails = False
        self.slept: list[float] = []
        self.lock = threading.Lock()

    def step(self, request: InvokeRequest) -> InvokeResponse:
        with self.lock:
            return self._answer(request)

    def _answer(self, request: InvokeRequest) -> InvokeResponse:
        cell, model = request.endpoint, request.target_model
        self.sent.append((cell, model))
        self.clock.now += 0.01
        state = self.models.get((cell, model)) or self.states.get(cell, "ok")
        if state == "refused":
            raise NotSentError("connection refused")
        if state == "dropped":
            raise OutcomeUnknownError("connection dropped")
        if state == "ok":
            loaded = self.loaded.setdefault(cell, OrderedDict())
            if model not in loaded:
                self.clock.now += 1.0
                self.loads[cell, model] += 1
                if len(loaded) >= self.space:
                    loaded.popitem(last=False)
            loaded[model] = None
            loaded.move_to_end(model)
            if request.content_type == "text/csv":
                return answer({"body": str([1.0] * len(request.body.split()))})
        return answer(ANSWERS[state])

    def perform(self, flow: Flow[Any]) -> Any:
        """Run a flow of AWS calls against the model of S3."""
        steps, value, error = flat(flow), None, None
        while True:
            try:
                effect = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            value = error = None
            if isinstance(effect, Sleep):
                self.slept.append(effect.seconds)
                self.clock.now += effect.seconds
            elif isinstance(effect, Call) and effect.service == "s3" and not self.s3_fails:
                try:
                    value = self.s3.perform(effect)
                except Exception as caught:  # noqa: BLE001 - it is raised in the flow
                    error = caught
            else:
                error = AccessDeniedError("not in this test")

    def cells_of(self, model: str) -> list[str]:
        """Return the endpoints that got requests for a model, in order."""
        return [cell for cell, sent in self.sent if sent == model]


class SyncCells(Cells):
    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        return self.step(request)

    def close(self) -> None:
        pass


class AsyncCells(Cells):
    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        return self.step(request)

    async def close(self) -> None:
        pass


def connect(cells: SyncCells, **settings: Any) -> MMEClient:
    """Return a client of the endpoints."""
    client = MMEClient(region="us-east-1", **settings)
    _simulate(client, cells)
    client._invoker.get()._interpreter = interpreter(cells, clock=cells.clock, aws=client._aws, wait=cells.clock.wait)
    return client


def connect_async(cells: AsyncCells, **settings: Any) -> AsyncMMEClient:
    """Return an asynchronous client of the endpoints."""
    client = AsyncMMEClient(region="us-east-1", **settings)
    _simulate(client, cells)
    clock: Any = cells.clock
    client._invoker.get()._interpreter = async_interpreter(cells, clock=clock, aws=client._aws, wait=clock.wait)
    return client


def _simulate(client: Any, cells: Any) -> None:
    aws = client._aws

    async def arun(flow: Flow[Any]) -> Any:
        return cells.perform(flow)

    aws.clock = aws.async_clock = cells.clock
    aws.rng, aws.run, aws.arun = Middle(), cells.perform, arun
    aws.submit = lambda work: work()
    client._transport._made["value"] = cells


def router(cells: SyncCells, names: Any = ("a", "b", "c"), **options: Any) -> Router:
    """Return a router over endpoints, with a table under s3://models/p/ unless `table` is given."""
    options = {"table": "s3://models/p/"} | options
    return plain(connect(cells).router("scoring", cells=names, **options))


def async_router(cells: AsyncCells, names: Any = ("a", "b", "c"), **options: Any) -> AsyncRouter:
    """Return an asynchronous router over endpoints."""
    options = {"table": "s3://models/p/"} | options
    return plain(connect_async(cells).router("scoring", cells=names, **options))


def plain(made: Any) -> Any:
    """Let a router read the bodies of the model of S3, which are bytes."""
    store = made._routes._store
    if store is not None:
        object.__setattr__(store, "read", lambda answer: answer["Body"])
    return made


def new_cells(space: int = 1_000) -> SyncCells:
    """Return endpoints with a clock of their own."""
    return SyncCells(ThreadedFakeClock(), space)


def new_async_cells(space: int = 1_000) -> AsyncCells:
    """Return endpoints for asynchronous clients."""
    return AsyncCells(FakeAsyncClock(), space)
