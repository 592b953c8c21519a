"""Whatever a download or a load ends with, the fleet hears of it: a request gets its error at once."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk.errors import LayoutError
from mme_sdk.fleet import State
from mme_sdk.local.hosting.container import Container
from mme_sdk.local.hosting.downloads import archives
from mme_sdk.local.hosting.downloads.objects import ObjectStore
from mme_sdk.local.hosting.instances import multi_model as multi
from mme_sdk.local.hosting.instances.shared import Shared
from tests.support.hosting.harness import Bench, error


class Odd(BaseException):
    """No Exception at all."""


ERRORS: list[Callable[[], BaseException]] = [
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: MemoryError(),
    lambda: OSError(errno.ENOSPC, "No space left on device"),
    lambda: KeyError("surprise"),
    lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    lambda: LayoutError("odd"),
    lambda: TimeoutError(),
    lambda: asyncio.CancelledError(),
    lambda: Odd("odd"),
]


def download(patch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
    async def failing(*_: Any, **__: Any) -> int:
        return fail()

    patch.setattr(ObjectStore, "download", failing)


def extraction(patch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
    patch.setattr(archives, "extract", lambda *_, **__: fail())


def threads(patch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
    real = Shared.offload

    async def failing(self: Shared, function: Any) -> Any:
        if "_unpack" in function.__code__.co_names:
            fail()
        return await real(self, function)

    patch.setattr(Shared, "offload", failing)


def arrival(patch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
    async def failing(*_: Any, **__: Any) -> int:
        return fail()

    patch.setattr(multi, "fetch", failing)


def load(patch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
    async def failing(*_: Any) -> Any:
        return fail()

    patch.setattr(Container, "load", failing)


@pytest.mark.parametrize("step", [download, extraction, threads, arrival, load])
def test_any_error_at_any_step_is_answered_and_forgotten(
    hosted: Callable[..., None], step: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/good.tar.gz")
        await bench.upload("models/bad.tar.gz")
        await bench.deploy()
        assert (await bench.invoke("good.tar.gz")).status == 200
        for make in ERRORS:
            with monkeypatch.context() as patch:
                happened: list[BaseException] = []

                def fail() -> Any:
                    happened.append(make())  # noqa: B023
                    raise happened[-1]  # noqa: B023

                step(patch, fail)
                answer = await bench.invoke("bad.tar.gz")
            assert happened
            status, code, message = error(answer)
            assert status in (400, 424), message
            assert code in ("ValidationError", "ModelError")
            states = bench.hosting.inspect()[0].fleet.instances["i-0001"].models
            assert "bad.tar.gz" not in states or states["bad.tar.gz"].state is State.ON_DISK
            assert (await bench.invoke("good.tar.gz")).status == 200
        assert (await bench.invoke("bad.tar.gz")).body == b"bad:hi"

    # What was injected is logged as an error where it is none of ours.
    logging.getLogger("mme_sdk.local").addFilter(_unexpected)
    try:
        # Far longer than any of this takes: a request that waits for its deadline fails the test by its 429.
        hosted(scenario, answer_limit=20.0)
    finally:
        logging.getLogger("mme_sdk.local").removeFilter(_unexpected)


def _unexpected(record: logging.LogRecord) -> bool:
    return "a background task failed" not in record.getMessage()


def test_a_failed_unload_leaves_room_for_other_models(
    hosted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        for name in "ab":
            await bench.upload(f"models/{name}.tar.gz", pad=1_000_000)
        await bench.deploy()
        assert (await bench.invoke("a.tar.gz")).status == 200
        with monkeypatch.context() as patch:

            async def failing(*_: Any) -> Any:
                raise RecursionError

            patch.setattr(Container, "unload", failing)
            assert (await bench.invoke("b.tar.gz")).body == b"b:hi"
        assert (await bench.invoke("a.tar.gz")).body == b"a:hi"

    logging.getLogger("mme_sdk.local").addFilter(_unexpected)
    try:
        hosted(scenario, memory_bytes=1_500_000, memory_per_model=0, images=_unlimited())
    finally:
        logging.getLogger("mme_sdk.local").removeFilter(_unexpected)


def _unlimited() -> dict[str, Any]:
    from tests.support.hosting.harness import UNLIMITED

    return {"python": UNLIMITED}


def test_a_download_that_took_too_long_leaves_nothing_behind(
    hosted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that unpacks ends before its folder is removed."""
    real = archives.extract
    ended: list[str] = []

    def slow(source: Any, directory: Any, **more: Any) -> Any:
        class Slow:
            name = "slow"

            def read(self, size: int = -1) -> bytes:
                while True:
                    source.read(0)

        try:
            return real(Slow(), directory, **more)  # type: ignore[arg-type]
        finally:
            ended.append(str(directory))

    async def scenario(bench: Bench) -> None:
        await bench.upload("models/m.tar.gz")
        await bench.deploy()
        monkeypatch.setattr(archives, "extract", slow)
        while not ended:  # a busy machine may take all of the time for the download
            _, _, message = error(await bench.invoke("m.tar.gz"))
            assert "took more than 0.3 seconds" in message
        assert len(ended) == 1
        monkeypatch.setattr(archives, "extract", real)
        assert not list((bench.folder / "hosting").rglob("*.tar.gz"))

    hosted(scenario, load_limit=0.3)
