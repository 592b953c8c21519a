"""An error of a public call has a short traceback: the caller's line, one line of the package, and the message."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import EndpointSpec, MMEClient, ModelVersion, Reply, Timeouts
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.artifacts import inspect as inspect_archive
from mme_sdk.aws import Aws, Call
from mme_sdk.aws import session as aws_session
from mme_sdk.endpoints import AsyncEndpoints, Endpoints, Serverless
from mme_sdk.errors import AccessDeniedError, InvalidInputError, MMEError, UndecodableReplyError
from mme_sdk.registry import AsyncModelRegistry, ModelRegistry
from mme_sdk.runtime import AsyncRuntimeInvoker, ItemResult, RuntimeInvoker
from tests.support.endpoints.helpers import multi
from tests.support.runtime.scripted import AsyncScript, FakeAsyncClock, FakeClock, Middle, SyncScript

LIMIT = 12  # lines, those of the caller's function included
ABSENT = {"status": 404, "code": "ModelNotFoundException", "message": "no such model", "forever": True}


# As if it stood in a file of the package, so that its frames are not frames of the caller.
_REFUSE = """
def _refuse(operation):
    try:
        {}["ClientError"]
    except KeyError as error:
        raise AccessDeniedError(f"{operation} is not allowed", hint="add it to the role") from error
"""
_NAMES: dict[str, Any] = {"AccessDeniedError": AccessDeniedError}
exec(compile(_REFUSE, aws_session.__file__, "exec"), _NAMES)


class Denied(Aws):
    """Access to AWS that refuses every call, as botocore does: with a cause of its own."""

    def send(self, call: Call) -> Any:
        _NAMES["_refuse"](call.operation)


def denied() -> Denied:
    return Denied(region="eu-west-1")


def endpoints() -> Endpoints:
    aws, clock = denied(), FakeClock()
    invoker = RuntimeInvoker(aws, SyncScript(clock, [ABSENT]), clock=clock, rng=Middle(), wait=clock.wait)
    return Endpoints(aws, lambda: invoker)


def async_endpoints() -> AsyncEndpoints:
    aws, clock = denied(), FakeAsyncClock()
    invoker = AsyncRuntimeInvoker(aws, AsyncScript(clock, [ABSENT]), clock=clock, rng=Middle(), wait=clock.wait)
    return AsyncEndpoints(aws, lambda: invoker)


def models() -> ModelRegistry:
    return ModelRegistry(denied(), "s3://a/b/")


def async_models() -> AsyncModelRegistry:
    return AsyncModelRegistry(denied(), "s3://a/b/")


def undecodable() -> Reply[Any]:
    return Reply(body=b"{", content_type="application/json")


SYNC: dict[str, Callable[[], Any]] = {
    "invoke": lambda: endpoints().handle("scoring").invoke(1, model="a.tar.gz"),
    "invoke, an unknown payload": lambda: endpoints().handle("scoring").invoke(object(), model="a.tar.gz"),
    "invoke, an alias": lambda: endpoints().handle("scoring").invoke(1, model="a@live"),
    "invoke_many": lambda: endpoints().handle("scoring").invoke_many({"a": 1}),
    "warm": lambda: endpoints().handle("scoring").warm("a"),
    "create": lambda: endpoints().create(multi("scoring")),
    "create, no spec": lambda: endpoints().create("scoring"),  # type: ignore[arg-type]
    "apply": lambda: endpoints().apply(multi("scoring")),
    "describe": lambda: endpoints().describe("scoring"),
    "wait": lambda: endpoints().handle("scoring").wait(5),
    "collection.wait": lambda: endpoints().wait("scoring"),
    "scale": lambda: endpoints().handle("scoring").scale(2),
    "delete": lambda: endpoints().delete("scoring"),
    "list": lambda: endpoints().list(),
    "handle": lambda: endpoints().handle("no name"),
    "register": lambda: models().register("fraud", Path(__file__)),
    "register, no source": lambda: models().register("fraud", "no/such/file"),
    "register_many": lambda: models().register_many({"fraud": Path(__file__)}),
    "models.list": lambda: list(models().list()),
    "models.get": lambda: models().get("fraud", "v1"),
    "models.delete": lambda: models().delete("fraud", "v1"),
    "alias": lambda: models().alias("fraud", "live", "v1"),
    "resolve": lambda: models().resolve("fraud@live"),
    "spec": lambda: multi("scoring", instance_count=-1),
    "spec, a variant": lambda: Serverless(memory_mb=1),
    "from_yaml": lambda: EndpointSpec.from_yaml("endpoint:\n  nam: x\n"),
    "client": lambda: MMEClient(region=3),  # type: ignore[arg-type]
    "timeouts": lambda: Timeouts(connect=-1),
    "reply.value": lambda: undecodable().value,
    "reply.numpy": lambda: undecodable().numpy(),
    "inspect": lambda: inspect_archive(Path(__file__)),
    "registry": lambda: ModelRegistry(denied(), "no address"),
}
ASYNC: dict[str, Callable[[], Awaitable[Any]]] = {
    "invoke": lambda: async_endpoints().handle("scoring").invoke(1, model="a.tar.gz"),
    "invoke, an alias": lambda: async_endpoints().handle("scoring").invoke(1, model="a@live"),
    "warm": lambda: async_endpoints().handle("scoring").warm("a"),
    "create": lambda: async_endpoints().create(multi("scoring")),
    "apply": lambda: async_endpoints().apply(multi("scoring")),
    "wait": lambda: async_endpoints().handle("scoring").wait(5),
    "scale": lambda: async_endpoints().handle("scoring").scale(2),
    "delete": lambda: async_endpoints().delete("scoring"),
    "list": lambda: async_endpoints().list(),
    "register": lambda: async_models().register("fraud", Path(__file__)),
    "register_many": lambda: async_models().register_many({"fraud": Path(__file__)}),
    "models.get": lambda: async_models().get("fraud", "v1"),
    "alias": lambda: async_models().alias("fraud", "live", "v1"),
    "resolve": lambda: async_models().resolve("fraud@live"),
}


def check(error: MMEError) -> None:
    """Check the text that Python would print for an error that a caller does not catch."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_next.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next  # a caller has one line, and this test has several
    text = "".join(traceback.format_exception(error.with_traceback(frames))).rstrip("\n")
    lines = text.splitlines()
    assert len(lines) <= LIMIT, text
    message = str(error).splitlines()
    assert lines[-len(message) :] == [f"{type(error).__module__}.{type(error).__name__}: {message[0]}", *message[1:]]
    assert "KeyError" not in text
    assert text.count("mme_sdk/") == 1, text


