"""Ledgers: what is done is not called again, whatever ended the run before, and nothing of another job is mixed in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mme_sdk._flows.effects import Flow, Sleep
from mme_sdk.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    RowCountError,
    StorageError,
)
from mme_sdk.runtime import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult
from mme_sdk.runtime.ledger import entries, objects, stores
from mme_sdk.runtime.ledger.calls import LedgerCalls
from mme_sdk.runtime.ledger.items import Item, LedgerFailed
from mme_sdk.runtime.ledger.objects import is_ledger, objects_at
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.types.reply import Reply
from tests.support.registry.s3_model import S3Model
from tests.support.runtime.keywords import gathered
from tests.support.runtime.ledgers import AsyncDoubles, Doubles, Killed, MemoryAws

LEDGER = "s3://jobs/42/"
FRAME = pd.DataFrame({"tenant": [f"m{row % 3}.tar.gz" for row in range(12)], "x": range(12)})
twins = pytest.mark.parametrize("twin", ["sync", "async"])


class Job:
    """One endpoint and one S3, for any number of runs."""

    def __init__(self, twin: str) -> None:
        self.twin = twin
        self.model: Doubles = Doubles() if twin == "sync" else AsyncDoubles()
        self.s3 = S3Model()
        self.aws = MemoryAws(self.s3)

    @property
    def calls(self) -> int:
        return self.model.sent.total()

    def invoker(self) -> Any:
        kind: Any = RuntimeInvoker if self.twin == "sync" else AsyncRuntimeInvoker
        return kind(self.aws, self.model)

    def frame(self, frame: pd.DataFrame = FRAME, endpoint: str = "scoring", **options: Any) -> pd.DataFrame:
        keywords = {"model_of": "tenant", "rows_per_call": 2, "checkpoint": LEDGER} | options
        done = self.invoker().invoke_frame(endpoint, frame, **gathered(keywords))
        return done if self.twin == "sync" else asyncio.run(done)

    def many(self, items: Any, **options: Any) -> list[ItemResult[Any]]:
        keywords = {
            "model_of": lambda item: f"m{item % 3}.tar.gz",
            "data_of": lambda item: f"{item}\n",
            "content_type": "text/csv",
            "checkpoint": LEDGER,
        } | options
        if self.twin == "sync":
            return list(self.invoker().invoke_many("scoring", items, **gathered(keywords)))

        async def collected() -> list[ItemResult[Any]]:
            return [one async for one in self.invoker().invoke_many("scoring", items, **gathered(keywords))]

        return asyncio.run(collected())


@pytest.fixture(params=["sync", "async"])
def job(request: pytest.FixtureRequest) -> Job:
    return Job(request.param)


def test_a_frame_that_is_done_is_not_called_again(job: Job) -> None:
    first = job.frame()
    assert (job.calls, first["prediction"].tolist()) == (6, [2.0 * row for row in range(12)])
    again = job.frame()
    pd.testing.assert_frame_equal(again, first)
    assert job.calls == 6
    assert len(job.s3.objects) == 6


def test_what_changes_an_answer_is_called(job: Job) -> None:
    job.frame()
    changed = FRAME.assign(x=[100, *range(1, 12)])
    assert job.frame(changed)["prediction"].tolist() == [200.0, *(2.0 * row for row in range(1, 12))]
    assert job.calls == 7  # one request has another row
    others: list[dict[str, Any]] = [
        {"endpoint": "other"},
        {"accept": "text/plain"},
        {"content_type": "text/csv; charset=utf-8"},
        {"custom_attributes": "a"},
        {"target_variant": "v"},
        {"frame": FRAME.assign(tenant="other.tar.gz")},
    ]
    for other in others:
        before = job.calls
        job.frame(**other)
        assert job.calls == before + 6, other
    before = job.calls
    job.aws = MemoryAws(job.s3, region="us-east-1")
    job.frame()
    assert job.calls == before + 6, "an endpoint of the same name in another region"
    job.aws = MemoryAws(job.s3)
    before = job.calls
    job.frame(deadline=5.0, idempotent=True, inference_id="a")
    assert job.calls == before


def test_failed_rows_are_called_again(job: Job) -> None:
    job.model.failing = {"m1.tar.gz"}
    assert job.frame()["error"].notna().sum() == 4
    job.model.failing = set()
    before = job.calls
    assert job.frame()["prediction"].tolist() == [2.0 * row for row in range(12)]
    assert job.calls == before + 2


def test_an_answer_with_too_few_rows_is_not_kept(job: Job) -> None:
    job.model.short = {"m0.tar.gz", "m1.tar.gz", "m2.tar.gz"}
    with pytest.raises(RowCountError):
        job.frame()
    assert job.s3.objects == {}
    job.model.short = set()
    assert job.frame()["error"].isna().all()


@pytest.mark.parametrize("after", [False, True])
def test_a_frame_is_completed_whichever_operation_ends_the_process(job: Job, after: bool) -> None:
    settings = BatchSettings(max_concurrency=2)
    for at in range(100):
        job.s3.objects.clear()
        job.model.sent.clear()
        job.aws = MemoryAws(job.s3, at, after=after)
        try:
            job.frame(settings=settings)
        except Killed:
            pass
        else:
            break
        finally:
            job.aws = MemoryAws(job.s3)
        assert job.frame(settings=settings)["prediction"].tolist() == [2.0 * row for row in range(12)]
        assert job.calls <= 6 + 2, "more was repeated than ran when the process ended"
    assert at == 12  # six requests, each is looked up and kept


def test_a_stream_returns_what_it_has(job: Job) -> None:
    first = job.many(range(30))
    assert [one.value for one in first] == [[2.0 * item] for item in range(30)]
    assert job.calls == 30
    assert len(job.s3.objects) == 1
    again = job.many(range(40))
    assert [(one.index, one.item, one.value) for one in again] == [(item, item, [2.0 * item]) for item in range(40)]
    assert job.calls == 40
    replied = again[0].reply
    assert replied is not None
    assert (replied.model, replied.attempts, replied.content_type) == ("m0.tar.gz", 0, "application/json")


def test_a_stream_with_other_items_does_not_get_their_answers(job: Job) -> None:
    job.many([1, 2, 3])
    assert [one.value for one in job.many([1, 3, 3])] == [[2.0], [6.0], [6.0]]
    assert job.calls == 4  # 3 was not at the position 1
    assert [one.value for one in job.many([1, 2, 3])] == [[2.0], [4.0], [6.0]]
    assert job.calls == 4


def test_a_stream_calls_failed_items_again_and_joins_rows(job: Job) -> None:
    job.model.failing = {"m1.tar.gz"}
    results = job.many(range(12), rows_per_call=4)
    assert [one.error is None for one in results] == [item % 3 != 1 for item in range(12)]
    job.model.failing = set()
    job.model.sent.clear()
    assert [one.value for one in job.many(range(12), rows_per_call=4)] == [[2.0 * item] for item in range(12)]
    assert dict(job.model.sent) == {("m1.tar.gz", b"1\n4\n7\n10\n"): 1}


@pytest.mark.parametrize("after", [False, True])
def test_a_stream_is_completed_whichever_operation_ends_the_process(
    job: Job, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_ENTRIES", 3)
    settings = BatchSettings(max_concurrency=2)
    for at in range(100):
        job.s3.objects.clear()
        job.model.sent.clear()
        job.aws = MemoryAws(job.s3, at, after=after)
        try:
            job.many(range(10), settings=settings)
        except Killed:
            pass
        else:
            break
        finally:
            job.aws = MemoryAws(job.s3)
        results = job.many(range(10), settings=settings)
        assert [one.value for one in results] == [[2.0 * item] for item in range(10)]
        assert job.calls <= 10 + 2 * 3 + 2  # two objects that were not written, and what ran
    assert at == 5  # a listing, and objects of 3, 3, 3 and 1 answers


def test_a_stream_that_its_caller_leaves_keeps_what_is_done() -> None:
    job = Job("sync")
    results = job.invoker().invoke_many(
        "scoring", range(100), options=InvokeOptions(), data_of=lambda item: f"{item}", checkpoint=LEDGER
    )
    assert [next(results).index for _ in range(5)] == list(range(5))
    results.close()
    before = job.calls
    kept = len(entries.decode("", next(iter(job.s3.objects.values()))[0]))
    assert 5 <= kept <= before
    job.many(range(100), model_of=lambda _: None, content_type=None, data_of=lambda item: f"{item}")
    assert job.calls == before + 100 - kept


def test_a_slow_stream_is_written_after_ten_seconds() -> None:
    now = 0.0
    s3 = S3Model()
    aws = MemoryAws(s3)
    store = stores.StreamStore(objects_at(LEDGER), lambda: now)
    aws.run(store.open())
    aws.run(store.keep("a" * 40, Reply(body=b"1")))
    assert not s3.objects
    now = 10.0
    aws.run(store.keep("b" * 40, Reply(body=b"2")))
    assert len(s3.objects) == 1
    aws.run(store.finish())
    assert len(s3.objects) == 1


def test_a_large_stream_is_in_few_objects_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_CACHED", 2)
    s3 = S3Model()
    aws = MemoryAws(s3)
    store = stores.StreamStore(objects_at(LEDGER), lambda: 0.0)
    aws.run(store.open())
    keys = [entries.key_of("e", None, b"%d" % at, "t", InvokeOptions(), at) for at in range(2000)]
    for at, key in enumerate(keys):
        aws.run(store.keep(key, Reply(body=b"%d" % at)))
    aws.run(store.finish())
    assert len(s3.objects) == 8
    again = stores.StreamStore(objects_at(LEDGER), lambda: 0.0)
    aws.run(again.open())
    found = [aws.run(again.find(key)) for key in keys]
    assert [one.body for one in found if one is not None] == [b"%d" % at for at in range(2000)]
    assert aws.run(again.find("0" * 40)) is None
    assert len(again._cached) == 2


def test_an_object_that_is_larger_than_a_ledger_writes_is_named_and_not_read(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job.frame()
    monkeypatch.setattr(objects, "MOST", 100)
    with pytest.raises(IntegrityError, match=r"s3://jobs/42/requests/\w+ cannot .* more than 100 bytes"):
        job.frame()
    directory = objects_at(f"{tmp_path}/")
    (tmp_path / "a").write_bytes(bytes(101))
    with pytest.raises(IntegrityError, match=r"/a cannot be used as part of a ledger: it has more than 100 bytes"):
        job.aws.run(directory.get("a"))
    (tmp_path / "a").write_bytes(bytes(100))
    assert job.aws.run(directory.get("a")) == bytes(100)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-1], "checksum"),
        (lambda data: b"{}", "not an object of a ledger"),
        (lambda data: b"", "not an object of a ledger"),
        (lambda data: data.replace(b"mme-ledger 1", b"mme-ledger 2"), "not an object of a ledger"),
    ],
)
def test_a_damaged_object_is_named(job: Job, damage: Any, why: str) -> None:
    job.frame()
    name = min(job.s3.objects)
    whole = job.s3.objects[name][0]
    job.s3.objects[name] = (damage(whole), ())
    with pytest.raises(IntegrityError, match=rf"s3://{name}.*{why}"):
        job.frame()
    job.s3.objects.clear()
    job.many(range(3))
    name = min(job.s3.objects)
    job.s3.objects[name] = (damage(job.s3.objects[name][0]), ())
    with pytest.raises(IntegrityError, match=rf"s3://{name}.*{why}"):
        job.many(range(3))


def test_an_answer_to_another_request_is_refused(job: Job) -> None:
    job.frame()
    first, second, *_ = sorted(job.s3.objects)
    job.s3.objects[first] = job.s3.objects[second]
    with pytest.raises(IntegrityError, match="another request"):
        job.frame()


def test_an_error_of_the_ledger_ends_the_batch_and_keeps_the_results(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise AccessDeniedError("PutObject is denied", code="AccessDenied", status=403)

    monkeypatch.setattr(job.s3, "put_object", denied)
    with pytest.raises(AccessDeniedError) as raised:
        job.frame()
    assert raised.value.partial["error"].notna().all()  # type: ignore[attr-defined]
    with pytest.raises(AccessDeniedError) as raised:
        job.many(range(3))
    monkeypatch.setattr(job.s3, "get_object", denied)
    with pytest.raises(AccessDeniedError, match="denied") as raised:
        job.frame()
    assert "s3:ListBucket" in str(raised.value.hint)


def test_a_missing_bucket_ends_the_batch(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise BucketNotFoundError("no such bucket", code="NoSuchBucket", status=404)

    monkeypatch.setattr(job.s3, "get_object", missing)
    with pytest.raises(BucketNotFoundError):
        job.frame()
    assert job.calls == 0


def test_two_runs_at_the_same_time_have_the_same_answers() -> None:
    store, s3 = stores.RequestStore(objects_at(LEDGER)), S3Model()
    aws = MemoryAws(s3)
    key = "a" * 40
    assert aws.run(store.find(key)) is None
    mine, other = Reply[Any](body=b"1"), Reply[Any](body=b"2")
    assert aws.run(store.keep(key, mine)) is mine
    assert aws.run(store.keep(key, other)).body == b"1"  # both called; the first answer counts


def test_an_object_that_another_job_writes_is_waited_for() -> None:
    class Refusing:
        """Refuses to write an object that it does not have, and has it at last."""

        def __init__(self, refusals: int) -> None:
            self.left = refusals

        def address(self, name: str) -> str:
            return name

        def get(self, name: str) -> Flow[bytes | None]:
            self.left -= 1
            yield from ()
            return None if self.left > 0 else entries.encode([("a" * 40, Reply(body=b"2"))])

        def create(self, name: str, body: bytes) -> Flow[bool]:
            yield from ()
            return False

        def names(self, folder: str) -> Flow[list[str]]:
            raise AssertionError

    def kept(refusals: int) -> tuple[Any, list[float]]:
        flow, waits = stores.RequestStore(Refusing(refusals)).keep("a" * 40, Reply(body=b"1")), list[float]()
        while True:
            try:
                effect = next(flow)
            except StopIteration as end:
                return end.value, waits
            assert isinstance(effect, Sleep)
            waits.append(effect.seconds)

    reply, waits = kept(3)
    assert (reply.body, waits) == (b"2", [0.05, 0.1])
    with pytest.raises(ConflictError, match="a" * 40):
        kept(100)


@twins
def test_a_directory(twin: str, tmp_path: Path) -> None:
    job = Job(twin)
    for address in (tmp_path / "a" / "ledger", f"{tmp_path}/b/"):
        before = job.calls
        first = job.frame(checkpoint=address)
        assert job.calls == before + 6
        pd.testing.assert_frame_equal(job.frame(checkpoint=address), first)
        assert job.calls == before + 6
    before = job.calls
    for _ in range(2):
        assert len(job.many(range(20), checkpoint=f"{tmp_path}/c/")) == 20
        assert job.calls == before + 20
    assert not list(tmp_path.rglob("*.part"))
    assert job.aws.operations == []


def test_addresses(tmp_path: Path) -> None:
    assert [is_ledger(one) for one in (LEDGER, "jobs/42/", tmp_path, str(tmp_path))] == [True] * 4
    assert [is_ledger(one) for one in ("done.txt", tmp_path / "done.txt")] == [False] * 2
    for wrong in ("s3://bucket", "s3://bucket/", "http://x/y/", "", None, 5, "s3://B/x"):
        with pytest.raises(InvalidInputError):
            objects_at(wrong)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    job = Job("sync")
    with pytest.raises(StorageError, match=r"[Nn]ot a directory|File exists"):
        job.frame(checkpoint=tmp_path / "file")


def test_a_session_is_refused(job: Job) -> None:
    with pytest.raises(InvalidInputError, match="session"):
        job.many(range(3), session_id="abc")
    with pytest.raises(InvalidInputError, match="session"):
        job.frame(session_id="abc")


def test_what_cannot_be_encoded_is_the_error_of_its_item(job: Job) -> None:
    results = job.many([1, 2], data_of=lambda item: object() if item == 1 else "4\n")
    assert [type(one.error) for one in results] == [InvalidInputError, type(None)]


def test_answers_are_decoded_as_the_caller_asks(job: Job) -> None:
    for _ in range(2):
        results = job.many(range(3), response_type=list[float])
        assert [one.value for one in results] == [[0.0], [2.0], [4.0]]
    assert job.calls == 3


def test_the_answer_of_another_model_than_the_key_names_is_not_kept() -> None:
    class Store:
        kept: list[str] = []

        def find(self, key: str) -> Flow[None]:
            yield from ()

        def keep(self, key: str, reply: Reply[Any]) -> Flow[Reply[Any]]:
            yield from ()
            self.kept.append(key)
            return reply

    store: Any = Store()
    calls: LedgerCalls[str] = LedgerCalls(
        store=store,
        run=MemoryAws(S3Model()).run,
        target_of=lambda model: model,
        payload_of=lambda item: item,
        key_of=lambda payload, target, position: f"{target} {payload}",
        send=lambda payload, target: Reply(body=b"1", model="fraud/v2.tar.gz", endpoint="scoring"),
        send_together=lambda payloads, target: [],
        decoded=lambda reply: reply,
        check=None,
    )
    assert calls.call(Item(0, "x"), "fraud/v2.tar.gz").body == b"1"
    with pytest.raises(LedgerFailed, match=r"'fraud' stands for fraud/v2.tar.gz, which may change"):
        calls.call(Item(1, "x"), "fraud")
    assert store.kept == ["fraud/v2.tar.gz x"]
