"""Run flows of the registry in every order of their requests, against an in-memory model of S3.

A state consists of the objects in S3 and the responses that each flow has received. In each state, each flow can make
its next request, and at most one flow can be killed. A state that was reached before is not visited again. The search
is complete.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from mme_sdk.aws import Call, Do, Flow, Sleep, Together
from mme_sdk.errors import BatchError, MMEError, ModelNotFoundError
from mme_sdk.registry import tombstones
from mme_sdk.registry.alias import Alias
from mme_sdk.registry.names import KeyLayout
from mme_sdk.registry.operations.register import RegistryOperations
from mme_sdk.registry.results import CopyReport, ModelDeletion, SyncReport
from mme_sdk.registry.store import ObjectOptions, Store
from mme_sdk.registry.tombstones import LEASE
from mme_sdk.types import S3Uri
from mme_sdk.types.model import ModelVersion
from tests.support.registry.s3_model import S3Model

KILLED = ("killed",)
Make = Callable[["Client"], Flow[Any]]


@attrs.frozen
class Client:
    """New registries over the model of S3.

    Attributes:
        operations: Operations on `s3://b/p/`.
        other: Operations on `s3://b/q/`.
    """

    operations: RegistryOperations
    other: RegistryOperations


class Clock:
    """Times and ids that are the same each time a flow runs."""

    now = 0.0
    ids: Iterator[str] = iter(())

    @contextmanager
    def installed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tombstones, "uuid", SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=next(self.ids))))
            yield


def client(clock: Clock) -> Client:
    def operations(prefix: str) -> RegistryOperations:
        store = Store(
            keys=KeyLayout(S3Uri("b", prefix), "{name}/{version}.tar.gz"),
            options=ObjectOptions(),
            read=lambda answer: answer["Body"],
            read_stream=lambda _, work: work(),
            jitter=lambda limit: 0.0,
            now=lambda: clock.now,
        )
        found = RegistryOperations(store)
        found._bucket_checked = True
        return found

    return Client(operations("p/"), operations("q/"))


def flat(flow: Flow[Any]) -> Generator[Call | Sleep, Any, Any]:
    """Yield the API calls and waits of a flow one after the other."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            effect = flow.send(value) if error is None else flow.throw(error)
        except StopIteration as stop:
            return stop.value
        value, error = None, None
        try:
            match effect:
                case Call() | Sleep():
                    value = yield effect
                case Do(function):
                    value = function()
                case Together(flows):
                    value = []
                    for one in flows:
                        try:
                            value.append((yield from flat(one)))
                        except MMEError as caught:
                            value.append(caught)
        except MMEError as caught:
            error = caught


def describe(outcome: Any, old: Collection[str] = ()) -> Any:
    """Return an outcome without times. A deletion is reduced to the versions that existed at the start.

    A deletion of all versions can delete one that a writer has just created and then creates again.
    """
    match outcome:
        case BatchError():
            return "BatchError", tuple(sorted((key, type(one).__name__) for key, one in outcome.errors.items()))
        case BaseException():
            return type(outcome).__name__
        case ModelVersion():
            return "version", outcome.target_model
        case Alias():
            return "alias", outcome.reference, tuple(sorted(outcome.weights.items()))
        case ModelDeletion():
            return "deleted", tuple(sorted({one.target_model for one in outcome.versions}.intersection(old)))
        case CopyReport():
            return (
                "copied",
                tuple(sorted(one.target_model for one in outcome.copied)),
                tuple(sorted(one.target_model for one in outcome.unchanged)),
            )
        case SyncReport():
            gone = tuple(one.target_model for one in outcome.deleted)
            return "synced", tuple(outcome.registered.items()), tuple(outcome.unchanged.items()), gone
        case list() | tuple():
            return tuple(describe(one) for one in outcome)
    return outcome


@attrs.frozen
class Seen:
    """Progress of a flow: the responses of S3, and the outcome after its end."""

    answers: tuple[Any, ...] = ()
    digest: int = 0
    outcome: Any = None
    ended: bool = False
    asleep: bool = False

    @property
    def key(self) -> Any:
        return ("ended", repr(describe(self.outcome))) if self.ended else (self.digest, self.asleep)


