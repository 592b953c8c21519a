"""Each option of each method that invokes reaches the wire or its purpose, or is refused by name.

Methods and options are found by introspection: one that nobody described here fails.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pandas as pd
import pytest

from mme_sdk import AsyncMMEClient, MMEClient, Progress, protocols
from mme_sdk.aws import Aws
from mme_sdk.config import RetryPolicy
from mme_sdk.endpoints import AsyncEndpoint, AsyncEndpoints, Endpoint, Endpoints
from mme_sdk.endpoints.async_invocation import AsyncInvocationMixin
from mme_sdk.endpoints.invocation import InvocationMixin
from mme_sdk.errors import InvalidInputError, MMEError, ModelNotReadyError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime import AsyncRuntimeInvoker, BatchSettings, RuntimeInvoker
from mme_sdk.runtime.batch import async_driver, driver
from mme_sdk.runtime.options import AsyncInferenceOptions, InvokeOptions
from mme_sdk.runtime.transport import make_async_transport, make_transport
from mme_sdk.runtime.transport.request_headers import HEADERS
from tests.support.runtime.keywords import gathered
from tests.support.runtime.recorder import Recorder

MODEL = "fraud/v1.tar.gz"
FRAME = pd.DataFrame({"a": [1.5]})
SM = "x-amzn-sagemaker-"
# What each option that is a header is sent as, and values that are refused.
SENT: dict[str, str] = {
    "model": MODEL,
    "content_type": "application/json",
    "accept": "application/jsonlines",
    "target_variant": "blue",
    "target_container": "first",
    "inference_component": "part-1",
    "session_id": "s-1",
    "inference_id": "i 1",
    "custom_attributes": "trace=1; b",
    "enable_explanations": "`true`",
    "prefix_aware_id": "app 1",
    "time_to_live": "60",
    "invocation_timeout": "3600",
    "filename": "answer.json",
    "output_path_extension": "2026/11",
}
NAME, TEXT = ["", "a b", "-a", "a-", "a_b", "é", "a" * 64, 3, True], ["", " a", "a ", "a\nb", "a\x00", "é", 3, b"a"]


async def _awaited(_: Progress) -> None:
    """Nothing awaits a callback."""


REFUSED: dict[str, list[Any]] = {
    "model": ["", "/a", "a/../b", "a\nb", "x" * 1025, 3],
    "content_type": [*TEXT, "x" * 1025],
    "accept": [*TEXT, "x" * 1025],
    "deadline": [0, -1, float("nan"), float("inf"), "5", True],
    "target_variant": NAME,
    "target_container": NAME,
    "inference_component": NAME,
    "session_id": ["", "a b", "-a", "new_session", "é", "a" * 257, 3],
    "inference_id": [*TEXT, "x" * 65],
    "custom_attributes": [*TEXT, "x" * 1025],
    "enable_explanations": [*TEXT, "x" * 65],
    "prefix_aware_id": [*TEXT, "x" * 65],
    "idempotent": ["no", 1, None],
    "sticky": ["", 3],
    "settings": [3, {"max_concurrency": 2}],
    "response_type": [3, pd.Series, object()],
    "data_of": ["a", 3],
    "capacity": [0, -1, 1.5, "2", True],
    "expected": [{"a": -1.0}, {"a": "2"}, {"a": float("nan")}, {"a": True}],
    "progress": ["yes", 3, _awaited],
    "at_a_time": [0, -1, 1.5, "2", True],
    "time_to_live": [59, 21601, 60.0, "60", True],
    "invocation_timeout": [0, 3601, 1.5, "1", True],
    "filename": ["", "a.b.c", ".a", "a/b", "x" * 33, 3],
    "output_path_extension": ["", "s3://a", "a b", "x" * 513, 3],
}
WITH_PREFIX = {"invoke", "invoke_many", "invoke_frame", "warm", "keep_warm"}
OPERATIONS = {
    "invoke_stream": "InvokeEndpointWithResponseStream",
    "invoke_async": "InvokeEndpointAsync",
}


def methods(kind: type) -> list[str]:
    """Public methods of a class that take keywords of an invocation."""
    found = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    return [name for name in found if name != "close"]


KINDS: dict[str, tuple[type, list[str]]] = {
    "invoker": (RuntimeInvoker, methods(RuntimeInvoker)),
    "async invoker": (AsyncRuntimeInvoker, methods(AsyncRuntimeInvoker)),
    "endpoint": (Endpoint, methods(InvocationMixin)),
    "async endpoint": (AsyncEndpoint, methods(AsyncInvocationMixin)),
}


def options_of(kind: type, method: str) -> list[str]:
    """Keywords of a method. An invoker's travel in `InvokeOptions`: those of the public method, and `prefix`."""
    if kind in (RuntimeInvoker, AsyncRuntimeInvoker):
        return [*options_of(Endpoint, method), *(["prefix"] if method in WITH_PREFIX else [])]
    parameters = inspect.signature(getattr(kind, method)).parameters.values()
    assert not [one for one in parameters if one.kind is inspect.Parameter.VAR_KEYWORD], f"{kind.__name__}.{method}"
    return [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]


