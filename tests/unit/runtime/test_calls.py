"""What invokers remember from call to call: budgets, failed loads, load times, hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
from mme_sdk.errors import (
    ClosedError,
    ConfigurationError,
    InvalidInputError,
    MMEError,
    ModelNotReadyError,
    ModelServerError,
    PayloadTooLargeError,
    ServiceError,
    ThrottledError,
    UndecodableReplyError,
)
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Waitable
from mme_sdk.runtime.interpreters import interpreter
from mme_sdk.runtime.invoker import RuntimeInvoker
from mme_sdk.runtime.telemetry.hooks import (
    AttemptMade,
    CallCompleted,
    CallFailed,
    ColdStartSeen,
    Event,
    RetryPlanned,
    log_hook,
)
from mme_sdk.runtime.transport_interface import Transport
from mme_sdk.types.model import ModelVersion
from tests.support.runtime.keywords import gathered
from tests.support.runtime.scripted import FakeClock, Middle, SyncScript

NOT_READY = {"status": 429, "code": "ModelNotReadyException", "message": "loading"}
FAILED = {"status": 424, "code": "ModelError", "message": "load failed", "original_status": 500}
FRAUD = "fraud/v1.tar.gz"


class Setting:
    def __init__(self, rows: Sequence[dict[str, Any]], **options: Any) -> None:
        self.clock = FakeClock()
        self.script = SyncScript(self.clock, rows)
        self.events: list[Event] = []
        retry = options.pop("retry", RetryPolicy())
        clock = options.pop("clock", None)
        if clock is not None:
            self.clock = self.script.clock = clock
        self.memory = Memory(options.pop("cold", ColdStart()), retry)
        self.invoker = RuntimeInvoker(
            Aws(region="us-east-1"),
            self.script,
            timeouts=Timeouts(),
            retry=retry,
            clock=self.clock,
            rng=Middle(),
            memory=self.memory,
            hooks=[self.events.append, *options.pop("hooks", ())],
            wait=self.clock.wait,
            **options,
        )

    def replace(
        self, *, transport: Transport | None = None, wait: Callable[[Waitable, float], bool] | None = None
    ) -> None:
        """Let the invoker send and wait in another way."""
        self.invoker._transport = transport or self.script
        self.invoker._interpreter = interpreter(
            transport or self.script, clock=self.clock, aws=self.invoker._aws, wait=wait or self.clock.wait
        )

    def invoke(self, model: Any = FRAUD, **options: Any) -> Any:
        return self.invoker.invoke("scoring", b"{}", model=model, **gathered(options))


class LoadingScript(SyncScript):
    """A model that is loading for some seconds from the first request on, and answers 429 at once meanwhile."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__(clock, [])
        self.seconds = seconds
        self.first: float | None = None

    def step(self, request: Any, read_timeout: float) -> Any:
        if self.first is None:
            self.first = self.clock.now
        ready = self.clock.now >= self.first + self.seconds
        self.rows = [{"took": 0.02} if ready else NOT_READY | {"took": 0.02}]
        return super().step(request, read_timeout)


def cold_call(setting: Setting, seconds: float, model: str = FRAUD, **options: Any) -> tuple[float, int]:
    """Overshoot as a share of the load time, and attempts, of one cold start."""
    script = LoadingScript(setting.clock, seconds)
    setting.replace(transport=script)
    began = setting.clock.now
    reply = setting.invoke(model, deadline=3600, **options)
    assert reply.cold
    return (setting.clock.now - began - seconds) / seconds, reply.attempts


@pytest.mark.parametrize("seconds", [2.0, 20.0, 90.0, 300.0])
def test_a_learned_model_is_met_soon_after_it_is_ready(seconds: float) -> None:
    setting = Setting([])
    for _ in range(3):
        cold_call(setting, seconds)
        setting.clock.now += 10_000
    overshoot, attempts = cold_call(setting, seconds)
    assert overshoot < 0.30
    assert attempts <= 8


