"""Clients: what `with_options` shares, what `close` closes, which registry `models` returns, and what is made late."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import boto3
import pytest

from mme_sdk import AsyncMMEClient, ColdStart, MMEClient, RetryPolicy, Timeouts
from mme_sdk.config import TRANSPORTS
from mme_sdk.errors import ClosedError, ConfigurationError, InvalidInputError
from mme_sdk.registry.store import ObjectOptions
from mme_sdk.runtime import Codecs, Memory
from mme_sdk.runtime.transport import TransportChoice
from tests.support.runtime.recorder import Recorder

PREFIX = "s3://ml-models/prod/"
CLIENTS = [MMEClient, AsyncMMEClient]


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


def client_of(recorder: Recorder, kind: type[Any] = MMEClient, **settings: Any) -> Any:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    return kind(session=session, endpoint_url=recorder.url, **settings)


ALL = {"transport", "control", "memory", "registries", "aliases"}
SHARED: list[tuple[dict[str, Any], set[str]]] = [
    ({}, ALL),
    ({"timeouts": Timeouts(deadline=5)}, ALL),
    ({"hooks": [print]}, ALL),
    ({"codecs": Codecs()}, ALL),
    ({"region": "us-west-2", "session": None, "transport": "fast"}, set()),
    ({"region": "us-west-2"}, set()),
    ({"session": None}, set()),
    ({"endpoint_url": "http://127.0.0.1:9"}, set()),
    ({"transport": "botocore"}, ALL - {"transport"}),
    ({"timeouts": Timeouts(connect=1)}, {"memory", "aliases"}),
    ({"timeouts": Timeouts(read=1)}, {"memory", "aliases"}),
    ({"retry": RetryPolicy(fault_attempts=1)}, {"transport", "memory", "aliases"}),
    ({"retry": RetryPolicy(budget=1)}, {"transport", "aliases"}),
    ({"retry": RetryPolicy(breaker_rest=1)}, {"transport", "aliases"}),
    ({"cold_start": ColdStart(expected=30)}, ALL - {"memory"}),
    ({"memory": Memory()}, ALL - {"memory"}),
    ({"memory": None}, ALL - {"memory"}),
]


def shared(client: Any, other: Any) -> set[str]:
    pairs = {
        "transport": (client.transport, other.transport),
        "control": (client._aws, other._aws),
        "memory": (client.memory, other.memory),
        "registries": (client.models(PREFIX), other.models(PREFIX)),
        "aliases": (client.models(PREFIX)._resolver, other.models(PREFIX)._resolver),
    }
    return {name for name, (one, two) in pairs.items() if one is two}


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(("changes", "expected"), SHARED, ids=[str(list(one)) for one, _ in SHARED])
def test_a_derived_client_shares_what_its_settings_allow(
    kind: type[Any], changes: dict[str, Any], expected: set[str]
) -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    client = kind(region="us-east-1", session=session)
    derived = client.with_options(**changes)
    # In either order: a part that is not made yet is shared too.
    assert shared(client, derived) == expected
    assert shared(client.with_options(**changes), client) == expected
    assert shared(derived.with_options(), derived) == ALL
    assert type(derived) is kind
    for name, value in changes.items():
        if name in ("region", "timeouts") or (name == "memory" and value is not None):
            assert getattr(derived, name) is value


def test_settings_that_are_left_out_stay_and_each_change_is_in_force() -> None:
    memory = Memory(ColdStart(expected=7))
    client = MMEClient(region="eu-west-1", memory=memory, retry=RetryPolicy(fault_attempts=2))
    assert client.with_options(timeouts=Timeouts(deadline=5)).timeouts.deadline == 5
    assert client.timeouts.deadline == 360
    assert client.with_options(region="us-east-1").memory.cold.expected == 7  # its settings, not what it learned
    assert client.with_options(cold_start=ColdStart(expected=9)).memory.cold.expected == 9
    assert client.with_options(cold_start=None).memory.cold.expected == ColdStart().expected
    assert client.with_options(memory=None).memory.cold.expected == 7
    invoker = client.with_options(timeouts=Timeouts(deadline=5), retry=None)._invoker.get()
    assert invoker._settings.timeouts.deadline == 5
    assert invoker._settings.retry == RetryPolicy()


def test_memory_and_cold_start_exclude_each_other() -> None:
    for make in (MMEClient, MMEClient(region="eu-west-1").with_options):
        with pytest.raises(InvalidInputError, match="memory and cold_start exclude"):
            make(memory=Memory(), cold_start=ColdStart())


IMPOSSIBLE: dict[str, list[Any]] = {
    "region": [5, "", True, b"eu-west-1"],
    "session": ["default", 5, False],
    "endpoint_url": [5, "", ["http://a"], {"s3": 5}, {5: "http://a"}, {"s3": ""}],
    "timeouts": [5, 0, False, {}, RetryPolicy()],
    "retry": [3, 0, False, {}, Timeouts()],
    "cold_start": [5, 0, False, {}],
    "transport": ["fats", "", None, 5, ["auto"]],
    "memory": [0, False, {}, "shared", ColdStart()],
    "hooks": [5, None, print, "abc", [5]],
    "codecs": [0, False, {}, [], object()],
}


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_a_setting_that_cannot_be_used_is_refused_by_name(kind: type[Any], name: str, value: Any) -> None:
    for make in (kind, kind(region="eu-west-1").with_options):
        with pytest.raises((InvalidInputError, ConfigurationError), match=rf"^{name} must be "):
            make(**{name: value})


def test_the_names_of_the_transports_are_those_of_the_type() -> None:
    assert get_args(TransportChoice) == TRANSPORTS


class Tuned(MMEClient):
    """A subclass with state of its own."""

    def __init__(self, team: str) -> None:
        super().__init__(region="eu-west-1")
        self.team = team


def test_a_derived_client_of_a_subclass_keeps_its_state() -> None:
    derived = Tuned("risk").with_options(timeouts=Timeouts(deadline=1))
    assert (type(derived), derived.team) == (Tuned, "risk")


def test_closing_a_derived_client_leaves_the_shared_parts_open(recorder: Recorder) -> None:
    client = client_of(recorder)
    derived = client.with_options(timeouts=Timeouts(deadline=300))
    handle = derived.endpoint("scoring")
    assert handle.invoke(b"1").value == [1.0]
    assert client.endpoint("scoring").invoke(b"1").value == [1.0]
    derived.close()
    derived.close()
    for each in (handle, derived.endpoint("scoring")):
        with pytest.raises(ClosedError):
            each.invoke(b"1")
    unused = client.with_options(hooks=[])
    unused.close()
    with pytest.raises(ClosedError):
        unused.endpoint("scoring").invoke(b"1")
    assert client.endpoint("scoring").invoke(b"1").value == [1.0]
    client.close()


def test_closing_a_client_closes_what_it_shares_and_nothing_else(recorder: Recorder) -> None:
    client = client_of(recorder)
    derived = client.with_options(timeouts=Timeouts(deadline=300))
    apart = client.with_options(endpoint_url={"*": recorder.url})
    for each in (client, derived, apart):
        assert each.endpoint("scoring").invoke(b"1").value == [1.0]
    client.close()
    for each in (client, derived, client.with_options()):
        with pytest.raises(ClosedError):
            each.endpoint("scoring").invoke(b"1")
    assert apart.endpoint("scoring").invoke(b"1").value == [1.0]
    apart.close()
    with pytest.raises(ClosedError):
        apart.endpoint("scoring").invoke(b"1")


class ClosedMeanwhile(MMEClient):
    """Another thread closes this client while its invoker is made."""

    def _make_invoker(self) -> Any:
        made = super()._make_invoker()
        MMEClient.close(self)
        return made


def test_a_derived_client_that_is_closed_while_its_invoker_is_made_makes_no_call(recorder: Recorder) -> None:
    client = client_of(recorder, ClosedMeanwhile)
    derived = client.with_options(timeouts=Timeouts(deadline=300))
    recorder.reset()
    handle = derived.endpoint("scoring")
    for each in (handle, handle, derived.endpoint("scoring")):
        with pytest.raises(ClosedError):
            each.invoke(b"1")
    assert recorder.requests == []
    client.close()


def test_closing_asynchronous_clients(recorder: Recorder) -> None:
    async def main() -> None:
        async with client_of(recorder, AsyncMMEClient) as client:
            async with client.with_options(timeouts=Timeouts(deadline=300)) as derived:
                assert (await derived.endpoint("scoring").invoke(b"1")).value == [1.0]
            with pytest.raises(ClosedError):
                await derived.endpoint("scoring").invoke(b"1")
            assert (await client.endpoint("scoring").invoke(b"1")).value == [1.0]
            last = client.with_options(hooks=[print])
        with pytest.raises(ClosedError):
            await last.endpoint("scoring").invoke(b"1")

    asyncio.run(main())


def test_threads_that_derive_clients_use_one_transport_and_one_memory(recorder: Recorder) -> None:
    client = client_of(recorder)
    seen: list[tuple[int, ...]] = []

    def work(number: int) -> None:
        with client.with_options(timeouts=Timeouts(deadline=300 + number)) as derived:
            derived.endpoint("scoring").invoke(b"1")
            parts = (derived.transport, derived.memory, derived.models(PREFIX), derived._aws)
            seen.append(tuple(id(part) for part in parts))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(64)))
    assert seen == [tuple(map(id, (client.transport, client.memory, client.models(PREFIX), client._aws)))] * 64
    assert client.endpoint("scoring").invoke(b"1").value == [1.0]
    client.close()


@pytest.mark.parametrize("kind", CLIENTS)
def test_models_returns_one_registry_for_each_set_of_settings(kind: type[Any]) -> None:
    client = kind(region="eu-west-1")
    encrypted = ObjectOptions(kms_key="alias/ml", tags={"team": "risk"})
    first = client.models(PREFIX, options=encrypted, staleness=10)
    assert client.models(PREFIX.rstrip("/")) is first
    assert client.models(PREFIX, staleness=10) is first
    assert client.models(PREFIX, key="{name}/{version}.tar.gz") is first
    assert client.models(PREFIX, options=ObjectOptions(kms_key="alias/ml", tags={"team": "risk"})) is first
    plain = client.models(PREFIX, options=ObjectOptions())
    assert plain is not first
    assert plain._resolver is first._resolver  # one cache of aliases
    fresher = client.models(PREFIX, staleness=1)
    assert fresher is client.models(PREFIX, staleness=1.0)
    assert fresher._operations.store.options == encrypted
    assert client.models("s3://ml-models/test/") is not first


def test_invocations_resolve_aliases_through_the_registry_with_the_shortest_staleness() -> None:
    client = MMEClient(region="eu-west-1")
    stores = client._invoker.get()._stores
    slow = client.models(PREFIX, staleness=10)
    assert stores[PREFIX] is slow
    fast = client.models(PREFIX, staleness=2)
    assert stores[PREFIX] is fast
    client.models(PREFIX, staleness=5)
    assert client.models(PREFIX) is slow
    assert stores[PREFIX] is fast
    stores.pop(PREFIX)  # an invoker that may not read S3
    assert client.models(PREFIX) is slow
    assert stores[PREFIX] is slow


def test_a_layout_of_its_own_is_used_by_invocations_and_a_second_layout_is_refused_by_name() -> None:
    client = MMEClient(region="eu-west-1")
    flat = client.models(PREFIX, key="{name}-{version}.tar.gz")
    assert client.models(PREFIX) is flat
    assert client._invoker.get()._stores[PREFIX] is flat
    assert client.with_options(timeouts=Timeouts(deadline=1)).models(PREFIX) is flat
    with pytest.raises(InvalidInputError, match=r"key: this client uses .*'\{name\}-\{version\}"):
        client.models(PREFIX, key="{name}/{version}.tar.gz")
    assert client.models("s3://ml-models/test/", key="{name}/{version}.tar.gz") is not flat


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"key": "no-version"}, "version"),
        ({"staleness": -1}, "staleness"),
        ({"staleness": "5"}, "staleness"),
        ({"staleness": True}, "staleness"),
        ({"options": {"kms_key": "a"}}, "options"),
    ],
)
def test_models_refuses_a_setting_that_cannot_be_used_and_remembers_nothing_of_it(
    settings: dict[str, Any], named: str
) -> None:
    client = MMEClient(region="eu-west-1")
    with pytest.raises(InvalidInputError, match=named):
        client.models(PREFIX, **settings)
    assert client._registries.get().stores == {}
    assert client.models(PREFIX, key="{name}-{version}.tar.gz") is client.models(PREFIX)


def test_threads_get_the_same_registry() -> None:
    client = MMEClient(region="eu-west-1")
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: client.models(f"s3://ml-models/{n % 4}/", staleness=5), range(256)))
    assert len({id(one) for one in found}) == 4


def test_the_collection_of_endpoints_makes_no_invoker_and_no_transport() -> None:
    code = """
import sys
from mme_sdk import MMEClient
client = MMEClient(region="eu-west-1")
client.endpoints, client.endpoint("scoring"), client.models("s3://ml-models/prod/")
assert client._invoker.made is None and client._transport.made is None and client._memory.made is None
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"mme_sdk.runtime.invoker", "mme_sdk.runtime.transport", "boto3"} & set(loaded)


def test_no_method_takes_any_keyword_and_both_clients_have_the_same() -> None:
    for name, function in inspect.getmembers(MMEClient, inspect.isfunction):
        parameters = inspect.signature(function).parameters
        assert all(one.kind is not one.VAR_KEYWORD for one in parameters.values()), name
        if not name.startswith("_"):
            assert list(parameters) == list(inspect.signature(getattr(AsyncMMEClient, name)).parameters)
    settings = set(inspect.signature(MMEClient).parameters)
    assert set(inspect.signature(MMEClient.with_options).parameters) - {"self"} == settings
