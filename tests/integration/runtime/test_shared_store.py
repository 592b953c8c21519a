"""Shared state in a real Valkey server: passwords, a server that is killed, and one that hangs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from mme_sdk._flows.effects import Do, Interpreter, Sleep
from mme_sdk.errors import ConfigurationError
from mme_sdk.runtime import Shared
from mme_sdk.runtime.effects import RunFlow
from mme_sdk.runtime.shared.link import Link, _open
from mme_sdk.runtime.shared.pace import SharedPace
from tests.support.runtime.scripted import FakeClock
from tests.support.runtime.valkey import Valkey, valkey

SECRET = "the-secret"


def run(flow: Any, clock: FakeClock | None = None) -> Any:
    flows = Interpreter({Do: lambda effect: effect.function()})
    handlers: dict[Any, Any] = {Do: lambda effect: effect.function(), RunFlow: lambda effect: flows.run(effect.flow)}
    if clock is not None:
        handlers[Sleep] = lambda effect: clock.sleep(effect.seconds)
    return Interpreter(handlers).run(flow)


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey(SECRET) as made:
        yield made


def test_a_password_comes_from_the_url_the_field_or_a_variable(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_PASSWORD", SECRET)
    address = server.url.removeprefix("redis://")
    for shared in (
        Shared(f"redis://:{SECRET}@{address}", timeout=9),
        Shared(server.url, password=SECRET, timeout=9),
        Shared(server.url, password_env="CACHE_PASSWORD", timeout=9),
    ):
        link = Link(shared)
        acquired = run(link.trip(lambda store: store.acquire("scoring", "a", "w", seconds=60)))
        assert acquired == (True, "")
        run(link.trip(lambda store: store.release("scoring", "a", "w", curves="")))


@pytest.mark.parametrize("password", [None, "another-secret"])
def test_a_wrong_password_is_an_error(server: Valkey, password: str | None) -> None:
    link = Link(Shared(server.url, password=password, timeout=9))
    with pytest.raises(ConfigurationError, match=r"cannot share state in redis://127.0.0.1") as caught:
        run(link.trip(lambda store: store.acquire("scoring", "a", "w", seconds=60)))
    assert "password" in str(caught.value)
    assert "another-secret" not in "".join([str(caught.value), repr(caught.value.__cause__)])
    assert caught.value.__cause__ is None


def test_a_key_of_another_kind_is_an_error(server: Valkey) -> None:
    link = Link(Shared(server.url, password=SECRET, namespace="kinds", timeout=9))
    run(link.trip(lambda store: store.acquire("other", "a", "w", seconds=60)))
    link._store._client.set("kinds:{scoring}:lease:a", "text")  # type: ignore[union-attr]
    link._reached = False
    with pytest.raises(ConfigurationError, match="cannot share state"):
        run(link.trip(lambda store: store.acquire("scoring", "a", "w", seconds=60)))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_calls_go_on_without_their_store(how: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with valkey() as server:
        shared = Shared(server.url, rate=100, timeout=9)
        link = Link(shared, now=clock.monotonic)
        pace = SharedPace(link, "scoring", 100.0)
        assert run(pace.wait_for_turn(clock.monotonic, clock.now + 60), clock)
        patient, link._store = link._store, _open(attrs.evolve(shared, timeout=0.01))
        os.kill(server.process.pid, how)
        if how == signal.SIGKILL:
            server.process.wait()
        began = clock.now
        with caplog.at_level(logging.WARNING):
            for _ in range(300):
                assert run(pace.wait_for_turn(clock.monotonic, clock.now + 60), clock)
        assert 2.6 <= clock.now - began <= 3.1
        assert "does not answer" in caplog.text
        assert link.trips <= 4
        if how == signal.SIGSTOP:
            os.kill(server.process.pid, signal.SIGCONT)
            link._store = patient
            clock.now += 2.0
            assert run(pace.wait_for_turn(clock.monotonic, clock.now + 60), clock)
            assert not link._down
