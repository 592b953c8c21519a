"""Retry policies of callers whose model is not in memory.

A policy decides when a call makes its first attempt, what it does after each answer, and which calls wait for another
call. It uses only what a client knows: its own attempts and their answers.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs

from mme_sdk._validation import number
from mme_sdk.protocols import Rng

__all__ = ["Backoff", "ClientPolicy", "Clients", "NoRetries", "SingleFlight", "Step", "WaitForAnswer"]

_limit, _count = number(over=0, infinite=True), number(at_least=1, integer=True)


@attrs.frozen
class Step:
    """The next step of a call.

    Attributes:
        call: Number of the call.
        after: Time until its next attempt, seconds; None to give up.
    """

    call: int
    after: float | None


class Clients(Protocol):
    """The state of all callers of one simulation."""

    def begin(self, call: int, model: int, now: float, /) -> list[Step]:
        """Start a call; an empty list means that it waits for another call."""
        ...

    def not_ready(self, call: int, model: int, now: float, /) -> list[Step]:
        """Handle the answer 429 ModelNotReady to an attempt."""
        ...

    def answered(self, call: int, model: int, now: float, ok: bool, /) -> list[Step]:
        """Handle the end of a call; return the steps of calls that waited for it."""
        ...


class ClientPolicy(Protocol):
    """A retry policy: it makes the callers of a simulation."""

    @property
    def answer_limit(self) -> float:
        """Time after which SageMaker answers 429 to an attempt whose model is still loading, seconds."""
        ...

    def clients(self, rng: Rng, /) -> Clients:
        """Return simulated callers that have made no call yet.

        Args:
            rng: Source of randomness, for the jitter.

        Returns:
            The callers of one simulation.
        """
        ...


class _Simple:
    """Independent calls with exponential back-off."""

    def __init__(self, rng: Rng, attempts: int, base: float, cap: float) -> None:
        self._rng, self._attempts, self._base, self._cap = rng, attempts, base, cap
        self._made: dict[int, int] = {}

    def begin(self, call: int, _model: int, _now: float, /) -> list[Step]:
        """Make the first attempt immediately."""
        return [Step(call, 0.0)]

    def not_ready(self, call: int, _model: int, _now: float, /) -> list[Step]:
        """Retry with full jitter until the attempts are used up."""
        made = self._made[call] = self._made.get(call, 0) + 1
        if made >= self._attempts:
            return [Step(call, None)]
        return [Step(call, self._rng.uniform(0.0, min(self._cap, self._base * 2 ** (made - 1))))]

    def answered(self, call: int, _model: int, _now: float, _ok: bool, /) -> list[Step]:
        """Return no steps: no call waits for another one."""
        self._made.pop(call, None)
        return []


@attrs.frozen(kw_only=True)
class WaitForAnswer:
    """Callers that wait for the answer without a limit, as the queueing formulas assume.

    Attributes:
        answer_limit: Always infinite: SageMaker never answers 429.
    """

    answer_limit: float = attrs.field(default=float("inf"), init=False)

    def clients(self, rng: Rng, /) -> Clients:
        """Return simulated callers that have made no call yet.

        Args:
            rng: Source of randomness, for the jitter.

        Returns:
            The callers of one simulation.
        """
        return _Simple(rng, 1, 1.0, 1.0)


@attrs.frozen(kw_only=True)
class NoRetries:
    """One attempt, as in botocore's `standard` retry mode (the default since 1.44) for a cold model.

    Attributes:
        answer_limit: Time after which SageMaker answers 429 while the load continues, seconds. Default 60.
    """

    answer_limit: float = attrs.field(default=60.0, validator=_limit)

    def clients(self, rng: Rng, /) -> Clients:
        """Return simulated callers that have made no call yet.

        Args:
            rng: Source of randomness, for the jitter.

        Returns:
            The callers of one simulation.
        """
        return _Simple(rng, 1, 1.0, 1.0)


@attrs.frozen(kw_only=True)
class Backoff:
    """Exponential back-off with full jitter, as in botocore's `legacy` retry mode and most retry decorators.

    Attributes:
        attempts: Number of attempts, the first included. Default 5.
        base: Largest wait before the second attempt, seconds; it doubles with each attempt. Default 1.
        cap: Upper bound of that wait, seconds. Default 20.
        answer_limit: Time after which SageMaker answers 429 while the load continues, seconds. Default 60.
    """

    attempts: int = attrs.field(default=5, validator=_count)
    base: float = attrs.field(default=1.0, validator=number(over=0))
    cap: float = attrs.field(default=20.0, validator=number(over=0))
    answer_limit: float = attrs.field(default=60.0, validator=_limit)

    def clients(self, rng: Rng, /) -> Clients:
        """Return simulated callers that have made no call yet.

        Args:
            rng: Source of randomness, for the jitter.

        Returns:
            The callers of one simulation.
        """
        return _Simple(rng, self.attempts, self.base, self.cap)


@attrs.frozen(kw_only=True)
class SingleFlight:
    """The policy of `mme_sdk.runtime`: one call per model makes attempts, and the others wait for it.

    Attributes:
        processes: Number of client processes, which share no state. Default 1.
        cold_limit: Number of models that a process may wait for at a time. The sum over all processes should be 1.5 to
            2 times the number of loader slots of the fleet. Default 12.
        warm_for: Time after an answer in which the model is assumed to be in memory, seconds. Default 30.
        pause: Time between the attempts of the leading call, seconds. Default 1.
        jitter: Time over which the waiting calls are spread after the model is loaded, seconds. Default 0.5.
        deadline: Time after which a call gives up, seconds. Default 360.
        answer_limit: Time after which SageMaker answers 429 while the load continues, seconds. Default 60.
    """

    processes: int = attrs.field(default=1, validator=_count)
    cold_limit: int = attrs.field(default=12, validator=_count)
    warm_for: float = attrs.field(default=30.0, validator=number(at_least=0))
    pause: float = attrs.field(default=1.0, validator=number(over=0))
    jitter: float = attrs.field(default=0.5, validator=number(at_least=0))
    deadline: float = attrs.field(default=360.0, validator=number(at_least=0, infinite=True))
    answer_limit: float = attrs.field(default=60.0, validator=_limit)

    def clients(self, rng: Rng, /) -> Clients:
        """Return simulated callers that have made no call yet.

        Args:
            rng: Source of randomness, for the jitter.

        Returns:
            The callers of one simulation.
        """
        return _SingleFlight(self, rng)


class _Process:
    def __init__(self, limit: int) -> None:
        self.warm: dict[int, float] = {}
        self.flights: dict[int, list[int]] = {}  # model → followers
        self.leaders: dict[int, int] = {}  # call → model
        self.free = limit
        self.queue: deque[int] = deque()  # leaders that wait because of the limit


class _SingleFlight:
    def __init__(self, policy: SingleFlight, rng: Rng) -> None:
        self._policy, self._rng = policy, rng
        self._processes = [_Process(policy.cold_limit) for _ in range(policy.processes)]
        self._started: dict[int, float] = {}

    def begin(self, call: int, model: int, now: float, /) -> list[Step]:
        """Send a call for a warm model; make the first call for a cold model the leader, and let the others wait."""
        process = self._processes[call % len(self._processes)]
        self._started[call] = now
        if now - process.warm.get(model, float("-inf")) <= self._policy.warm_for:
            return [Step(call, 0.0)]
        return self._lead_or_follow(process, call, model)

    def _lead_or_follow(self, process: _Process, call: int, model: int) -> list[Step]:
        if model in process.flights:
            process.flights[model].append(call)
            return []
        process.flights[model] = []
        process.leaders[call] = model
        if not process.free:
            process.queue.append(call)
            return []
        process.free -= 1
        return [Step(call, 0.0)]

    def not_ready(self, call: int, model: int, now: float, /) -> list[Step]:
        """Let the leader retry until its deadline; let another call join the flight or lead a new one."""
        process = self._processes[call % len(self._processes)]
        if now - self._started[call] >= self._policy.deadline:
            return [Step(call, None)]
        if call in process.leaders:
            return [Step(call, self._policy.pause)]
        process.warm.pop(model, None)
        return self._lead_or_follow(process, call, model)

    def answered(self, call: int, model: int, now: float, ok: bool, /) -> list[Step]:
        """Release the followers after the leader's success; make one of them the leader after its failure."""
        process = self._processes[call % len(self._processes)]
        self._started.pop(call, None)
        if ok:
            process.warm[model] = now
        if process.leaders.pop(call, None) is None:
            return []
        followers = process.flights.pop(model)
        steps = []
        if ok:
            steps = [Step(each, self._rng.uniform(0.0, self._policy.jitter)) for each in followers]
        elif followers:
            process.flights[model] = followers[1:]
            process.leaders[followers[0]] = model
            process.queue.append(followers[0])
        process.free += 1
        if process.queue:
            process.free -= 1
            steps.append(Step(process.queue.popleft(), 0.0))
        return steps
