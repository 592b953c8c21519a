"""Handles: what they pass on to the invoker, and that they are cheap, safe to share and to copy."""

from __future__ import annotations

import asyncio
import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mme_sdk.endpoints import AsyncEndpoints, Endpoints
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime import InvokeOptions
from mme_sdk.types import Reply
from tests.support.endpoints.helpers import NoInvoker, multi


class Recording:
    """Remembers how it was called; what comes back is what was sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self) -> Recording:
        return self

    def invoke(self, *args: Any, **options: Any) -> Any:
        self.calls.append((args, options))
        return Reply(body=b"", value=args[1])

    invoke_many = invoke_frame = warm = keep_warm = invoke


class AsyncRecording(Recording):
    async def invoke(self, *args: Any, **options: Any) -> Any:
        return Recording.invoke(self, *args, **options)

    invoke_frame = warm = keep_warm = invoke


@pytest.mark.parametrize("shell", ["sync", "async"])
def test_what_goes_to_the_invoker(way, shell):
    recording = Recording() if shell == "sync" else AsyncRecording()
    collection: Any = (Endpoints if shell == "sync" else AsyncEndpoints)(way, lambda: recording)
    handle = collection.handle("scoring")

    async def use() -> None:
        for call in (
            lambda: handle.invoke(1, model="a.tar.gz", deadline=3, response_type=int),
            lambda: handle.invoke_many([1], checkpoint="x"),
            lambda: handle.warm(["a.tar.gz"], expected={"a": 2.0}),
            lambda: handle.invoke_frame("rows", model_of="tenant", rows_per_call=7),
            lambda: handle.keep_warm(["a.tar.gz"], rates={"a.tar.gz": 2.0}, sizes={"a.tar.gz": 1}, capacity=9),
        ):
            result = call()
            if asyncio.iscoroutine(result):
                await result

    asyncio.run(use())
    (invoke, many, warm, frame, kept) = recording.calls
    assert invoke[0] == ("scoring", 1, "a.tar.gz", InvokeOptions(deadline=3, response_type=int, prefix=None))
    assert (many[0], many[1]["checkpoint"]) == (("scoring", [1], InvokeOptions()), "x")
    json = InvokeOptions(content_type="application/json")
    assert (warm[0], warm[1]["expected"]) == (("scoring", ["a.tar.gz"], json), {"a": 2.0})
    assert frame[0] == ("scoring", "rows", InvokeOptions(content_type="text/csv"))
    assert {"model_of": "tenant", "rows_per_call": 7}.items() <= frame[1].items()
    assert kept[0] == ("scoring", ["a.tar.gz"], json)
    wanted = {"rates": {"a.tar.gz": 2.0}, "sizes": {"a.tar.gz": 1}, "capacity": 9, "bound_by_slo": False}
    assert wanted.items() <= kept[1].items()


def test_a_handle_knows_its_prefix_once_it_has_seen_the_endpoint(aws, name):
    collection = Endpoints(aws, Recording)
    handle = collection.create(multi(name), wait=False)
    assert handle.prefix == "s3://ml-models/prod/"
    assert collection.handle(name).prefix is None
    handle.wait(60)
    handle.invoke(1, model="a@live")
    assert collection.invoker.calls[0][0][-1].prefix == "s3://ml-models/prod/"
    assert collection.get(name).prefix == "s3://ml-models/prod/"


def test_a_handle_calls_nothing_and_refuses_impossible_names(way):
    collection = Endpoints(way, NoInvoker)
    handle = collection.handle("scoring")
    assert repr(copy.copy(handle)) == repr(handle)
    with pytest.raises(InvalidInputError, match="name"):
        collection.handle("a b")
    with pytest.raises(InvalidInputError, match="describes endpoint other, and this handle is for endpoint scoring"):
        handle.update(multi("other"))


def test_one_handle_serves_many_threads(aws, name):
    handle = Endpoints(aws, NoInvoker).apply(multi(name), timeout=60)
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: handle.describe().status, range(24)))
    assert seen == ["InService"] * 24