@pytest.mark.parametrize("name", SYNC)
def test_the_text_of_an_error_is_short(name: str) -> None:
    call = SYNC[name]
    with pytest.raises(MMEError) as caught:
        call()
    check(caught.value)


@pytest.mark.parametrize("name", ASYNC)
def test_the_text_of_an_error_is_short_on_an_event_loop(name: str) -> None:
    caught: list[MMEError] = []

    async def main() -> None:
        try:
            await ASYNC[name]()
        except MMEError as error:
            caught.append(error)

    asyncio.run(main())
    check(caught[0])


def test_the_frames_of_the_caller_stay() -> None:
    def choose(_: object) -> str:
        raise InvalidInputError("the caller's own")

    with pytest.raises(InvalidInputError) as caught:
        endpoints().handle("scoring").warm(map(choose, [1]))  # type: ignore[arg-type]
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "choose"
    assert len(names) == 3


def test_what_the_caller_was_handling_stays_the_context() -> None:
    def act() -> None:
        try:
            {}["row"]
        except KeyError:
            endpoints().describe("scoring")

    with pytest.raises(AccessDeniedError) as caught:
        act()
    text = "".join(traceback.format_exception(caught.value))
    assert "KeyError: 'row'" in text
    assert "ClientError" not in text


def test_a_cause_in_the_callers_code_stays() -> None:
    class Source:
        def read(self, _: int = -1) -> bytes:
            raise OSError("the caller's disk")

    with pytest.raises(MMEError) as caught:
        inspect_archive(Source())  # type: ignore[arg-type]
    text = "".join(traceback.format_exception(caught.value))
    assert "OSError: the caller's disk" in text
    assert text.count("mme_sdk/") == 1


def test_the_error_of_an_item_is_short_too() -> None:
    results = list(endpoints().handle("scoring").invoke_many([1], model_of=lambda _: "a.tar.gz"))
    with pytest.raises(MMEError) as caught:
        results[0].value  # noqa: B018
    check(caught.value)
    assert isinstance(results[0], ItemResult)


def test_debug_logging_keeps_tracebacks_complete() -> None:
    log = logging.getLogger("mme_sdk")
    before = log.level
    log.setLevel(logging.DEBUG)
    try:
        with pytest.raises(AccessDeniedError) as caught:
            endpoints().describe("scoring")
    finally:
        log.setLevel(before)
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 5


def test_other_exceptions_are_left_as_they_are() -> None:
    @short_tracebacks
    def fail() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault") as caught:
        fail()
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 3


def test_generators_and_properties_are_decorated() -> None:
    @short_tracebacks
    class Kind:
        @property
        def value(self) -> int:
            """The value."""
            raise UndecodableReplyError("no value", body=b"", content_type="")

        def rows(self) -> Iterator[int]:
            yield 1

        @staticmethod
        def two() -> int:
            return 2

    assert Kind.value.__doc__ == "The value."
    assert (list(Kind().rows()), Kind.two()) == ([1], 2)
    with pytest.raises(UndecodableReplyError):
        Kind().value  # noqa: B018
    assert ModelVersion.__init__ is not None
