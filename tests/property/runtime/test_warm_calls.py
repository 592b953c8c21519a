"""A call that takes the short way ends as its flow would: the same reply or error, requests, events and memory."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.aws import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import InvalidInputError, MMEError, ModelNotFoundError
from mme_sdk.runtime import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.types.model import ModelVersion
from tests.support.runtime.scripted import AsyncScript, FakeAsyncClock, FakeClock, Middle, SyncScript

MODELS = ("fraud/v1.tar.gz", "fraud/v2.tar.gz", "other", "folder/x@y.tar.gz", "fraud@live", "/bad", None)
PAYLOADS = (
    b"{}",
    b"",
    b"x" * 2000,
    "text",
    {"a": 1},
    {"a": float("nan")},
    [1, 2],
    bytearray(b"12"),
    np.arange(6.0).reshape(3, 2),
    np.arange(3.0),
    object(),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.sampled_from(["application/json", "text/csv", "bad type\n"]),
        "accept": st.sampled_from(["application/json", "text/csv"]),
        "deadline": st.sampled_from([0.5, 5, 60.0, True, -1.0, float("nan"), "5"]),
        "response_type": st.sampled_from([bytes, str, dict, list[float], np.ndarray, 3]),
        "target_variant": st.sampled_from(["v1", "not valid"]),
        "inference_component": st.just("component"),
        "inference_id": st.sampled_from(["id-1", "é"]),
        "custom_attributes": st.just("a=b"),
        "session_id": st.just("NEW_SESSION"),
        "idempotent": st.sampled_from([True, False, 1, 0]),
        "sticky": st.just("customer"),
        "prefix": st.just("s3://bucket/models/"),
    },
)
NOT_READY = {"status": 429, "code": "ModelNotReadyException", "message": "Model is not ready."}
ROWS = st.sampled_from(
    [
        {"took": 0.004},
        {"took": 0.05},
        {"took": 3.0},
        {"body": "[1, 2, 3]"},
        {"body": "[1, 2]"},
        {"body": "not json"},
        {"body": "1,2,3", "content_type": "text/csv"},
        {"content_type": "application/special"},
        NOT_READY,
        NOT_READY | {"took": 60.0},
        {"status": 429, "code": "ThrottlingException", "message": "Rate exceeded"},
        {"status": 400, "code": "ThrottlingException", "message": "Rate exceeded"},
        {"status": 500, "code": "InternalFailure"},
        {"status": 503, "code": "ServiceUnavailable"},
        {"status": 424, "code": "ModelError", "original_status": 400, "original_message": "bad input"},
        {"status": 424, "code": "ModelError", "original_status": 500, "original_message": "model failed"},
        {"status": 400, "code": "ValidationError", "message": "no such thing"},
        {"status": 204, "raw": ""},
        {"content_encoding": "gzip"},
        {"status": 301, "raw": "moved"},
        {"meet": "drop"},
        {"meet": "silence"},
        {"meet": "refused"},
    ]
)
CALLS = st.lists(
    st.tuples(
        st.just(0) | st.sampled_from(range(len(MODELS))),
        st.just(0) | st.sampled_from(range(len(PAYLOADS))),
        st.just({}) | OPTIONS,
        st.sampled_from([0.0, 0.5, 700.0]),
    ),
    min_size=2,
    max_size=8,
)


class Special:
    """A codec that decodes its media type."""

    media_type = "application/special"

    def accepts(self, data: Any) -> bool:
        return False

    def encode(self, data: Any) -> tuple[bytes, str]:
        return b"special", self.media_type

    def decode(self, body: bytes, content_type: str) -> Any:
        return "special", body


class Flows(RuntimeInvoker):
    """An invoker whose calls are all flows."""

    def _prepare(self, *_: Any) -> None:
        return None


class AsyncFlows(AsyncRuntimeInvoker):
    """The same on the event loop."""

    def _prepare(self, *_: Any) -> None:
        return None


def seen(reply: Any) -> dict[str, Any]:
    """Return everything that a caller can see of a reply or an error, without ids that are random."""
    if isinstance(reply, MMEError):
        facts = {name: value for name, value in vars(reply).items() if name not in ("began", "exception")}
        return {"error": type(reply).__name__, "text": str(reply), "cause": repr(reply.__cause__), **facts}
    fields = {one.name: repr(getattr(reply, one.name)) for one in attrs.fields(type(reply))}
    assert repr(pickle.loads(pickle.dumps(reply))) == repr(reply)
    return {**fields, "shown": repr(reply), "attempts": reply.attempts, "id": reply.request_id}


def known(memory: Memory) -> Any:
    endpoint = memory.find("scoring")
    if endpoint is None:
        return None
    models = {
        model: {name: repr(getattr(record, name)) for name in type(record).__slots__}
        for model, record in endpoint._models.items()
    }
    return (
        models,
        endpoint.latency,
        endpoint.warm_for,
        endpoint.warm_share,
        endpoint.throttles.spent,
        endpoint.faults.spent,
        endpoint.breaker.open_until,
        dict(endpoint.names),
    )


def play(kind: Any, calls: Any, rows: Any) -> list[Any]:
    """Make the calls with one kind of invoker, and return all that it did."""
    is_async = issubclass(kind, AsyncRuntimeInvoker)
    clock = FakeAsyncClock() if is_async else FakeClock()
    script = (AsyncScript if is_async else SyncScript)(clock, [*rows, {"took": 0.02, "forever": True}])
    memory, events, found = Memory(), [], []
    invoker = kind(
        Aws(region="eu-west-1"),
        script,
        timeouts=Timeouts(deadline=100.0),
        retry=RetryPolicy(),
        clock=clock,
        rng=Middle(),
        codecs=Codecs([Special()]),
        memory=memory,
        hooks=[events.append],
        payload_limit=1500,
        wait=clock.wait,
    )

    async def make_calls() -> None:
        for model, payload, options, pause in calls:
            clock.now += pause
            try:
                reply = invoker.invoke("scoring", PAYLOADS[payload], MODELS[model], InvokeOptions(**options))
                found.append(seen(await reply if is_async else reply))
            except MMEError as error:
                found.append(seen(error))
            found.append(known(memory))

    asyncio.run(make_calls())
    sent = [repr(attrs.evolve(one, invocation_id=None)) + repr(one.body) for one in script.sent]
    return [*found, sent, [repr(event) for event in events], clock.now, clock.slept]


@pytest.mark.parametrize(("short", "flows"), [(RuntimeInvoker, Flows), (AsyncRuntimeInvoker, AsyncFlows)])
@given(calls=CALLS, rows=st.lists(ROWS, max_size=8))
@settings(max_examples=25, deadline=None)
def test_both_ways_do_the_same(short: Any, flows: Any, calls: Any, rows: Any) -> None:
    assert play(short, calls, rows) == play(flows, calls, rows)


@pytest.mark.slow
@pytest.mark.parametrize(("short", "flows"), [(RuntimeInvoker, Flows), (AsyncRuntimeInvoker, AsyncFlows)])
@given(calls=CALLS, rows=st.lists(ROWS, max_size=8))
@settings(max_examples=3000, deadline=None)
def test_both_ways_do_the_same_for_longer(short: Any, flows: Any, calls: Any, rows: Any) -> None:
    assert play(short, calls, rows) == play(flows, calls, rows)


def test_options_that_are_equal_but_of_another_type_are_refused() -> None:
    script = SyncScript(FakeClock(), [{"forever": True}])
    invoker = RuntimeInvoker(Aws(region="eu-west-1"), script, clock=script.clock)
    for _ in range(3):
        invoker.invoke("scoring", b"", MODELS[0], InvokeOptions(idempotent=True, deadline=1.0))
    for options in (InvokeOptions(idempotent=1, deadline=1.0), InvokeOptions(idempotent=True, deadline=True)):  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            invoker.invoke("scoring", b"", MODELS[0], options)


def test_a_key_that_looks_like_an_alias_is_resolved_again_in_each_call() -> None:
    class Store:
        asked = 0

        def resolve(self, reference: str, *, key: str | None = None) -> ModelVersion:
            self.asked += 1
            return ModelVersion(
                name="fraud", version="v2", target_model="fraud/v2.tar.gz", uri="s3://bucket/models/fraud/v2.tar.gz"
            )

    script, store = SyncScript(FakeClock(), [{"forever": True}]), Store()
    invoker = RuntimeInvoker(Aws(region="eu-west-1"), script, clock=script.clock, models=lambda _: store)
    known = invoker.memory.endpoint("scoring")
    known.prefix, known.model("folder/x@y").last_answer = "s3://bucket/models/", script.clock.now
    for _ in range(2):
        invoker.invoke("scoring", b"", "folder/x@y")
    assert store.asked == 2


def test_a_registry_in_use_is_asked_without_a_call_and_a_deletion_is_noticed() -> None:
    class Store:
        stored, resolved = True, 0

        def is_stored(self, target: str) -> bool:
            return self.stored

        def resolve(self, reference: str, *, key: str | None = None) -> str:
            self.resolved += 1
            if not self.stored:
                raise ModelNotFoundError(f"{reference} was deleted", model=reference)
            return reference

    script, store, prefix = SyncScript(FakeClock(), [{"forever": True}]), Store(), "s3://bucket/models/"
    invoker = RuntimeInvoker(Aws(region="eu-west-1"), script, clock=script.clock, stores={prefix: store})
    for _ in range(3):
        invoker.invoke("scoring", b"", MODELS[0], InvokeOptions(prefix=prefix))
    assert store.resolved == 1, "only the first call, which is a flow"
    store.stored = False
    with pytest.raises(ModelNotFoundError):
        invoker.invoke("scoring", b"", MODELS[0], InvokeOptions(prefix=prefix))
    assert len(script.sent) == 3