def test_what_was_learned_of_one_model_helps_with_the_next() -> None:
    setting = Setting([])
    _, unknown = cold_call(setting, 120.0)
    _, like_it = cold_call(setting, 120.0, "other/v1.tar.gz")
    assert like_it < unknown


def test_sizes_tell_before_anything_was_seen() -> None:
    setting = Setting([])
    small = ModelVersion(name="a", version="1", target_model="a", uri="s3://b/a", size=10_000_000)
    large = ModelVersion(name="b", version="1", target_model="b", uri="s3://b/b", size=5_000_000_000)
    for model in (small, large):
        cold_call(setting, 60.0, model)  # type: ignore[arg-type]
    expected = [event.expected for event in setting.events if isinstance(event, ColdStartSeen)]
    assert expected[0] < 3 < 40 < expected[1]


def test_a_deadline_that_cannot_be_met_says_when_it_could_be() -> None:
    setting = Setting([])
    cold_call(setting, 100.0)
    setting.clock.now += 10_000
    setting.replace(transport=LoadingScript(setting.clock, 100.0))
    with pytest.raises(ModelNotReadyError) as caught:
        setting.invoke(deadline=20)
    assert caught.value.ready_in is not None
    assert 20 < caught.value.ready_in < 120
    assert caught.value.attempts == len(caught.value.attempt_history) >= 2
    assert {attempt.code for attempt in caught.value.attempt_history} == {"ModelNotReadyException"}
    assert "expected to be loaded in about" in caught.value.message


def test_a_model_that_fails_to_load_fails_at_once_for_a_while() -> None:
    setting = Setting([FAILED, FAILED, FAILED, {}], cold=ColdStart(failed_loads=3, failed_rest=30))
    for _ in range(3):
        with pytest.raises(ModelServerError):
            setting.invoke()
    with pytest.raises(ModelServerError) as caught:
        setting.invoke()
    assert caught.value.sent is False
    assert "nothing was sent" in (caught.value.hint or "")
    assert len(setting.script.sent) == 3
    setting.invoke("other/v1.tar.gz")
    setting.script.rows = [{}]
    setting.clock.now += 31
    setting.invoke()


def test_a_bad_payload_does_not_count_as_a_failed_load() -> None:
    # Many containers answer 500 to a payload that they cannot use.
    bad = [
        FAILED | {"original_status": status, "message": "KeyError in payload"} for status in (400, 500, 500, 500, 500)
    ]
    setting = Setting([*bad, {}])
    for _ in bad:
        with pytest.raises(MMEError):
            setting.invoke()
    assert setting.invoke().value == {"ok": True}


def test_the_budget_ends_retries_and_successes_fill_it_again() -> None:
    throttled = {"status": 400, "code": "ThrottlingException", "message": "Rate exceeded"}
    setting = Setting([throttled, throttled, {}, throttled] + [{}] * 5 + [throttled, {}], retry=RetryPolicy(budget=10))
    assert setting.invoke().attempts == 3
    with pytest.raises(ThrottledError) as caught:
        setting.invoke()
    assert "budget" in (caught.value.hint or "")
    for _ in range(5):
        setting.invoke()
    assert setting.invoke().attempts == 2


def test_the_breaker_blocks_retries_and_never_first_attempts() -> None:
    down = {"status": 503, "code": "ServiceUnavailable", "message": "down", "forever": True}
    setting = Setting([down], retry=RetryPolicy(fault_attempts=3, breaker_faults=6, budget=100_000))
    sent = []
    for _ in range(4):
        with pytest.raises(ServiceError):
            setting.invoke()
        sent.append(len(setting.script.sent))
    assert sent == [3, 6, 7, 8]
    setting.clock.now += 6
    with pytest.raises(ServiceError):
        setting.invoke()
    assert len(setting.script.sent) == 11


