"""Effects of an invocation, in addition to those of `mme_sdk._flows.effects`.

An invocation is a flow of these effects. Threads, event loops and the simulator of the benchmarks run the same flows,
so all of them decide alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs

from mme_sdk._flows.effects import Effect, Flow
from mme_sdk.protocols import AsyncModelStore, ModelStore
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["Release", "Resolve", "RunFlow", "Send", "Wait", "Waitable", "acquire", "release"]


class Waitable(Protocol):
    """An event that threads and tasks can wait for."""

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` once when the event occurs, from any thread; at once if it has occurred.

        Args:
            wake: The function to call. It must not block.
        """
        ...


@attrs.frozen
class Send(Effect):
    """One attempt at a request; its result is the answer.

    Attributes:
        request: The request.
        connect_timeout: Seconds for the connection.
        read_timeout: Seconds for the whole attempt.
    """

    request: InvokeRequest
    connect_timeout: float
    read_timeout: float


@attrs.frozen
class Wait(Effect):
    """A wait for an event; its result is whether the event occurred in time.

    Attributes:
        event: The event.
        timeout: Longest wait in seconds.
    """

    event: Waitable
    timeout: float


@attrs.frozen
class RunFlow(Effect):
    """A flow of AWS calls; its result is the flow's result.

    Attributes:
        flow: The flow.
    """

    flow: Flow[Any]


@attrs.frozen
class Release(Effect):
    """Release what other processes see, also if the client was closed meanwhile.

    Attributes:
        make: Makes the flow that releases it. It can run twice.
    """

    make: Callable[[], Flow[None]]


@attrs.frozen
class Resolve(Effect):
    """A look-up in a registry; its result is the model version.

    Attributes:
        store: The registry.
        reference: Alias or target model, such as `fraud@live`.
        key: Key that selects a version of a weighted alias; none by default.
    """

    store: ModelStore | AsyncModelStore
    reference: str
    key: str | None = None


def acquire(flow: Flow[Any], undo: Callable[[], Flow[None]]) -> Flow[Any]:
    """Acquire something that others see. An interruption undoes it, because nobody would learn that it was acquired.

    Args:
        flow: Acquires it.
        undo: Makes a flow that releases it, or does nothing if it was not acquired.

    Returns:
        A flow with the result of `flow`.
    """
    try:
        return (yield RunFlow(flow))
    except (Exception, GeneratorExit):
        raise
    except BaseException:
        yield Release(undo)
        raise


def release(flows: Sequence[Callable[[], Flow[None]]]) -> Flow[None]:
    """Release what others see. What an interruption leaves is released as its clean-up.

    Args:
        flows: Each makes a flow that releases something, and can run twice.
    """
    left = list(flows)
    try:
        while left:
            yield Release(left[0])
            left.pop(0)
    except (Exception, GeneratorExit):
        raise
    except BaseException:
        for make in left:
            yield Release(make)
        raise
