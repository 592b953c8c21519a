"""Streamed answers of single-model endpoints."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from mme_sdk.local.hosting_interface import HostingError, Invocation, InvocationResponse
from tests.support.gates import PASS_GATE, Gate
from tests.support.hosting.harness import Bench, error

Hosted = Callable[..., None]
STREAM = (
    PASS_GATE
    + """
import os
def model_fn(d): return None
def input_fn(data, content_type): return str(data, 'utf-8') if isinstance(data, bytes) else data
def predict_fn(data, model):
    yield "first,"
    if data.startswith("wait:"):
        pass_gate(data[5:])
    if data == "die":
        os.kill(os.getpid(), 9)
    yield "second"
"""
)


async def _stream(bench: Bench, body: str) -> InvocationResponse:
    return await bench.hosting.invoke(
        Invocation(endpoint="e", body=body.encode(), headers={"accept": "text/x-parts"}, request_id="r", stream=True)
    )


def test_chunks_come_as_they_are_made_and_the_instance_is_busy_until_the_end(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("one.tar.gz", script=STREAM)
        await bench.deploy(mode="SingleModel", model_data_url=f"s3://{bench.bucket}/one.tar.gz")
        answer = await _stream(bench, f"wait:{gate}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/x-parts"
        assert answer.chunks is not None
        assert await anext(answer.chunks) == b"first,"
        (instance,) = bench.hosting.variant("e", "AllTraffic").instances.values()
        assert instance.outstanding == 1
        gate.open()
        assert [chunk async for chunk in answer.chunks] == [b"second"]
        assert instance.outstanding == 0
        # Who gives up half-way frees the instance too.
        answer = await _stream(bench, "x")
        assert answer.chunks is not None
        await anext(answer.chunks)
        await answer.chunks.aclose()
        assert instance.outstanding == 0
        answer = await _stream(bench, "die")
        assert answer.chunks is not None
        with pytest.raises(HostingError, match="was interrupted"):
            assert [chunk async for chunk in answer.chunks]
        assert instance.outstanding == 0
        assert (await bench.invoke(None, "x")).body == b"first,second"

    hosted(scenario, isolate=False)


def test_a_stream_that_stands_still_is_given_up(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("one.tar.gz", script=STREAM)
        await bench.deploy(mode="SingleModel", model_data_url=f"s3://{bench.bucket}/one.tar.gz")
        answer = await _stream(bench, f"wait:{gate}")
        assert answer.chunks is not None
        with pytest.raises(HostingError, match="sent no chunk for"):
            assert [chunk async for chunk in answer.chunks]
        gate.open()

    hosted(scenario, stream_limit=0.2, isolate=False)


def test_a_multi_model_endpoint_does_not_stream(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.deploy()
        answer = await _stream(bench, "x")
        assert "does not support response streaming" in error(attrs.evolve(answer, chunks=None))[2]

    hosted(scenario)