def test_hooks_are_told_in_order() -> None:
    setting = Setting([NOT_READY, {"status": 500, "code": "InternalFailure"}, {}])
    setting.invoke()
    assert [type(event) for event in setting.events] == [
        AttemptMade,
        RetryPlanned,
        ColdStartSeen,
        AttemptMade,
        RetryPlanned,
        AttemptMade,
        CallCompleted,
    ]
    setting.script.rows = [FAILED]
    with pytest.raises(ModelServerError) as caught:
        setting.invoke("other/v1.tar.gz")
    last = setting.events[-1]
    assert isinstance(last, CallFailed)
    assert last.error is caught.value


def test_a_hook_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("observer down")

    setting = Setting([{}], hooks=[broken])
    assert setting.invoke().value == {"ok": True}
    assert "observer down" in caplog.text


def test_the_log_says_what_happened_and_never_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hook = log_hook()
    setting = Setting([NOT_READY, {}, FAILED])
    setting.invoker.invoke("scoring", b"secret-payload", model=FRAUD)
    with pytest.raises(ModelServerError):
        setting.invoke("other/v1.tar.gz")
    for event in setting.events:
        hook(event)
    assert "is loading" in caplog.text
    assert "ModelServerError" in caplog.text
    assert "secret-payload" not in caplog.text


def test_bad_input_is_refused_before_anything_is_sent() -> None:
    setting = Setting([], payload_limit=100)
    refused: list[tuple[type[MMEError], dict[str, Any]]] = [
        (InvalidInputError, {"model": "../other"}),
        (InvalidInputError, {"model": "/abs"}),
        (InvalidInputError, {"model": ""}),
        (InvalidInputError, {"model": "x" * 1025}),
        (InvalidInputError, {"custom_attributes": "a\r\nX-Injected: 1"}),
        (InvalidInputError, {"custom_attributes": "ü"}),
        (InvalidInputError, {"custom_attributes": "x" * 1025}),
        (InvalidInputError, {"inference_id": "x" * 65}),
        (InvalidInputError, {"content_type": "text/csv\n"}),
        (InvalidInputError, {"accept": ""}),
        (InvalidInputError, {"deadline": 0}),
        (InvalidInputError, {"deadline": float("nan")}),
        (ConfigurationError, {"model": "fraud@live"}),
    ]
    for kind, options in refused:
        with pytest.raises(kind) as caught:
            setting.invoke(**options)
        assert caught.value.sent is False, options
    for data in ({1, 2}, object(), float("nan"), {"a": object()}):
        with pytest.raises(InvalidInputError):
            setting.invoker.invoke("scoring", data, model=FRAUD)
    with pytest.raises(PayloadTooLargeError, match="101 bytes"):
        setting.invoker.invoke("scoring", b"x" * 101, model=FRAUD)
    for name in ("", "-a", "a_b", "a" * 64):
        with pytest.raises(InvalidInputError):
            setting.invoker.invoke(name, b"", model=FRAUD)
    assert setting.script.sent == []


def test_a_reply_that_is_not_what_was_asked_for_keeps_its_bytes() -> None:
    setting = Setting([{"body": '{"score": "high"}'}, {"body": "not json"}])
    with pytest.raises(UndecodableReplyError) as caught:
        setting.invoke(response_type=dict[str, float])
    assert caught.value.body == b'{"score": "high"}'
    assert caught.value.request_id == "req-1"
    assert len(caught.value.attempt_history) == 1
    reply = setting.invoke()
    assert reply.text == "not json"
    with pytest.raises(UndecodableReplyError):
        reply.json()


def test_closed_means_closed() -> None:
    setting = Setting([{}])
    setting.invoker.close()
    assert setting.script.closed
    with pytest.raises(ClosedError):
        setting.invoke()


def test_while_one_call_meets_a_spill_others_of_the_warm_model_pass() -> None:
    setting = Setting([{}])
    setting.invoke()
    began: list[float] = []

    class Spill(SyncScript):
        """The first request meets another instance; while it waits, a second call is made."""

        def step(self, request: Any, read_timeout: float) -> Any:
            if not began:
                began.append(self.clock.now)
                self.rows = [NOT_READY]
            else:
                self.rows = [{"took": 0.02}]
            return super().step(request, read_timeout)

    waits: list[float] = []

    def wait(event: Any, timeout: float) -> bool:
        if not waits:
            waits.append(timeout)
            other = setting.invoke()
            assert (other.attempts, other.cold) == (1, None)
        return FakeClock.wait(setting.clock, event, timeout)

    setting.replace(transport=Spill(setting.clock, []), wait=wait)
    reply = setting.invoke()
    assert reply.attempts == 2
    assert waits[0] <= 1.0