class Checker:
    """Searches all orders of the requests of some flows.

    While a flow sleeps, another flow makes a request first.

    Args:
        start: State of S3 at the start.
        flows: The flows.
    """

    def __init__(self, start: S3Model, flows: Sequence[Make]) -> None:
        self.start, self.flows, self.clock = start, flows, Clock()
        self.states = 0
        self.later = 0.0
        self.found: Counter[Any] = Counter()

    def step(self, s3: S3Model, turn: int, seen: Seen) -> tuple[S3Model, Seen]:
        """Make one request of one flow."""
        clock = self.clock
        clock.ids = (f"{turn}-{count}" for count in itertools.count())
        clock.now = 1000.0 + turn + self.later
        flow = flat(self.flows[turn](client(clock)))
        try:
            call = next(flow)
            for answer in seen.answers:
                call = flow.throw(copy.copy(answer)) if isinstance(answer, MMEError) else flow.send(answer)
            s3 = s3.copy()
            asleep = isinstance(call, Sleep)
            try:
                answer = None if isinstance(call, Sleep) else s3.perform(call)
            except MMEError as error:
                answer = error
            digest = hash((seen.digest, repr(answer)))
            after = Seen((*seen.answers, answer), digest, asleep=asleep)
            if isinstance(answer, MMEError):
                flow.throw(copy.copy(answer))
            else:
                flow.send(answer)
        except StopIteration as stop:
            return s3, attrs.evolve(after, outcome=stop.value, ended=True)
        except MMEError as error:
            return s3, attrs.evolve(after, outcome=error, ended=True)
        flow.close()
        return s3, after

    def run(self, *, kill: bool = False) -> Iterator[tuple[S3Model, tuple[Any, ...]]]:
        """Yield the end states of all orders: the state of S3 and the outcomes."""
        with self.clock.installed():
            first = (self.start.copy(), tuple(Seen() for _ in self.flows))
            stack, visited = [first], set()
            ends = set()
            while stack:
                s3, seen = stack.pop()
                key = (s3.key(), tuple(one.key for one in seen))
                if key in visited:
                    continue
                visited.add(key)
                self.states += 1
                if all(one.ended for one in seen):
                    end = (s3.key(), key[1])
                    if end not in ends:
                        ends.add(end)
                        yield s3, tuple(one.outcome for one in seen)
                    continue
                killed = any(one.outcome == KILLED for one in seen)
                idle = all(one.ended or one.asleep for one in seen)
                for turn, one in enumerate(seen):
                    if one.ended:
                        continue
                    if idle or not one.asleep:
                        after, now = self.step(s3, turn, one)
                        # A flow sleeps until another flow has made a request.
                        others = seen if now.asleep else tuple(attrs.evolve(two, asleep=False) for two in seen)
                        stack.append((after, (*others[:turn], now, *others[turn + 1 :])))
                    if kill and not killed and one.answers:
                        dead = Seen(outcome=KILLED, ended=True)
                        stack.append((s3, (*seen[:turn], dead, *seen[turn + 1 :])))

    def serial(self, order: Sequence[int], s3: S3Model | None = None) -> tuple[S3Model, dict[int, Any]]:
        """Run the flows one after the other."""
        s3 = (self.start if s3 is None else s3).copy()
        outcomes: dict[int, Any] = {}
        with self.clock.installed():
            for turn in order:
                seen = Seen()
                while not seen.ended:
                    s3, seen = self.step(s3, turn, seen)
                outcomes[turn] = seen.outcome
        return s3, outcomes


@attrs.frozen
class View:
    """Contents of a prefix, as clients see them.

    Attributes:
        live: Content by target model, for versions that can be invoked.
        dead: Content by target model, for deleted versions.
        aliases: Weights in the history of each alias, oldest first.
        left: Objects and states that must not remain after an operation.
    """

    live: dict[str, str]
    dead: dict[str, Any]
    aliases: dict[str, tuple[Any, ...]]
    left: tuple[str, ...]


def view(s3: S3Model, prefix: str = "b/p/") -> View:
    import json

    notes = {key: json.loads(data) for key, (data, _) in s3.objects.items() if f"{prefix}.mme/" in key}
    marks = notes.get(f"{prefix}.mme/tombstones/all.json", {})
    archives = {
        key.removeprefix(prefix): dict(metadata).get("mme-content", "")
        for key, (_, metadata) in s3.objects.items()
        if key.startswith(prefix) and ".mme/" not in key
    }
    aliases = {
        key.rpartition("/")[2].removesuffix(".json"): body
        for key, body in notes.items()
        if key.startswith(f"{prefix}.mme/aliases/")
    }
    left = [f"archive {target}" for target in archives if target in marks]
    left += [f"state of {target}" for target, mark in marks.items() if "pending" in mark or "deleting" in mark]
    left += [f"pending change in {place}" for place, body in aliases.items() if "pending" in body]
    left += [f"upload {key}" for key in (*s3.uploads, *(key for key in notes if "/.mme/uploads/" in key))]
    return View(
        {target: content for target, content in archives.items() if target not in marks},
        {target: mark["content"] for target, mark in marks.items()},
        {
            place: tuple(tuple(sorted(one["weights"].items())) for one in body["history"])
            for place, body in aliases.items()
            if body["history"]
        },
        tuple(left),
    )


