"""Test BodyReader: the limit on memory, the order of waiting requests, and the time limit."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from mme_sdk.local.http.request_bodies import BodyReader
from mme_sdk.local.wire.errors import ApiError


class Content:
    """A body whose chunks arrive when the test sends them."""

    def __init__(self, *chunks: bytes, end: bool = True) -> None:
        self.queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        for chunk in chunks:
            self.queue.put_nowait(chunk)
        if end:
            self.queue.put_nowait(b"")

    def is_eof(self) -> bool:
        return False

    async def readany(self) -> bytes:
        chunk = await self.queue.get()
        if isinstance(chunk, Exception):
            raise chunk
        return chunk


class Request:
    def __init__(self, content: Content) -> None:
        self.content = content
        self.written: list[bytes] = []
        self.writer = self

    async def write(self, data: bytes) -> None:
        self.written.append(data)


def length(size: int) -> dict[str, str]:
    return {"content-length": str(size)}


def test_a_body_comes_whole_with_its_digest():
    async def run():
        bodies = BodyReader(capacity=100)
        for chunks in ([b"abc"], [b"a", b"b", b"c"], []):
            whole = b"".join(chunks)
            async with bodies.read(Request(Content(*chunks)), {"transfer-encoding": "chunked"}, 50) as body:
                assert (body.content, body.digest) == (whole, hashlib.sha256(whole).hexdigest())
                assert bodies.in_flight == len(whole)
            assert bodies.in_flight == 0

    asyncio.run(run())


def test_what_does_not_fit_waits_in_order_and_is_not_read_meanwhile():
    async def run():
        bodies, order, gate = BodyReader(capacity=100), [], asyncio.Event()

        async def one(name: str, size: int) -> None:
            async with bodies.read(Request(Content(bytes(size))), length(size), 1000):
                order.append(name)
                assert bodies.in_flight <= 100
                await gate.wait()

        tasks = [asyncio.create_task(one(name, size)) for name, size in (("a", 60), ("b", 60), ("c", 10), ("d", 1000))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == ["a"]  # c would fit, but b waits longer
        assert bodies.in_flight == 60
        gate.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c", "d"]  # d is larger than all the memory: it is read alone
        assert bodies.in_flight == 0

    asyncio.run(run())


def test_who_waits_too_long_gets_503_and_who_leaves_makes_way():
    async def run():
        bodies = BodyReader(capacity=100, queue_timeout=0.01)
        async with bodies.read(Request(Content(bytes(90))), length(90), 100):
            with pytest.raises(ApiError) as caught:
                async with bodies.read(Request(Content(bytes(50))), length(50), 100):
                    pytest.fail("there is no memory for it")
            assert caught.value.status == 503
            bodies._patience = 60
            large = asyncio.create_task(hold(bodies, 50))
            small = asyncio.create_task(hold(bodies, 5))
            await asyncio.sleep(0)
            assert not small.done()
            large.cancel()
            await small
        assert bodies.in_flight == 0

    asyncio.run(run())


async def hold(bodies: BodyReader, size: int) -> None:
    async with bodies.read(Request(Content(bytes(size))), length(size), 1000):
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_body_that_drips_is_408(size):
    async def run():
        bodies = BodyReader(base_timeout=0.02, min_bytes_per_second=1e9)
        with pytest.raises(ApiError) as caught:
            async with bodies.read(Request(Content(b"x", end=False)), length(size), 100_000):
                pytest.fail("it has not arrived")
        assert (caught.value.code, caught.value.status) == ("RequestTimeout", 408)
        assert bodies.in_flight == 0

    asyncio.run(run())


def test_a_large_body_may_take_longer_than_a_small_one():
    bodies = BodyReader()
    assert bodies._base_timeout + 25 * 2**20 / bodies._min_bytes_per_second > 300


@pytest.mark.parametrize(
    ("error", "expected"), [(web.RequestPayloadError("bad chunk"), ApiError), (ConnectionResetError(), ConnectionError)]
)
def test_a_body_that_breaks_off_gives_its_memory_back(error, expected):
    async def run():
        bodies, content = BodyReader(), Content(b"x", end=False)
        content.queue.put_nowait(error)
        with pytest.raises(expected):
            async with bodies.read(Request(content), length(10), 100):
                pytest.fail("it broke off")
        assert bodies.in_flight == 0

    asyncio.run(run())


def test_a_body_longer_than_its_limit_is_not_read_to_its_end():
    async def run():
        bodies, content = BodyReader(), Content(*[bytes(10)] * 20)
        with pytest.raises(ApiError) as caught:
            async with bodies.read(Request(content), {"transfer-encoding": "chunked"}, 100):
                pytest.fail("it is too long")
        assert caught.value.status == 413
        assert content.queue.qsize() == 10  # nine chunks of ten bytes, and the end

    asyncio.run(run())


@pytest.mark.parametrize("given", ["", "x", "-1", "+1", "1e3", "\u0661", "9" * 19, "9" * 5000])
def test_a_length_that_is_none_is_400(given):
    async def run():
        with pytest.raises(ApiError) as caught:
            async with BodyReader().read(Request(Content()), {"content-length": given}, 100):
                pytest.fail("it has no length")
        assert caught.value.status in (400, 413)

    asyncio.run(run())


@given(
    st.lists(
        st.tuples(st.integers(0, 150), st.sampled_from(["ends", "fails", "is cancelled", "breaks off"])), max_size=12
    )
)
def test_whatever_happens_the_memory_is_given_back(requests):
    async def run():
        bodies = BodyReader(capacity=100)

        async def one(size: int, how: str) -> None:
            content = Content(bytes(size // 2), end=how != "breaks off")
            if how == "breaks off":
                content.queue.put_nowait(ConnectionResetError())
            with contextlib.suppress(ConnectionError, RuntimeError):
                async with bodies.read(Request(content), length(size), 200):
                    assert bodies.in_flight <= 100
                    await asyncio.sleep(0)
                    if how == "fails":
                        raise RuntimeError

        tasks = [asyncio.create_task(one(*request)) for request in requests]
        for task, (_, how) in zip(tasks, requests, strict=True):
            await asyncio.sleep(0)
            if how == "is cancelled":
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert bodies.in_flight == 0
        assert not bodies._waiting

    asyncio.run(run())
