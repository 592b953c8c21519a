"""Flows: the synchronous and the asynchronous interpreter behave the same."""

import asyncio
import threading

import pytest

from mme_sdk._cancellation import CleanUp
from mme_sdk._effects import Call, Do, Sleep, Together, drive, drive_async


class Sync:
    def __init__(self):
        self.calls, self.sleeps = [], []

    def run(self, flow):
        return drive(flow, call=self._call, sleep=self.sleeps.append, cleanup=CleanUp(5.0))

    def _call(self, call):
        self.calls.append(call.operation)
        if call.operation == "explode":
            raise LookupError("explode")
        return {"answer": call.operation}


class Async(Sync):
    def run(self, flow):
        async def call(effect):
            return self._call(effect)

        async def sleep(seconds):
            self.sleeps.append(seconds)

        return asyncio.run(
            drive_async(flow, call=call, sleep=sleep, offload=lambda function: asyncio.to_thread(function))
        )


@pytest.fixture(params=[Sync, Async])
def driver(request):
    return request.param()


def ask(operation):
    return (yield Call(service="sagemaker", operation=operation))


def test_answers_come_back_and_the_result_is_returned(driver):
    def flow():
        first = yield Call(service="sagemaker", operation="one")
        yield Sleep(2.5)
        second = yield Do(lambda: threading.current_thread().name)
        return first["answer"], bool(second)

    assert driver.run(flow()) == ("one", True)
    assert (driver.calls, driver.sleeps) == (["one"], [2.5])


def test_a_failure_is_raised_inside_the_flow_so_that_it_can_clean_up(driver):
    def flow():
        try:
            yield Call(service="sagemaker", operation="explode")
        except LookupError:
            yield Call(service="sagemaker", operation="cleanup")
            raise

    with pytest.raises(LookupError):
        driver.run(flow())
    assert driver.calls == ["explode", "cleanup"]


def test_together_keeps_order_and_collects_failures(driver):
    def flow():
        return (yield Together([ask("a"), ask("explode"), ask("c")], width=2))

    a, failure, c = driver.run(flow())
    assert (a["answer"], c["answer"]) == ("a", "c")
    assert isinstance(failure, LookupError)


def test_together_runs_no_more_at_a_time_than_its_width(driver):
    lock, running, peak = threading.Lock(), 0, 0
    barrier = threading.Barrier(3, timeout=5)

    def work():
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        barrier.wait()
        with lock:
            running -= 1

    def one():
        yield Do(work)

    def flow():
        return (yield Together([one() for _ in range(6)], width=3))

    assert driver.run(flow()) == [None] * 6
    assert peak == 3


def test_together_of_nothing_is_nothing(driver):
    def flow():
        return (yield Together([]))

    assert driver.run(flow()) == []


def test_cancelling_reaches_the_flow():
    cleaned = []

    def flow():
        try:
            yield Sleep(3600)
        finally:
            cleaned.append(True)

    async def main():
        async def call(effect):
            raise AssertionError

        task = asyncio.ensure_future(drive_async(flow(), call=call, sleep=asyncio.sleep, offload=asyncio.to_thread))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned == [True]