def test_an_uncompressed_version_is_refused_before_anything_is_sent() -> None:
    setting = Setting([])
    version = ModelVersion(
        name="fraud", version="v1", target_model=".mme/uncompressed/fraud@v1.json", uri="s3://b/tree/", compressed=False
    )
    with pytest.raises(InvalidInputError, match="is an uncompressed version; a multi-model endpoint needs an archive"):
        setting.invoker.invoke("scoring", b"{}", version)


async def _name(_: Any) -> str:
    return FRAUD


@pytest.mark.parametrize("wrong", [{"model_of": _name}, {"model_of": str, "data_of": _name}])
def test_a_coroutine_function_of_an_item_is_refused_before_anything_is_sent(wrong: dict[str, Any]) -> None:
    setting = Setting([])
    with pytest.raises(InvalidInputError, match=f"{list(wrong)[-1]} must be an ordinary function"):
        setting.invoker.invoke_many("scoring", [b"{}"], **wrong)


def test_the_error_of_an_item_has_a_short_traceback() -> None:
    results = Setting([FAILED]).invoker.invoke_many("scoring", [b"{}"], model_of=lambda _: FRAUD)
    error = next(iter(results)).error
    with pytest.raises(ModelServerError) as caught:
        raise error or AssertionError
    assert [entry.path for entry in caught.traceback if "mme_sdk" in entry.path.parts] == []


PROD, STAGING = (
    ModelVersion(name="fraud", version="v1", target_model=FRAUD, uri=f"s3://models/{prefix}/{FRAUD}")
    for prefix in ("prod", "staging")
)


class Described(Setting):
    """A client of an endpoint whose models are below s3://models/prod, as SageMaker describes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: MMEError | None = None, **options: Any) -> None:
        super().__init__([{"status": 200, "body": "{}"}] * 3, **options)
        self.read: list[str] = []

        def model_prefix(endpoint: str) -> Any:
            self.read.append(endpoint)
            if error is not None:
                raise error
            return "s3://models/prod"
            yield

        monkeypatch.setattr("mme_sdk.runtime._invoker_base.model_prefix", model_prefix)


@pytest.mark.parametrize("known", ["s3://models/prod/", "s3://models/prod"])
def test_a_version_of_another_prefix_is_refused(monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    setting = Described(monkeypatch)
    setting.invoke(PROD, prefix=known)
    assert setting.read == []
    with pytest.raises(InvalidInputError, match=r"staging/fraud/v1\.tar\.gz is not the address of an archive"):
        setting.invoke(STAGING, prefix=known)


def test_an_endpoint_that_was_updated_to_another_prefix_serves_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Described(monkeypatch)
    for _ in range(2):
        assert setting.invoke(PROD, prefix="s3://models/before/").model == FRAUD
    assert setting.read == ["scoring"]


def test_with_several_registries_the_prefix_of_the_endpoint_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stores: dict[str, Any] = {}
    setting = Described(monkeypatch, stores=stores)
    setting.invoke(STAGING)  # nothing is known
    stores.update({"s3://models/a/": None, "s3://models/b/": None})
    setting.invoke(PROD)
    setting.invoke(PROD)
    with pytest.raises(InvalidInputError, match="s3://models/staging/"):
        setting.invoke(STAGING)
    assert setting.read == ["scoring"] * 2  # again before it refuses


def test_a_prefix_that_cannot_be_read_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stores: dict[str, Any] = {"s3://models/a/": None, "s3://models/b/": None}
    setting = Described(monkeypatch, error=ServiceError("no"), stores=stores)
    setting.invoke(PROD)
    setting.invoke(PROD)
    assert setting.read == ["scoring"]
