"""What travels between processes: settings and values, never credentials; one living object a process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import boto3
import cloudpickle  # type: ignore[import-untyped]
import pytest

from mme_sdk import AsyncMMEClient, ColdStart, MMEClient, ModelVersion, Recorder, Reply, RetryPolicy, Timeouts
from mme_sdk.errors import InvalidInputError, ModelError, ThrottledError
from mme_sdk.registry import ObjectOptions
from mme_sdk.runtime import (
    BatchSettings,
    Codecs,
    FileLeases,
    InvokeOptions,
    ItemResult,
    LoadTimes,
    Memory,
    RuntimeInvoker,
    TritonCodec,
)
from mme_sdk.runtime.single_model.stream_base import ReplyStreamBase

HOWS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "protocol 2": lambda value: pickle.loads(pickle.dumps(value, 2)),
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
    "deepcopy": copy.deepcopy,
}
CLIENTS = {"sync": MMEClient, "async": AsyncMMEClient}
URLS = {"s3": "http://127.0.0.1:9", "*": "http://127.0.0.1:8"}


def hook(event: object) -> None:
    """Do nothing."""


def make(kind: str = "sync", **more: Any) -> Any:
    given: dict[str, Any] = {
        "region": "eu-west-3",
        "endpoint_url": URLS,
        "timeouts": Timeouts(deadline=7),
        "retry": RetryPolicy(budget=9),
        "cold_start": ColdStart(expected=3),
        "transport": "fast",
        "hooks": [hook],
    }
    return CLIENTS[kind](**given | more)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("how", HOWS)
def test_a_client_arrives_with_its_settings(kind: str, how: str) -> None:
    client = make(kind)
    again = HOWS[how](client)
    assert type(again) is type(client)
    assert again is not client
    assert again._settings == client._settings
    assert again._transport.made is None  # it makes nothing before its first call
    assert again._aws.known_region == "eu-west-3"


@pytest.mark.parametrize("how", HOWS)
def test_values_arrive_equal(how: str) -> None:
    reply: Reply[Any] = Reply(body=b'{"score": 0.5}', content_type="application/json", model="m.tar.gz")
    error = ModelError("it failed", endpoint="scoring", status=400)
    values = [
        reply,
        ItemResult(3, {"a": 1}, reply=reply),
        ModelVersion(
            uri="s3://models/prod/fraud/v1.tar.gz", name="fraud", version="v1", target_model="fraud/v1.tar.gz"
        ),
        Timeouts(read=3),
        RetryPolicy(),
        ColdStart(),
        BatchSettings(window=9),
        InvokeOptions(deadline=4.0),
        ObjectOptions(kms_key="alias/ml"),
    ]
    for value in values:
        assert HOWS[how](value) == value
    assert HOWS[how](ItemResult(3, 1, reply=reply)).value == {"score": 0.5}
    failed = HOWS[how](ItemResult(4, {"a": 2}, error=error))
    assert str(failed.error) == str(error)
    assert (type(failed.error), failed.error.status) == (ModelError, 400)
    assert isinstance(HOWS[how](Codecs([TritonCodec()])), Codecs)
    assert isinstance(HOWS[how](Recorder()), Recorder)


def test_a_process_has_one_client_however_often_it_is_unpickled() -> None:
    client = make()
    data = pickle.dumps(client)
    first = pickle.loads(data)
    assert pickle.loads(data) is first
    assert pickle.loads(pickle.dumps(client.endpoint("scoring")))._context is first.endpoints._context
    assert pickle.loads(pickle.dumps(first)) is first is pickle.loads(pickle.dumps(first.endpoint("e")))._context.client
    first.close()  # does not close the one that was pickled
    assert not client._closed
    assert pickle.loads(data) is not first
    assert pickle.loads(pickle.dumps(make())) is not pickle.loads(pickle.dumps(make()))


def test_a_derived_client_is_another_one() -> None:
    client = make()
    before = pickle.loads(pickle.dumps(client))
    derived = client.with_options(timeouts=Timeouts(deadline=1))
    again = pickle.loads(pickle.dumps(derived))
    assert again is not before
    assert again.timeouts.deadline == 1
    assert copy.copy(client)._transport is client._transport


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("how", HOWS)
def test_a_handle_and_a_registry_arrive_with_their_client(kind: str, how: str) -> None:
    client = make(kind)
    handle = HOWS[how](client.endpoint("scoring"))
    assert (handle.name, type(handle)) == ("scoring", type(client.endpoint("scoring")))
    assert handle._context.client._settings == client._settings
    options = ObjectOptions(kms_key="alias/ml")
    models = client.models("s3://models/prod", key="{name}-{version}.tar.gz", options=options, staleness=2)
    again = HOWS[how](models)
    assert type(again) is type(models)
    assert (again.uri, again._facts()) == (models.uri, models._facts())
    assert (again._operations.store.options, again._staleness) == (options, 2)
    assert HOWS[how](again) is again
    assert HOWS[how](client.endpoints).handle("x")._context.client._settings == client._settings


@pytest.mark.parametrize("how", HOWS)
def test_a_memory_arrives_with_its_estimates(how: str) -> None:
    load_times = LoadTimes(max_models=7)
    load_times.observe("scoring", "a.tar.gz", 20.0, size=10)
    memory = Memory(ColdStart(expected=8), RetryPolicy(budget=7), load_times=load_times, max_models=7)
    memory.endpoint("scoring").model("a.tar.gz").loaded = True
    again = HOWS[how](memory)
    assert again is not memory
    assert (again.cold, again.retry, again._max_models) == (memory.cold, memory.retry, 7)
    assert again.load_times.expected("scoring", "a.tar.gz") == load_times.expected("scoring", "a.tar.gz")
    assert again.load_times.expected("scoring", "b.tar.gz", size=11).source == "size"
    assert again.find("scoring") is None
    again.load_times.observe("scoring", "c.tar.gz", 1.0)
    assert len(load_times) == 1
    client = HOWS[how](MMEClient(region="eu-west-3", memory=memory))
    assert client.memory.cold.expected == 8
    assert len(client.memory.load_times) >= 1
    times = HOWS[how](load_times)
    assert times.expected("scoring", "a.tar.gz") == load_times.expected("scoring", "a.tar.gz")


def test_clients_that_share_a_memory_share_it_in_the_other_process() -> None:
    memory = Memory()
    one, two = MMEClient(region="a", memory=memory), MMEClient(region="b", memory=memory)
    assert pickle.loads(pickle.dumps(one)).memory is pickle.loads(pickle.dumps(two)).memory


@pytest.mark.parametrize("how", HOWS)
def test_leases_that_are_held_stay_with_their_holder(how: str, tmp_path: Any) -> None:
    leases = FileLeases(tmp_path / "leases.db")
    assert leases.take("scoring", "a.tar.gz", seconds=60)
    other = HOWS[how](leases)
    other.drop("scoring", "a.tar.gz")  # not its own
    assert not other.take("scoring", "a.tar.gz", seconds=60)


@pytest.mark.parametrize("dump", [pickle.dumps, cloudpickle.dumps])
def test_no_secret_travels(dump: Callable[[Any], bytes]) -> None:
    session = boto3.Session("AKIDSECRETID", "the-secret-key", "the-session-token", region_name="eu-west-3")
    client = MMEClient(session=session, endpoint_url=URLS)
    client._aws.client("s3")
    client.endpoint("scoring")
    for value in (client, client.endpoint("scoring"), client.models("s3://models/prod")):
        data = dump(value)
        for secret in (b"AKIDSECRETID", b"the-secret-key", b"the-session-token"):
            assert secret not in data
    again = pickle.loads(dump(client))
    assert (again.region, again._settings.session) == ("eu-west-3", None)


def test_a_profile_travels_by_its_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text("[profile team]\nregion = eu-west-3\naws_access_key_id = AKID\naws_secret_access_key = hidden\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    client = MMEClient(session=boto3.Session(profile_name="team"))
    data = pickle.dumps(client)
    assert b"hidden" not in data
    assert pickle.loads(data)._settings.session.profile_name == "team"
    path.write_text("")
    with pytest.raises(Exception, match="team") as caught:
        pickle.loads(pickle.dumps(client.with_options(timeouts=Timeouts(read=2))))
    assert type(caught.value).__module__ == "mme_sdk.errors"


class OtherSession:
    """A session that is not boto3's."""

    def client(self, *_: object, **__: object) -> None:
        """Return nothing."""


def test_what_cannot_travel_is_refused_by_name() -> None:
    client = make()
    invoker = client.endpoint("scoring")._invoker
    assert isinstance(invoker, RuntimeInvoker)
    stream = ReplyStreamBase("scoring", {"Body": []}, client._aws)
    strange: Any = OtherSession()
    refused = {
        "an invoker": invoker,
        "a stream": stream,
        "class OtherSession": MMEClient(session=strange),
        "http://host/, an endpoint_url": MMEClient(region="a", endpoint_url="http://user:hidden@host/"),
        "no client made": type(client.models("s3://models/prod"))(client._aws, "s3://models/prod"),
    }
    for name, value in refused.items():
        with pytest.raises(InvalidInputError, match=name) as caught:
            pickle.dumps(value)
        assert "hidden" not in str(caught.value)
        assert caught.value.hint is not None


def test_an_error_of_a_row_keeps_its_facts() -> None:
    error = ThrottledError("throttled", endpoint="scoring", retry_after=3.0)
    for how in HOWS.values():
        assert vars(how(error)) == vars(error)
