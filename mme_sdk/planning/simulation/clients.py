"""How callers behave when a model is not ready: the policies that make or break a cold fleet.

A policy is asked at three points of a call's life: before its first attempt, after each answer, and it may let calls
wait for each other. It knows what a client can know: its own attempts and their answers.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs

from mme_sdk.planning.checks import number, whole
from mme_sdk.protocols import Rng

__all__ = ["Backoff", "ClientPolicy", "Clients", "NoRetries", "Patient", "SingleFlight", "Step"]


@attrs.frozen
class Step:
    """What a call does next.

    Attributes:
        call: The call.
        after: Seconds until its next attempt; None to give up.
    """

    call: int
    after: float | None


class Clients(Protocol):
    """All callers of one simulation, with their memory of what they met."""

    def begin(self, call: int, model: int, now: float, /) -> list[Step]:
        """A call starts; an empty list lets it wait."""
        ...

    def not_ready(self, call: int, model: int, now: float, /) -> list[Step]:
        """An attempt was answered 429 ModelNotReady."""
        ...

    def answered(self, call: int, model: int, now: float, ok: bool, /) -> list[Step]:
        """A call ended, well or not; calls that waited for it may go on."""
        ...


class ClientPolicy(Protocol):
    """Makes the callers of a simulation."""

    @property
    def answer_limit(self) -> float:
        """Seconds after which an attempt that still waits for its model is answered 429."""
        ...

    def clients(self, rng: Rng, /) -> Clients:
        """Fresh callers."""
        ...


class _Simple:
    """Calls that know nothing of each other."""

    def __init__(self, rng: Rng, attempts: int, base: float, cap: float) -> None:
        self._rng, self._attempts, self._base, self._cap = rng, attempts, base, cap
        self._made: dict[int, int] = {}

    def begin(self, call: int, _model: int, _now: float, /) -> list[Step]:
        """At once."""
        return [Step(call, 0.0)]

    def not_ready(self, call: int, _model: int, _now: float, /) -> list[Step]:
        """Full jitter, a bounded number of times."""
        made = self._made[call] = self._made.get(call, 0) + 1
        if made >= self._attempts:
            return [Step(call, None)]
        return [Step(call, self._rng.uniform(0.0, min(self._cap, self._base * 2 ** (made - 1))))]

    def answered(self, call: int, _model: int, _now: float, _ok: bool, /) -> list[Step]:
        """Nobody waited for it."""
        self._made.pop(call, None)
        return []


@attrs.frozen(kw_only=True)
class Patient:
    """Callers who wait for the answer, however long: what the queueing formulas assume."""

    answer_limit: float = attrs.field(default=float("inf"), init=False)

    def clients(self, rng: Rng, /) -> Clients:
        """Fresh callers."""
        return _Simple(rng, 1, 1.0, 1.0)


@attrs.frozen(kw_only=True)
class NoRetries:
    """One attempt: botocore's `standard` mode, the default since 1.44, for a cold model.

    Attributes:
        answer_limit: Seconds after which SageMaker answers 429 while the load goes on.
    """

    answer_limit: float = attrs.field(default=60.0, validator=number(over=True, endless=True))

    def clients(self, rng: Rng, /) -> Clients:
        """Fresh callers."""
        return _Simple(rng, 1, 1.0, 1.0)


@attrs.frozen(kw_only=True)
class Backoff:
    """Exponential back-off with full jitter: botocore's `legacy` mode, and most retry decorators.

    Attributes:
        attempts: Attempts in all.
        base: First limit of the wait, seconds; it doubles.
        cap: Largest limit of the wait, seconds.
        answer_limit: Seconds after which SageMaker answers 429 while the load goes on.
    """

    attempts: int = attrs.field(default=5, validator=whole())
    base: float = attrs.field(default=1.0, validator=number(over=True))
    cap: float = attrs.field(default=20.0, validator=number(over=True))
    answer_limit: float = attrs.field(default=60.0, validator=number(over=True, endless=True))

    def clients(self, rng: Rng, /) -> Clients:
        """Fresh callers."""
        return _Simple(rng, self.attempts, self.base, self.cap)


@attrs.frozen(kw_only=True)
class SingleFlight:
    """What `mme_sdk.runtime` does: one call per model finds out, the others wait, and few models are tried at a time.

    Attributes:
        processes: Client processes, which know nothing of each other.
        cold_limit: Models that a process may be loading at a time; all processes' limits together should be 1.5 to 2
            times the fleet's loader slots.
        warm_for: Seconds after an answer in which a model is taken to be still loaded.
        pause: Seconds between the attempts of a call that leads.
        jitter: Seconds over which the calls that waited for it spread when the model is loaded.
        deadline: Seconds after which a call gives up.
        answer_limit: Seconds after which SageMaker answers 429 while the load goes on.
    """

    processes: int = attrs.field(default=1, validator=whole())
    cold_limit: int = attrs.field(default=12, validator=whole())
    warm_for: float = attrs.field(default=30.0, validator=number())
    pause: float = attrs.field(default=1.0, validator=number(over=True))
    jitter: float = attrs.field(default=0.5, validator=number())
    deadline: float = attrs.field(default=360.0, validator=number(endless=True))
    answer_limit: float = attrs.field(default=60.0, validator=number(over=True, endless=True))

    def clients(self, rng: Rng, /) -> Clients:
        """Fresh callers."""
        return _SingleFlight(self, rng)


class _Process:
    def __init__(self, limit: int) -> None:
        self.warm: dict[int, float] = {}
        self.flights: dict[int, list[int]] = {}  # model → followers
        self.leaders: dict[int, int] = {}  # call → model
        self.free = limit
        self.queue: deque[int] = deque()  # leaders that wait for a cold slot


class _SingleFlight:
    def __init__(self, policy: SingleFlight, rng: Rng) -> None:
        self._policy, self._rng = policy, rng
        self._processes = [_Process(policy.cold_limit) for _ in range(policy.processes)]
        self._started: dict[int, float] = {}

    def begin(self, call: int, model: int, now: float, /) -> list[Step]:
        """Warm ones go; the first of a cold model leads; the rest wait for it."""
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
        """The leader looks again until its deadline; one that thought the model warm joins or leads."""
        process = self._processes[call % len(self._processes)]
        if now - self._started[call] >= self._policy.deadline:
            return [Step(call, None)]
        if call in process.leaders:
            return [Step(call, self._policy.pause)]
        process.warm.pop(model, None)
        return self._lead_or_follow(process, call, model)

    def answered(self, call: int, model: int, now: float, ok: bool, /) -> list[Step]:
        """A leader's answer lets its followers go, or makes one of them the leader."""
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