EACH = [
    (kind, method, option)
    for kind, (cls, names) in KINDS.items()
    for method in names
    for option in options_of(cls, method)
]
ALL = sorted({option for _, _, option in EACH})


class Subject:
    """One object whose methods are called, over a real transport to a recorder."""

    def __init__(self, kind: str, recorder: Recorder) -> None:
        self.kind, self.recorder = kind, recorder
        self.resolved: list[tuple[str, str | None]] = []
        self.prefixes: list[str] = []
        self._number = 0
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        self._aws = Aws(session=session, endpoint_url=recorder.url)
        self._runner = asyncio.Runner()
        retry = RetryPolicy(fault_base=0.001, fault_cap=0.001)
        self._sync = RuntimeInvoker(self._aws, make_transport(self._aws), models=self._registry, retry=retry)
        self._async = AsyncRuntimeInvoker(
            self._aws, make_async_transport(self._aws), models=self._async_registry, retry=retry
        )

    def reset(self) -> None:
        self.recorder.reset()
        self.resolved.clear()
        self.prefixes.clear()
        self._number += 1  # another endpoint: of this one, nothing is remembered

    @property
    def prefix(self) -> str:
        return f"s3://models/{self._number}/"

    def close(self) -> None:
        self._sync.close()
        self._runner.run(self._async.close())
        self._runner.close()
        self._aws.close()

    def _registry(self, prefix: str) -> Any:
        self.prefixes.append(prefix)
        return self

    def _async_registry(self, prefix: str) -> Any:
        self.prefixes.append(prefix)
        subject = self

        class Store:
            async def resolve(self, reference: str, *, key: str | None = None) -> str:
                return subject.resolve(reference, key=key)

        return Store()

    def resolve(self, reference: str, *, key: str | None = None) -> str:
        if "@" in reference:
            self.resolved.append((reference, key))
        return MODEL

    def call(self, method: str, **options: Any) -> Any:
        """Call a method with what it needs at least, beside `options`; its outcome, read to the end."""
        needed: dict[str, tuple[Any, ...]] = {
            "invoke": (b"1",),
            "invoke_many": ([b"1"],),
            "invoke_frame": (FRAME,),
            "warm": ([MODEL],),
            "keep_warm": ([MODEL],),
            "invoke_stream": (b"1",),
            "invoke_async": ("s3://payloads/1",),
        }
        arguments = options.pop("arguments", needed[method])
        if method == "keep_warm":
            options = {"rates": {MODEL: 1.0}, "sizes": {MODEL: 1}, "capacity": 10, "bound_by_slo": True} | options
        name = f"scoring-{self._number}"
        if "endpoint" not in self.kind:
            arguments, options = (name, *arguments), gathered(options)
        if "async" in self.kind:
            twin = AsyncEndpoints(self._aws, lambda: self._async).handle(name)
            return self._runner.run(
                self._acall(twin if "endpoint" in self.kind else self._async, method, arguments, options)
            )
        subject = Endpoints(self._aws, lambda: self._sync).handle(name) if "endpoint" in self.kind else self._sync
        made = getattr(subject, method)(*arguments, **options)
        if method == "invoke_many":
            return list(made)
        if method == "invoke_stream":
            with made:
                return b"".join(made)
        return made

    @staticmethod
    async def _acall(subject: Any, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        made = getattr(subject, method)(*arguments, **options)
        if isinstance(made, AsyncIterable):
            return [result async for result in made]
        made = await made
        if method == "invoke_stream":
            async with made:
                return b"".join([chunk async for chunk in made])
        return made


@pytest.fixture(scope="module")
def subjects() -> Iterator[dict[str, Subject]]:
    with Recorder() as recorder:
        made = {kind: Subject(kind, recorder) for kind in KINDS}
        yield made
        for subject in made.values():
            subject.close()


@pytest.fixture
def recorder(subjects: dict[str, Subject]) -> Recorder:
    for subject in subjects.values():
        subject.reset()
    return subjects["invoker"].recorder


def header_of(method: str, option: str) -> str:
    """The header of an option, by botocore's model for what has other headers than InvokeEndpoint."""
    special = {"time_to_live": "requestttlseconds", "invocation_timeout": "invocationtimeoutseconds"}
    special |= {"filename": "filename", "output_path_extension": "s3outputpathextension"}
    if option in special:
        return SM + special[option]
    if method in OPERATIONS and option == "accept":
        return f"{SM}accept"
    if method == "invoke_async" and option == "content_type":
        return f"{SM}content-type"
    return HEADERS["target_model" if option == "model" else option].lower()


def errors_in(outcome: Any) -> list[BaseException]:
    """Errors in what a batch returned."""
    if isinstance(outcome, pd.DataFrame):
        return [error for error in outcome["error"] if error is not None]
    if isinstance(outcome, list):
        return [result.error for result in outcome if result.error is not None]
    return [failed.error for failed in getattr(outcome, "failed", ()) if failed.error is not None]


def values(method: str, option: str) -> dict[str, Any]:
    """An option as it is given."""
    value: Any = int(SENT[option]) if option in ("time_to_live", "invocation_timeout") else SENT[option]
    return {option: value}


@pytest.mark.parametrize(("kind", "method", "option"), EACH, ids=["-".join(each) for each in EACH])
def test_each_option_of_each_method_has_its_effect(
    kind: str,
    method: str,
    option: str,
    recorder: Recorder,
    subjects: dict[str, Subject],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = subjects[kind]
    if option in SENT:
        assert not errors_in(subject.call(method, **values(method, option)))
        header = header_of(method, option)
        assert [one.headers.get(header) for one in recorder.invocations] == [SENT[option]]
        assert all(one.headers.get(header) is None for one in silent(subject, method))
        return
    effect = EFFECTS.get(option)
    assert effect is not None, f"{option} is new: say here what it does"
    effect(subject, method, tmp_path, monkeypatch)


def silent(subject: Subject, method: str) -> list[Any]:
    """The requests without any option; those that every method sends by itself are not compared."""
    subject.recorder.requests.clear()
    subject.call(method)
    always = {"content-type", f"{SM}content-type", f"{SM}target-model" if method in ("warm", "keep_warm") else ""}
    for one in subject.recorder.invocations:
        for name in always:
            one.headers.pop(name, None)
    return subject.recorder.invocations


def alias(method: str) -> dict[str, Any]:
    return {
        "invoke": {"model": "fraud@live"},
        "invoke_many": {"model_of": lambda _: "fraud@live"},
        "invoke_frame": {"model_of": lambda _: "fraud@live"},
        "warm": {"arguments": (["fraud@live"],)},
        "keep_warm": {"arguments": (["fraud@live"],)},
    }[method]


def with_prefix(subject: Subject, method: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if "endpoint" in subject.kind:
        monkeypatch.setattr("mme_sdk.endpoints._endpoint_base.Handle.prefix", subject.prefix)
        return {}
    return {"prefix": subject.prefix}


def _prefix(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.call(method, **alias(method), prefix=subject.prefix)
    assert subject.prefixes == [subject.prefix]


def _sticky(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.call(method, **alias(method), **with_prefix(subject, method, monkeypatch), sticky="customer-1")
    assert subject.resolved == [("fraud@live", "customer-1")]


def _deadline(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.recorder.mood = "cold"
    for deadline in (0.4, 4, 40):  # a busy machine may not even send a request within the first one
        try:
            (error,) = errors_in(subject.call(method, deadline=deadline))
        except MMEError as raised:
            error = raised
        if not isinstance(error, NotSentError):
            break
    # Without the deadline it would go on for 360 s. A busy machine may not even answer within it.
    assert isinstance(error, (ModelNotReadyError, OutcomeUnknownError))


def _idempotent(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.recorder.mood = "drops"
    assert not errors_in(subject.call(method, idempotent=True))
    assert len(subject.recorder.invocations) == 2


def _response_type(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = subject.call(method, response_type=bytes)
    assert (outcome[0] if method == "invoke_many" else outcome).value == b"[1.0]"


def _model_of(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.call(method, model_of=lambda _: MODEL)
    assert subject.recorder.invocations[0].headers[f"{SM}target-model"] == MODEL


def _data_of(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.call(method, data_of=lambda item: item + b"!")
    assert subject.recorder.invocations[0].body == b"1!"


def _settings(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = BatchSettings(max_concurrency=3)
    given = _given_to_the_batch(monkeypatch)
    subject.call(method, settings=wanted)
    assert given == [wanted]


def _at_a_time(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = _given_to_the_batch(monkeypatch)
    subject.call(method, at_a_time=7)
    assert (given[0].max_concurrency, given[0].models_at_once) == (7, 7)


def _given_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> list[BatchSettings]:
    given: list[BatchSettings] = []
    for module, name in ((driver, "run_batch"), (async_driver, "async_run_batch")):
        run = getattr(module, name)

        def recorded(*arguments: Any, run: Callable[..., Any] = run, **options: Any) -> Any:
            given.append(options["settings"])
            return run(*arguments, **options)

        monkeypatch.setattr(module, name, recorded)
    return given


def _checkpoint(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = f"{folder}/ledger/"
    subject.call(method, checkpoint=ledger)
    before = len(subject.recorder.invocations)
    subject.call(method, checkpoint=ledger)
    assert len(subject.recorder.invocations) == before
    if method == "invoke_frame":
        return
    subject.call(method, checkpoint=folder / "done.txt")
    assert (folder / "done.txt").read_text() == "0\n"


def _progress(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Progress] = []
    subject.call(method, progress=reported.append)
    assert [(seen.done, seen.failed, seen.total) for seen in reported if seen.done] == [(1, 0, 1)]


def _rows_per_call(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == "invoke_many":  # the first item is alone, because nothing else was read when it started
        subject.call(method, arguments=([b"1\n"] * 9,), rows_per_call=4, content_type="text/csv")
        assert len(subject.recorder.invocations) < 9
        return
    subject.call(method, arguments=(pd.DataFrame({"a": [1.5, 2.5]}),), rows_per_call=1)
    assert len(subject.recorder.invocations) == 2


def _payload(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.call(method, payload={"probe": 1})
    assert subject.recorder.json() == {"probe": 1}


def _expected(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"b.tar.gz": 9.0, "a.tar.gz": 1.0}
    subject.call(method, arguments=(["a.tar.gz", "b.tar.gz"],), expected=rates, at_a_time=1)
    assert [one.headers[f"{SM}target-model"] for one in subject.recorder.invocations] == ["b.tar.gz", "a.tar.gz"]


def _capacity(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == "warm":
        assert subject.call(method, capacity=1).left_out == (MODEL,)
        return
    with pytest.raises(InvalidInputError, match="takes 2 bytes of 1"):
        subject.call(method, sizes={MODEL: 2}, capacity=1, bound_by_slo=False)


def _loss(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {f"m{n}": 1 / (n + 1) / 60 for n in range(100)}
    facts = {"rates": rates, "sizes": dict.fromkeys(rates, 100), "capacity": 2000}
    with pytest.raises(InvalidInputError, match="net loss"):
        subject.call(method, arguments=(["m98", "m99"],), bound_by_slo=False, **facts)
    subject.call(method, arguments=(["m98", "m99"],), bound_by_slo=True, **facts)
    assert len(subject.recorder.invocations) == 2


def _upload_to(subject: Subject, method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject.call(method, arguments=(b"1",), upload_to="s3://payloads/in/")
    put, invocation = subject.recorder.requests
    assert put.path.startswith("/payloads/in/")
    assert invocation.headers[f"{SM}inputlocation"] == f"s3:/{put.path}"
    with pytest.raises(InvalidInputError, match="upload_to"):
        subject.call(method, upload_to="s3://payloads/in/")  # the payload is in S3 already


EFFECTS: dict[str, Callable[[Subject, str, Path, pytest.MonkeyPatch], None]] = {
    "prefix": _prefix,
    "sticky": _sticky,
    "deadline": _deadline,
    "idempotent": _idempotent,
    "response_type": _response_type,
    "model_of": _model_of,
    "data_of": _data_of,
    "settings": _settings,
    "at_a_time": _at_a_time,
    "checkpoint": _checkpoint,
    "progress": _progress,
    "rows_per_call": _rows_per_call,
    "payload": _payload,
    "expected": _expected,
    "capacity": _capacity,
    "rates": _loss,
    "sizes": _loss,
    "bound_by_slo": _loss,
    "upload_to": _upload_to,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_a_method_does_not_have_is_refused_by_name(
    kind: str, recorder: Recorder, subjects: dict[str, Subject]
) -> None:
    subject = subjects[kind]
    cls, names = KINDS[kind]
    tried = 0
    for method in names:
        for option in {*ALL, "enable_explanation", "targetmodel"} - set(options_of(cls, method)):
            error: type[Exception] = TypeError
            message = rf"{method}\(\) .*'{option}'"
            if "invoker" in kind and option in InvokeOptions._fields:
                error = InvalidInputError
                message = f"{method} does not support the option {option}\n"
            elif "invoker" in kind and option in AsyncInferenceOptions._fields:
                message = rf"{method}\(\) .*'queue_options'"
            with pytest.raises(error, match=message):
                subject.call(method, **{option: "x"})
            tried += 1
    assert tried > 50
    assert recorder.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_cannot_be_used_is_refused_by_name_before_the_wire(
    kind: str, recorder: Recorder, subjects: dict[str, Subject]
) -> None:
    subject = subjects[kind]
    cls, names = KINDS[kind]
    tried = 0
    for method in names:
        for option in set(options_of(cls, method)) & REFUSED.keys():
            for value in REFUSED[option]:
                refusal = "model must be text|target model|leave" if option == "model" else option
                with pytest.raises(InvalidInputError, match=refusal):
                    subject.call(method, **{option: value})
                tried += 1
    assert tried > 200
    assert recorder.requests == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "options", "named"),
    [
        ("invoke", {"inference_component": "a", "target_container": "b"}, "target_container"),
        ("invoke", {"inference_component": "a", "model": MODEL}, "model"),
        ("invoke_many", {"inference_component": "a", "target_container": "b"}, "target_container"),
        ("invoke_frame", {"inference_component": "a", "target_container": "b"}, "target_container"),
        ("invoke_stream", {"inference_component": "a", "target_container": "b"}, "target_container"),
        ("invoke_stream", {"session_id": "NEW_SESSION"}, "session_id"),
        ("invoke", {"sticky": "a"}, "sticky"),
        ("invoke", {"sticky": "a", "model": MODEL}, "sticky"),
        ("invoke_many", {"model_of": MODEL}, "model_of"),
        ("invoke_many", {"model_of": None}, "model_of"),
        ("invoke_frame", {"model_of": 3}, "model_of"),
    ],
)
def test_options_that_exclude_each_other_are_refused_by_name(
    kind: str, method: str, options: dict[str, Any], named: str, recorder: Recorder, subjects: dict[str, Subject]
) -> None:
    with pytest.raises(InvalidInputError, match=named):
        subjects[kind].call(method, **options)
    assert recorder.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_of_a_batch_that_excludes_an_option_fails_by_name(
    kind: str, recorder: Recorder, subjects: dict[str, Subject]
) -> None:
    outcome = subjects[kind].call("invoke_many", model_of=lambda _: MODEL, inference_component="a")
    (error,) = errors_in(outcome)
    assert "inference_component" in str(error)
    assert recorder.requests == []


def test_every_member_of_the_service_model_can_be_said() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker-runtime")
    said = {HEADERS[field].lower() for field in HEADERS}
    for operation in model.operation_names:
        for name, shape in model.operation_model(operation).input_shape.members.items():
            if name in ("EndpointName", "Body", "InputLocation"):
                continue
            header = shape.serialization["name"].lower()
            method = {value: key for key, value in OPERATIONS.items()}.get(operation, "invoke")
            options = options_of(Endpoint, method)
            assert header in {header_of(method, one) for one in options if one in SENT}, f"{operation}.{name}"
    assert said


def test_no_public_method_here_takes_any_keyword() -> None:
    kinds = [*(cls for cls, _ in KINDS.values()), MMEClient, AsyncMMEClient]
    kinds += [getattr(protocols, name) for name in protocols.__all__ if inspect.isclass(getattr(protocols, name))]
    for kind in kinds:
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") or (name == "__init__" and "Protocol" not in str(kind.__mro__)):
                loose = [one for one in inspect.signature(function).parameters.values() if one.kind is one.VAR_KEYWORD]
                assert not loose, f"{kind.__name__}.{name} takes any keyword"


def test_the_twins_have_the_same_parameters() -> None:
    for sync, twin in ((RuntimeInvoker, AsyncRuntimeInvoker), (Endpoint, AsyncEndpoint)):
        for method in methods(InvocationMixin):
            names = [list(inspect.signature(getattr(kind, method)).parameters) for kind in (sync, twin)]
            assert names[0] == names[1]


def test_the_options_of_invoke_are_the_fields_of_invoke_options_and_each_is_documented() -> None:
    assert {*InvokeOptions._fields, "model"} == {*options_of(Endpoint, "invoke"), "prefix"}
    public = {*InvokeOptions._fields, *AsyncInferenceOptions._fields} - {"prefix"}
    for kind in (Endpoint, AsyncEndpoint):
        for method in methods(InvocationMixin):
            text = inspect.getdoc(getattr(kind, method)) or ""
            for name in inspect.signature(getattr(kind, method)).parameters:
                assert name == "self" or f"\n    {name}: " in text, f"{method}: {name}"
    for kind in (InvokeOptions, AsyncInferenceOptions):
        assert all(f"\n    {name}: " in (inspect.getdoc(kind) or "") for name in kind._fields)
    assert public <= set(ALL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_has_the_session_that_was_opened_and_the_one_that_was_closed(
    kind: str, recorder: Recorder, subjects: dict[str, Subject]
) -> None:
    recorder.said = {
        "X-Amzn-SageMaker-New-Session-Id": "s-2; Expires=2026-11-27T10:30:00Z",
        "X-Amzn-SageMaker-Closed-Session-Id": "s-1",
        "X-Amzn-SageMaker-Custom-Attributes": "seen=1",
        "x-Amzn-Invoked-Production-Variant": "blue",
    }
    reply = subjects[kind].call("invoke", session_id="NEW_SESSION")
    assert (reply.new_session_id, reply.closed_session_id) == ("s-2", "s-1")
    assert reply.session_expires == datetime(2026, 11, 27, 10, 30, tzinfo=UTC)
    assert (reply.custom_attributes, reply.variant) == ("seen=1", "blue")
    recorder.said = {}
    reply = subjects[kind].call("invoke")
    assert (reply.new_session_id, reply.session_expires, reply.closed_session_id) == (None, None, None)