def dangling(seen: View) -> list[str]:
    """Return the aliases that refer to a version that does not exist."""
    return [
        f"{place} at {version}"
        for place, history in seen.aliases.items()
        for version, _ in history[-1]
        if f"{place.rpartition('@')[0]}/{version}.tar.gz" not in seen.live
    ]


def of_target(outcome: Any, target: str) -> Any:
    """Reduce an outcome to one target model: operations on many models give no guarantee for all of them together."""
    match outcome:
        case BatchError():
            done = {one.target_model for one in outcome.done}
            return "error" if target in outcome.errors or target not in done else "ok"
        case ModelDeletion():
            return "deleted" if target in {one.target_model for one in outcome.versions} else "-"
        case CopyReport():
            return "ok" if target in {one.target_model for one in (*outcome.copied, *outcome.unchanged)} else "-"
        case list():
            return "ok" if target in {one.target_model for one in outcome} else "-"
        case ModelNotFoundError():
            return "-"
    return describe(outcome)


def on_target(seen: View, target: str) -> Any:
    """Reduce a view to one target model."""
    return seen.live.get(target), seen.dead.get(target, ""), seen.aliases


class Explainer:
    """Finds the serial order that explains an end state. An operation that raises an exception can be left out.

    Args:
        start: State of S3 at the start.
        flows: The operations.
        prefixes: Prefixes to compare.
        twice: Operations that can take effect twice, because they write an archive again after its deletion.
        targets: Compare only these target models, one by one: for operations on many models, which are not atomic.
    """

    def __init__(
        self,
        start: S3Model,
        flows: Sequence[Make],
        *,
        prefixes: Sequence[str] = ("b/p/", "b/q/"),
        twice: Collection[int] = (),
        targets: Collection[str] = (),
    ) -> None:
        self.checker, self.prefixes, self.targets = Checker(start, flows), prefixes, targets
        self.old = view(start).live
        turns = [*range(len(flows)), *twice]
        orders = {order for size in range(len(turns) + 1) for order in itertools.permutations(turns, size)}
        self.serial = {}
        for order in sorted(orders, key=lambda order: (-len(set(order)), order)):
            s3, outcomes = self.checker.serial(order)
            self.serial[order] = self.views(s3), outcomes

    def views(self, s3: S3Model) -> list[View]:
        """Return the view of each prefix."""
        return [view(s3, prefix) for prefix in self.prefixes]

    def explain(self, s3: S3Model, outcomes: Sequence[Any]) -> int:
        """Find a serial order with the same end state.

        Returns:
            Number of operations that it leaves out.
        """
        views = self.views(s3)
        for seen in views:
            assert not seen.left, (outcomes, views)
            assert not dangling(seen), (outcomes, views)
        if self.targets:
            return max(
                self._explain(views, outcomes, partial(of_target, target=target), partial(on_target, target=target))
                for target in self.targets
            )
        return self._explain(views, outcomes, lambda one: describe(one, self.old), lambda one: one)

    def _explain(
        self, views: list[View], outcomes: Sequence[Any], of: Callable[[Any], Any], on: Callable[[View], Any]
    ) -> int:
        for order, (expected, wanted) in self.serial.items():
            left_out = [turn for turn in range(len(outcomes)) if turn not in order]
            if (
                all(isinstance(outcomes[turn], MMEError) for turn in left_out)
                and [on(one) for one in views] == [on(one) for one in expected]
                and all(of(outcomes[turn]) == of(wanted[turn]) for turn in wanted)
            ):
                return len(left_out)
        raise AssertionError(f"no serial order explains {outcomes}, {views}")


def check(explainer: Explainer) -> Counter[Any]:
    """Check that every order of the requests ends like some serial order of the operations.

    Returns:
        Number of end states by outcomes and number of operations left out; and the number of all states.
    """
    found: Counter[Any] = Counter()
    for s3, outcomes in explainer.checker.run():
        left_out = explainer.explain(s3, outcomes)
        found[tuple(repr(describe(one)) for one in outcomes), left_out] += 1
    found["states"] = explainer.checker.states
    return found


def check_kills(start: S3Model, flows: Sequence[Make], recovery: Make, target: str) -> int:
    """Kill one flow after each of its requests. The others end, then a recovery runs.

    Args:
        start: State of S3 at the start.
        flows: The operations.
        recovery: The operation that recovers.
        target: Target model that can be invoked after it.

    Returns:
        Number of end states.
    """
    checker, ends = Checker(start, flows), 0
    for s3, _ in checker.run(kill=True):
        ends += 1
        again = Checker(s3, [recovery])
        again.later = LEASE + 10
        s3, outcomes = again.serial([0])
        seen = view(s3)
        assert not isinstance(outcomes[0], MMEError), outcomes
        assert target in seen.live, seen
        assert not [one for one in seen.left if target in one], seen
        assert not dangling(seen), seen
    return ends
