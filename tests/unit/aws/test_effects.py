"""Both interpreters run a flow in the same way."""

import asyncio
import threading
import time
from io import BytesIO

import attrs
import pytest

from mme_sdk._flows import workers
from mme_sdk._flows.cancellation import Cancelled, CancelScope, CleanUp
from mme_sdk._flows.effects import AsyncInterpreter, Call, Do, Effect, Interpreter, Kept, Sleep, Together


class Sync:
    def __init__(self):
        self.calls, self.sleeps = [], []

    def run(self, flow):
        return self.interpreter().run(flow)

    def interpreter(self):
        handlers = {Call: self._call, Sleep: lambda effect: self.sleeps.append(effect.seconds)}
        return Interpreter(handlers | {Do: lambda effect: effect.function()})

    def _call(self, call):
        self.calls.append(call.operation)
        if call.operation == "explode":
            raise LookupError("explode")
        return {"answer": call.operation}


class Async(Sync):
    def run(self, flow):
        return asyncio.run(self.interpreter().run(flow))

    def interpreter(self):
        async def call(effect):
            return self._call(effect)

        async def sleep(effect):
            self.sleeps.append(effect.seconds)

        return AsyncInterpreter({Call: call, Sleep: sleep, Do: lambda effect: asyncio.to_thread(effect.function)})


@pytest.fixture(params=[Sync, Async])
def runner(request):
    return request.param()


def ask(operation):
    return (yield Call(service="sagemaker", operation=operation))


def test_answers_come_back_and_the_result_is_returned(runner):
    def flow():
        first = yield Call(service="sagemaker", operation="one")
        yield Sleep(2.5)
        second = yield Do(lambda: threading.current_thread().name)
        return first["answer"], bool(second)

    assert runner.run(flow()) == ("one", True)
    assert (runner.calls, runner.sleeps) == (["one"], [2.5])


def test_a_failure_is_raised_inside_the_flow_so_that_it_can_clean_up(runner):
    def flow():
        try:
            yield Call(service="sagemaker", operation="explode")
        except LookupError:
            yield Call(service="sagemaker", operation="cleanup")
            raise

    with pytest.raises(LookupError):
        runner.run(flow())
    assert runner.calls == ["explode", "cleanup"]


def test_together_keeps_order_and_collects_failures(runner):
    def flow():
        return (yield Together([ask("a"), ask("explode"), ask("c")], width=2))

    a, failure, c = runner.run(flow())
    assert (a["answer"], c["answer"]) == ("a", "c")
    assert isinstance(failure, LookupError)


def test_together_runs_no_more_at_a_time_than_its_width(runner):
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

    assert runner.run(flow()) == [None] * 6
    assert peak == 3


def test_together_of_nothing_is_nothing(runner):
    def flow():
        return (yield Together([]))

    assert runner.run(flow()) == []


