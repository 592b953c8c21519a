"""Aliases: atomic changes, rollback, weights, and resolution from the cache."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mme_sdk.aws import Aws, Call
from mme_sdk.errors import ClosedError, ConflictError, InvalidInputError, ModelNotFoundError, NotSentError, ServiceError
from mme_sdk.local.storage.s3 import S3Server
from mme_sdk.protocols import AsyncModelStore, ModelStore
from mme_sdk.registry import AsyncModelRegistry, ModelRegistry
from mme_sdk.registry.alias import choose_version
from mme_sdk.registry.aliases import _parse as parsed
from tests.support.registry.flow_steps import steps

Model = Callable[..., Path]


@attrs.define
class FakeClock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000 + self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


class CountingAws(Aws):
    """Counts calls, and can be disconnected from S3."""

    calls: list[str]
    began: threading.Event
    cut = False
    held: threading.Event | None = None

    def send(self, call: Call) -> Any:
        self.calls.append(call.operation)
        self.began.set()
        if self.held is not None:
            assert self.held.wait(60)
        if self.cut:
            raise NotSentError("no connection")
        return super().send(call)

    def submit(self, function: Callable[[], Any]) -> Any:
        self.last = super().submit(function)
        return self.last


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counting(s3_server: S3Server, s3_session: boto3.Session, clock: FakeClock) -> Any:
    aws = CountingAws(session=s3_session, endpoint_url={"s3": s3_server.endpoint_url}, clock=clock)
    aws.calls, aws.began = [], threading.Event()
    yield aws
    aws.close()


@pytest.fixture
def watched(counting: CountingAws, models: ModelRegistry) -> ModelRegistry:
    """A registry of another client over the same prefix."""
    return ModelRegistry(counting, models.uri, staleness=4.0)


@pytest.fixture
def three(models: ModelRegistry, model: Model) -> ModelRegistry:
    for number in (1, 2, 3):
        models.register("fraud", model(b"%d" % number), f"v{number}")
    return models


def test_registries_are_model_stores(models: ModelRegistry, s3_aws: Aws) -> None:
    assert isinstance(models, ModelStore)
    assert isinstance(AsyncModelRegistry(s3_aws, models.uri), AsyncModelStore)


def test_moving_and_rolling_back(three: ModelRegistry) -> None:
    assert three.alias("fraud", "live", "v1").weights == {"v1": 1.0}
    assert three.resolve("fraud@live").target_model == "fraud/v1.tar.gz"
    three.alias("fraud", "live", "v2")
    assert three.resolve("fraud@live").version == "v2"
    three.alias("fraud", "live", {"v2": 0.9, "v3": 0.1})
    assert len(three.alias("fraud", "live", {"v2": 0.9, "v3": 0.1}).history) == 3
    assert three.rollback("fraud", "live").weights == {"v2": 1.0}
    assert three.rollback("fraud", "live").weights == {"v1": 1.0}
    with pytest.raises(ConflictError, match="no version before v1"):
        three.rollback("fraud", "live")
    three.alias("fraud", "live", "v3")
    assert three.rollback("fraud", "live").weights == {"v1": 1.0}
    (alias,) = three.aliases("fraud")
    assert [tuple(one.weights) for one in alias.history] == [
        ("v1",),
        ("v2",),
        ("v2", "v3"),
        ("v2",),
        ("v1",),
        ("v3",),
        ("v1",),
    ]
    assert [one.at for one in alias.history] == sorted(one.at for one in alias.history)
    three.unalias("fraud", "live")
    assert three.aliases() == ()
    with pytest.raises(ModelNotFoundError, match="alias fraud@live does not exist"):
        three.resolve("fraud@live")


@pytest.mark.parametrize("kind", [ModelRegistry, AsyncModelRegistry])
def test_a_change_is_seen_at_once_through_every_registry_of_the_client(
    counting: CountingAws, three: ModelRegistry, kind: Any
) -> None:
    quick = kind(counting, three.uri, staleness=1)
    slow = kind(counting, three.uri, staleness=3600)

    async def call(function: Any, *args: Any) -> Any:
        answer = function(*args)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def main() -> None:
        for one, other in ((quick, slow), (slow, quick)):
            await call(one.alias, "fraud", "live", "v1")
            assert (await call(other.resolve, "fraud@live")).version == "v1"
            await call(one.alias, "fraud", "live", "v2")
            assert (await call(other.resolve, "fraud@live")).version == "v2"
        await call(other.resolve, "fraud/v3.tar.gz")
        await call(one.delete, "fraud", "v3")
        with pytest.raises(ModelNotFoundError, match="was deleted"):
            await call(other.resolve, "fraud/v3.tar.gz")

    asyncio.run(main())


def test_expectations(three: ModelRegistry) -> None:
    three.alias("fraud", "live", "v1", expected=None)
    with pytest.raises(ConflictError, match="refers to v1, not to nothing"):
        three.alias("fraud", "live", "v2", expected=None)
    with pytest.raises(ConflictError, match="refers to v1, not to v3"):
        three.alias("fraud", "live", "v2", expected="v3")
    three.alias("fraud", "live", "v2", expected="v1")
    assert three.resolve("fraud@live").version == "v2"


def test_racing_movers_lose_nothing(three: ModelRegistry) -> None:
    three.alias("fraud", "live", "v1")

    def move(number: int) -> bool:
        try:
            three.alias("fraud", "live", {f"v{number % 3 + 1}": number + 1.0}, expected="v1")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(move, range(1, 9))) == 1  # compare-and-swap: one winner
    before = len(three.aliases()[0].history)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: three.alias("fraud", "live", {"v1": 100.0 + number}), range(4)))
    assert len(three.aliases()[0].history) == before + 4  # without `expected`: all changes are in the history


def test_invalid_targets_of_an_alias(three: ModelRegistry) -> None:
    with pytest.raises(ModelNotFoundError, match="v9"):
        three.alias("fraud", "live", "v9")
    for weights in ({}, {"v1": 0}, {"v1": -1.0}, {"v1": float("nan")}, {"v1": True}, {"v1": "1"}):
        with pytest.raises(InvalidInputError):
            three.alias("fraud", "live", weights)  # type: ignore[arg-type]
    for version in (3, ("v1", "v2"), attrs.evolve(three.get("fraud", "v1"), name="churn")):
        with pytest.raises(InvalidInputError):
            three.alias("fraud", "live", version)  # type: ignore[arg-type]
    for alias in ("", "a/b", "a@b", ".x", "é"):
        with pytest.raises(InvalidInputError):
            three.alias("fraud", alias, "v1")
    assert three.aliases() == ()


def test_records_are_neither_listed_nor_invokable(three: ModelRegistry) -> None:
    three.alias("fraud", "live", "v1")
    three.delete("fraud", "v3")
    assert sorted(one.target_model for one in three.list()) == ["fraud/v1.tar.gz", "fraud/v2.tar.gz"]
    with pytest.raises(InvalidInputError, match="neither a target model"):
        three.resolve(".mme/aliases/fraud@live.json".replace("@", "-"))


def test_a_damaged_record_is_reported(three: ModelRegistry, s3: Any, bucket_name: str) -> None:
    for body in (b"no json", b"[]", b'{"history": []}', b'{"history": [{"weights": {"v1": "x"}, "at": 1}]}'):
        s3.put_object(Bucket=bucket_name, Key="prod/.mme/aliases/fraud@live.json", Body=body)
        with pytest.raises(ServiceError, match="damaged"):
            three.resolve("fraud@live")


_weights = st.dictionaries(st.sampled_from(["v1", "v2", "v3", "v4"]), st.floats(0.01, 100), min_size=1)


def alias_of(weights: dict[str, float]) -> Any:
    return parsed("fraud@live.json", {"history": [{"weights": weights, "at": 0}]})


@given(weights=_weights, key=st.text(), grown=st.sampled_from(["v1", "v2", "v3", "v4"]))
def test_a_key_moves_only_to_what_has_grown(weights: dict[str, float], key: str, grown: str) -> None:
    before = choose_version(alias_of(weights), key, lambda: 0.5)
    assert before in weights
    assert before == choose_version(alias_of(weights), key, lambda: 0.1)
    after = choose_version(alias_of(weights | {grown: weights.get(grown, 0) + 50}), key, lambda: 0.5)
    assert after in (before, grown)


def test_shares_are_kept() -> None:
    canary = alias_of({"v3": 0.95, "v4": 0.05})
    sticky = Counter(choose_version(canary, f"user-{number}", lambda: 0.0) for number in range(20_000))
    assert 800 < sticky["v4"] < 1200
    drawn = Counter(choose_version(canary, None, lambda at=number: at / 1000) for number in range(1000))  # type: ignore[misc]
    assert drawn == {"v3": 950, "v4": 50}


def test_a_reference_in_use_never_waits(
    three: ModelRegistry, watched: ModelRegistry, counting: CountingAws, clock: FakeClock
) -> None:
    three.alias("fraud", "live", "v1")
    assert watched.resolve("fraud@live").version == "v1"
    counting.calls.clear()
    for _ in range(100):
        watched.resolve("fraud@live")
    clock.now += 1.9
    watched.resolve("fraud@live")
    assert counting.calls == []
    three.alias("fraud", "live", "v2")
    clock.now += 0.2  # over half of the staleness: answered from the cache, refreshed in the background
    counting.held = threading.Event()
    assert watched.resolve("fraud@live").version == "v1"
    assert watched.resolve("fraud@live").version == "v1"
    counting.held.set()
    counting.last.result(60)
    assert watched.resolve("fraud@live").version == "v2"
    assert counting.calls == ["get_object", "get_object"]  # one for the alias, one for tombstones, in one refresh
    clock.now += 100  # no use for a long time: this call waits for S3
    three.alias("fraud", "live", "v3")
    assert watched.resolve("fraud@live").version == "v3"


def test_a_plain_target_is_checked_too(three: ModelRegistry, watched: ModelRegistry, clock: FakeClock) -> None:
    assert watched.resolve("fraud/v1.tar.gz").target_model == "fraud/v1.tar.gz"
    assert watched.resolve("somebody/else's archive").target_model == "somebody/else's archive"
    three.delete("fraud", "v1")
    with pytest.raises(ModelNotFoundError, match="was deleted"):
        three.resolve("fraud/v1.tar.gz")  # at once in the process that deleted it
    with pytest.raises(ModelNotFoundError, match="was deleted"):
        ModelRegistry(three._aws, three.uri).resolve("fraud/v1.tar.gz")  # also through another registry of that client
    clock.now += 4.1
    with pytest.raises(ModelNotFoundError, match="was deleted"):
        watched.resolve("fraud/v1.tar.gz")
    for bad in ("../x", "/x", "", "x/", ".mme/x", "fraud@", "@live", None, "x\n"):
        with pytest.raises(InvalidInputError):
            watched.resolve(bad)  # type: ignore[arg-type]


def test_without_s3_the_last_known_holds(
    three: ModelRegistry, watched: ModelRegistry, counting: CountingAws, clock: FakeClock, caplog: Any
) -> None:
    three.alias("fraud", "live", "v1")
    watched.resolve("fraud@live")
    counting.cut = True
    clock.now += 60
    assert watched.resolve("fraud@live").version == "v1"  # this call asks S3
    counting.calls.clear()
    assert watched.resolve("fraud@live").version == "v1"  # this one does not wait for S3
    assert counting.calls == []
    clock.now += 3
    assert watched.resolve("fraud@live").version == "v1"
    counting.last.result(60)
    assert "cached ones stay in use" in caplog.text
    with pytest.raises(NotSentError):
        watched.resolve("other@live")
    counting.cut = False
    three.alias("fraud", "live", "v2")
    clock.now += 30
    watched.resolve("fraud@live")
    counting.last.result(60)
    assert watched.resolve("fraud@live").version == "v2"


def test_many_threads_share_the_first_read(three: ModelRegistry, watched: ModelRegistry, counting: CountingAws) -> None:
    three.alias("fraud", "live", "v1")
    counting.held = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(watched.resolve, "fraud@live") for _ in range(8)]
        assert counting.began.wait(60)
        counting.held.set()
        assert {future.result(60).version for future in futures} == {"v1"}
    assert counting.calls.count("get_object") == 2


def test_changes_while_others_resolve(three: ModelRegistry) -> None:
    three.alias("fraud", "live", "v1")
    stop = threading.Event()

    def resolve_until_stopped() -> set[str]:
        seen = set()
        while not stop.is_set():
            seen.add(three.resolve("fraud@live").version)
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(resolve_until_stopped) for _ in range(4)]
        try:
            for number in range(10):
                three.alias("fraud", "live", f"v{number % 3 + 1}")
                assert three.resolve("fraud@live").version == f"v{number % 3 + 1}"
        finally:
            stop.set()
        assert set().union(*(reader.result(60) for reader in readers)) <= {"v1", "v2", "v3"}


def test_a_closed_client_raises_closed_error(
    s3_server: S3Server, s3_session: boto3.Session, three: ModelRegistry
) -> None:
    three.alias("fraud", "live", "v1")
    clock = FakeClock()
    aws = Aws(session=s3_session, endpoint_url=s3_server.endpoint_url, clock=clock)
    models = ModelRegistry(aws, three.uri, staleness=4)
    assert models.resolve("fraud@live").version == "v1"
    aws.close()
    clock.now += 3
    for _ in range(2):
        with pytest.raises(ClosedError):
            models.resolve("fraud@live")


def test_a_read_from_before_our_own_change_is_not_remembered(three: ModelRegistry) -> None:
    three.alias("fraud", "live", "v1")
    resolver = three._resolver
    mine, _ = resolver.claim(("", "fraud@live.json"))
    reading = steps(resolver.load(mine), three._aws)
    for _ in range(3):  # S3 has answered; the response is not processed yet
        next(reading)
    three.alias("fraud", "live", "v2")
    assert list(reading) == []
    assert three.resolve("fraud@live").version == "v2"


def test_awaited(three: ModelRegistry, s3_aws: Aws) -> None:
    async def main() -> None:
        models = AsyncModelRegistry(s3_aws, three.uri)
        await models.alias("fraud", "live", "v1")
        found = await asyncio.gather(*(models.resolve("fraud@live") for _ in range(5)))
        assert {one.version for one in found} == {"v1"}
        await models.alias("fraud", "live", "v2")
        assert (await models.rollback("fraud", "live")).weights == {"v1": 1.0}
        assert (await models.resolve("fraud@live")).version == "v1"
        assert [one.reference for one in await models.aliases()] == ["fraud@live"]
        await models.unalias("fraud", "live")
        with pytest.raises(ModelNotFoundError):
            await models.resolve("fraud@live")

    asyncio.run(main())
