"""An S3 in memory for ledgers, which a test can end at any of its operations, and a model that doubles numbers."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

from mme_sdk.aws import Aws, Call
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.registry.s3_model import S3Model


class Killed(BaseException):
    """The process ends."""


class MemoryAws(Aws):
    """AWS whose S3 is in memory.

    Args:
        s3: The objects.
        kill_at: Number of the operation, from 0, at which the process ends: all later ones fail too. None: never.
        after: Whether S3 still performs this operation.
        region: The region of the endpoints.
    """

    def __init__(
        self, s3: S3Model, kill_at: int | None = None, *, after: bool = False, region: str = "eu-west-3"
    ) -> None:
        super().__init__(region=region)
        self.s3, self.kill_at, self.after = s3, kill_at, after
        self.operations: list[str] = []
        self._one = threading.Lock()

    def client(self, service: str) -> Any:
        return SimpleNamespace(meta=SimpleNamespace(endpoint_url=f"https://{service}.{self.region}"))

    def send(self, call: Call) -> Any:
        with self._one:
            at = len(self.operations)
            self.operations.append(call.operation)
            if self.kill_at is not None and at >= self.kill_at:
                if at == self.kill_at and self.after:
                    self.s3.perform(call)
                raise Killed
            answer = self.s3.perform(call)
            return {**answer, "Body": io.BytesIO(answer["Body"])} if "Body" in answer else answer


class Doubles:
    """A container that doubles the numbers of its request. It fails while `failing` has the target model."""

    name = "doubles"

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.short: set[str] = set()
        self.sent: Counter[tuple[str | None, bytes]] = Counter()

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        self.sent[request.target_model, bytes(request.body)] += 1
        if request.target_model in self.failing:
            why = {"message": "?", "OriginalStatusCode": 400, "OriginalMessage": "not today"}
            return InvokeResponse(status=424, headers={"x-amzn-errortype": "ModelError"}, body=json.dumps(why).encode())
        values = [2 * float(line) for line in request.body.split()]
        if request.target_model in self.short:
            values.pop()
        return InvokeResponse(
            status=200, headers={"content-type": "application/json"}, body=json.dumps(values).encode()
        )

    def close(self) -> None:
        pass


class AsyncDoubles(Doubles):
    """The same for an event loop."""

    async def send(self, request: InvokeRequest, **times: float) -> InvokeResponse:  # type: ignore[override]
        return Doubles.send(self, request, **times)

    async def close(self) -> None:  # type: ignore[override]
        pass