def test_cancelling_reaches_the_flow():
    cleaned = []

    def flow():
        try:
            yield Sleep(3600)
        finally:
            cleaned.append(True)

    async def main():
        interpreter = AsyncInterpreter({Sleep: lambda _: asyncio.Event().wait()})
        task = asyncio.ensure_future(interpreter.run(flow()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned == [True]


@attrs.frozen
class Double(Effect):
    number: int


def test_other_modules_add_effects():
    def flow():
        return (yield Double((yield Double(2))))

    async def double(effect):
        return effect.number * 2

    assert Interpreter({Double: lambda effect: effect.number * 2}).run(flow()) == 8
    assert asyncio.run(AsyncInterpreter({Double: double}).run(flow())) == 8


def test_an_effect_without_a_handler_fails_where_the_flow_yields_it(runner):
    def flow():
        try:
            yield Double(1)
        except KeyError as error:
            return error.args

    assert runner.run(flow()) == (Double,)


class Interrupted:
    """A flow that is interrupted, and cleans up in two steps."""

    def __init__(self, *, second=None):
        self.cleaned, self.second = [], second

    def flow(self):
        try:
            yield Do(self.interrupt)
        finally:
            yield Do(lambda: self.clean("first"))
            yield Do(lambda: self.clean("second"))

    def interrupt(self):
        raise KeyboardInterrupt

    def clean(self, step):
        if self.second is not None:
            stop, self.second = self.second, None
            raise stop
        self.cleaned.append(step)


def test_ctrl_c_is_raised_inside_the_flow_which_cleans_up():
    case, cleanup = Interrupted(), CleanUp(5.0)
    with pytest.raises(KeyboardInterrupt):
        Interpreter({Do: lambda effect: effect.function()}).run(case.flow(), cleanup=cleanup)
    assert case.cleaned == ["first", "second"]
    assert cleanup.busy == 0
    assert not cleanup.cancelled
    cleanup.stop()


def test_a_second_ctrl_c_ends_the_clean_up():
    case, cleanup = Interrupted(second=KeyboardInterrupt()), CleanUp(5.0)
    with pytest.raises(KeyboardInterrupt):
        Interpreter({Do: lambda effect: effect.function()}).run(case.flow(), cleanup=cleanup)
    assert case.cleaned == []
    assert cleanup.cancelled
    assert cleanup.busy == 0


def test_the_end_of_its_time_ends_the_clean_up():
    case, cleanup = Interrupted(), CleanUp(5.0)
    cleanup.cancel()  # as its timer does
    with pytest.raises(KeyboardInterrupt):
        Interpreter({Do: lambda effect: effect.function()}).run(case.flow(), cleanup=cleanup)
    assert case.cleaned == []


def test_a_flow_that_has_nothing_to_clean_up_starts_no_timer():
    before = threading.active_count()

    def flow():
        yield Do(Interrupted().interrupt)

    with pytest.raises(KeyboardInterrupt):
        Interpreter({Do: lambda effect: effect.function()}).run(flow())
    assert threading.active_count() == before


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_scope_ends_the_flow_at_its_next_effect_or_at_its_failure(fails):
    scope, cleaned = CancelScope(), []

    def work():
        scope.cancel()
        if fails:
            raise OSError("connection shut down")

    def flow():
        try:
            yield Do(work)
            yield Do(lambda: cleaned.append("not reached"))
        except Cancelled:
            yield Do(lambda: cleaned.append("clean-up"))
            raise

    with pytest.raises(Cancelled):
        scope.run(lambda: Interpreter({Do: lambda effect: effect.function()}).run(flow()))
    assert cleaned == ["clean-up"]


def test_a_second_cancellation_ends_the_clean_up_on_the_event_loop():
    cleaned = []

    async def main():
        waiting = asyncio.Event()

        async def perform(effect):
            waiting.set()
            await asyncio.Event().wait()

        def flow():
            try:
                yield Sleep(1)
            except asyncio.CancelledError:
                cleaned.append("began")
                yield Sleep(2)
                cleaned.append("not reached")
                raise

        task = asyncio.ensure_future(AsyncInterpreter({Sleep: perform}).run(flow(), cleanup=3600))
        for _ in range(2):
            await waiting.wait()
            waiting.clear()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned == ["began"]


def test_the_clean_up_on_the_event_loop_ends_in_time():
    cleaned = []

    async def main():
        async def perform(effect):
            await asyncio.Event().wait()

        def flow():
            try:
                yield Sleep(1)
            except asyncio.CancelledError:
                try:
                    yield Sleep(2)
                except asyncio.CancelledError:
                    cleaned.append("out of time")
                raise

        task = asyncio.ensure_future(AsyncInterpreter({Sleep: perform}).run(flow(), cleanup=0.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned == ["out of time"]


class Hour:
    """A clock that is an hour on once a flow has ended."""

    def __init__(self):
        self.passed = False

    def __call__(self):
        return time.monotonic() + 3600 * self.passed


def quick(clock):
    yield from ask("quick")
    clock.passed = True
    return "quick"


def test_threads_give_up_flows_that_do_not_end_in_time(monkeypatch):
    clock, stuck = Hour(), threading.Event()
    monkeypatch.setattr(workers, "monotonic", clock)
    runner = Sync().interpreter()
    runner._handlers[Call] = lambda call: stuck.wait() if call.operation == "stuck" else None

    def both():
        return (yield Together([quick(clock), ask("stuck")], within=1800))

    try:
        found = runner.run(both())
    finally:
        stuck.set()
    assert found[0] == "quick"
    assert isinstance(found[1], TimeoutError)


def test_the_event_loop_gives_up_flows_that_do_not_end_in_time():
    clock, ended = Hour(), []

    async def call(effect):
        if effect.operation == "stuck":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("stuck")

    def both():
        return (yield Together([quick(clock), ask("stuck")], within=1800))

    async def main():
        asyncio.get_running_loop().time = clock
        return await AsyncInterpreter({Call: call}).run(both())

    found = asyncio.run(main())
    assert found[0] == "quick"
    assert isinstance(found[1], TimeoutError)
    assert ended == ["stuck"]


def test_a_limit_in_time_changes_nothing_for_flows_that_end(runner):
    def both():
        return (yield Together([ask("a"), ask("explode")], within=3600))

    found = runner.run(both())
    assert found[0] == {"answer": "a"}
    assert isinstance(found[1], LookupError)


def test_what_the_work_of_a_flow_opens_is_closed_at_its_end_or_afterwards() -> None:
    first, late = BytesIO(), BytesIO()
    with Kept() as kept:
        assert kept(first) is first
        assert not first.closed
    assert first.closed
    assert kept(late).closed
