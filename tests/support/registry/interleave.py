"""Runs flows of the registry in every order of their requests, against S3 in memory.

A state is what S3 holds and what each flow has seen. From each state, each flow may make its next request, and at most
one flow may be killed. States that were reached in another order are not visited again, so that the search is complete.
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
from mme_sdk.registry.aliases import Alias
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
    """What a flow is made of: fresh registries over the model of S3.

    Attributes:
        operations: Over `s3://b/p/`.
        other: Over `s3://b/q/`.
    """

    operations: RegistryOperations
    other: RegistryOperations


class Clock:
    """Time and ids that are the same each time a flow is run again."""

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
    """The API calls and waits of a flow, one after the other."""
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


def said(outcome: Any, old: Collection[str] = ()) -> Any:
    """An outcome without times; of deletions, only what was there at the start.

    A deletion of all versions may remove one that a writer has just created and then creates again.
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
            return tuple(said(one) for one in outcome)
    return outcome


@attrs.frozen
class Seen:
    """How far a flow is: what S3 answered; and its outcome, once it has ended."""

    answers: tuple[Any, ...] = ()
    digest: int = 0
    outcome: Any = None
    ended: bool = False
    asleep: bool = False

    @property
    def key(self) -> Any:
        return ("ended", repr(said(self.outcome))) if self.ended else (self.digest, self.asleep)


class Checker:
    """Explores all orders of some flows.

    A flow that sleeps lets another make a request first.

    Args:
        start: What S3 holds.
        flows: The flows.
    """

    def __init__(self, start: S3Model, flows: Sequence[Make]) -> None:
        self.start, self.flows, self.clock = start, flows, Clock()
        self.states = 0
        self.later = 0.0
        self.found: Counter[Any] = Counter()

    def step(self, s3: S3Model, turn: int, seen: Seen) -> tuple[S3Model, Seen]:
        """One request of one flow."""
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
        """Every end that some order leads to: what S3 holds then, and the outcomes."""
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
                        # Whoever waits, waits until another flow has made a request.
                        others = seen if now.asleep else tuple(attrs.evolve(two, asleep=False) for two in seen)
                        stack.append((after, (*others[:turn], now, *others[turn + 1 :])))
                    if kill and not killed and one.answers:
                        dead = Seen(outcome=KILLED, ended=True)
                        stack.append((s3, (*seen[:turn], dead, *seen[turn + 1 :])))

    def serial(self, order: Sequence[int], s3: S3Model | None = None) -> tuple[S3Model, dict[int, Any]]:
        """The flows one after the other."""
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
    """What clients see of S3.

    Attributes:
        live: Content by target model, of what can be invoked.
        dead: Content by target model, of what was deleted.
        aliases: Meanings of each alias, oldest first.
        left: What an operation that has ended should not leave.
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
    left += [f"announcement in {place}" for place, body in aliases.items() if "pending" in body]
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
    """Aliases at nothing."""
    return [
        f"{place} at {version}"
        for place, history in seen.aliases.items()
        for version, _ in history[-1]
        if f"{place.rpartition('@')[0]}/{version}.tar.gz" not in seen.live
    ]


def of_target(outcome: Any, target: str) -> Any:
    """What an outcome says about one target model: operations for many models promise nothing about all of them."""
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
    return said(outcome)


def on_target(seen: View, target: str) -> Any:
    """What a view says about one target model."""
    return seen.live.get(target), seen.dead.get(target, ""), seen.aliases


class Explainer:
    """Knows what the serial orders of some operations lead to; an operation that raises may be left out of an order.

    Args:
        start: What S3 holds.
        flows: The operations.
        prefixes: What is compared.
        twice: Operations that may take effect twice, since they write again what another deletes meanwhile.
        targets: Compare by target model; for operations for many models, which are not done all at once.
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
        """What clients see of each prefix."""
        return [view(s3, prefix) for prefix in self.prefixes]

    def explain(self, s3: S3Model, outcomes: Sequence[Any]) -> int:
        """Find a serial order that ends the same.

        Returns:
            How many operations are left out of it.
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
        return self._explain(views, outcomes, lambda one: said(one, self.old), lambda one: one)

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
    """Every order of the requests ends as some serial order of the operations does.

    Returns:
        How often each combination of outcomes ended, with the number of operations that are left out; and all states.
    """
    found: Counter[Any] = Counter()
    for s3, outcomes in explainer.checker.run():
        left_out = explainer.explain(s3, outcomes)
        found[tuple(repr(said(one)) for one in outcomes), left_out] += 1
    found["states"] = explainer.checker.states
    return found


def check_kills(start: S3Model, flows: Sequence[Make], recovery: Make, target: str) -> int:
    """One flow is killed after any of its requests; the others end, then a recovery runs.

    Args:
        start: What S3 holds.
        flows: The operations.
        recovery: What a person does then.
        target: What must be in service after it.

    Returns:
        Number of ends.
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
