"""Many models at once: what is in memory is bounded, and the work grows in proportion to the number of models."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.artifacts import inspect, pack
from mme_sdk.artifacts.archive import content_digest
from mme_sdk.aws import Flow, Sleep, Together
from mme_sdk.errors import BatchError, InvalidInputError
from mme_sdk.registry import Registration
from mme_sdk.registry.operations import batch as many
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations.delete import delete
from mme_sdk.registry.operations.register import RegistryOperations
from mme_sdk.registry.results import SyncReport
from tests.support.registry.interleave import Clock, client, flat
from tests.support.registry.s3_model import S3Model

OPTIONS: dict[str, Any] = {
    "alias": None,
    "delete": False,
    "grace": 0.0,
    "dry_run": False,
    "image": None,
    "multi_model": True,
    "report": None,
}


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    clock.ids = (f"{number:032x}" for number in range(10**6))
    with clock.installed():
        yield clock


@pytest.fixture
def operations(clock: Clock) -> RegistryOperations:
    return client(clock).operations


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_WINDOW", 10)


def performed(flow: Flow[Any], s3: S3Model, seen: Callable[[Any], None] = lambda _: None) -> Any:
    value: Any = None
    error: Exception | None = None
    requests = flat(flow)
    while True:
        try:
            request = requests.send(value) if error is None else requests.throw(error)
        except StopIteration as end:
            return end.value
        value, error = None, None
        seen(request)
        try:
            value = None if isinstance(request, Sleep) else s3.perform(request)
        except Exception as failure:  # noqa: BLE001 - as the interpreters do
            error = failure


def folders(root: Path, count: int) -> Path:
    root.mkdir()
    for number in range(count):
        (root / f"m{number:04}").mkdir()
        (root / f"m{number:04}/model.ubj").write_bytes(b"%d" % number)
    return root


def synced(operations: RegistryOperations, folder: Path, s3: S3Model, **options: Any) -> SyncReport:
    report: SyncReport = performed(many.sync(operations, folder, **{**OPTIONS, **options}), s3)
    return report


def calls_of(work: Callable[[], Any]) -> int:
    """Count the calls of functions, which is the same number in each run."""
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.usefixtures("small_windows")
def test_the_work_of_sync_is_proportional_to_the_number_of_models(
    operations: RegistryOperations, tmp_path: Path
) -> None:
    counts = []
    for number in (100, 200):
        s3, folder = S3Model(), folders(tmp_path / str(number), number)
        first = calls_of(lambda folder=folder, s3=s3: synced(operations, folder, s3))  # type: ignore[misc]
        again = calls_of(lambda folder=folder, s3=s3: synced(operations, folder, s3))  # type: ignore[misc]
        report = synced(operations, folder, s3, dry_run=True)
        assert (len(report.registered), len(report.unchanged)) == (0, number)
        counts.append((first, again))
    (first, again), (double_first, double_again) = counts
    assert double_first < 2.05 * first
    assert double_again < 2.05 * again


@pytest.mark.usefixtures("small_windows")
def test_the_work_for_failures_of_one_name_is_proportional(operations: RegistryOperations, tmp_path: Path) -> None:
    def refused(count: int) -> None:
        wanted = (Registration("fraud", tmp_path / "none", f"v{number}") for number in range(count))
        with pytest.raises(BatchError) as caught:
            performed(many.register_many(operations, wanted, None), S3Model())
        assert list(caught.value.errors)[:2] == ["fraud", "fraud (2)"]
        assert list(caught.value.errors)[-1] == f"fraud ({count})"
        assert str(caught.value).startswith(f"{count} of {count} models were not registered; fraud: there is no model")

    assert calls_of(lambda: refused(200)) < 2.05 * calls_of(lambda: refused(100))


@pytest.mark.usefixtures("small_windows")
def test_models_of_an_iterator_are_read_while_others_are_registered(
    operations: RegistryOperations, tmp_path: Path
) -> None:
    source = folders(tmp_path / "m", 1) / "m0000"
    alive: weakref.WeakSet[Registration] = weakref.WeakSet()
    most, read, sent = 0, 0, 0

    def wanted() -> Iterator[Registration]:
        nonlocal most, read
        for number in range(95):
            one = Registration(f"m{number}", source)
            alive.add(one)
            most = max(most, len(alive))
            read += 1
            yield one
            del one

    def seen(request: Any) -> None:
        nonlocal sent
        sent += getattr(request, "operation", "") == "put_object"
        assert read - sent <= 10

    s3 = S3Model()
    done = performed(many.register_many(operations, wanted(), None), s3, seen)
    assert [one.name for one in done] == [f"m{number}" for number in range(95)]
    assert len(s3.objects) == 95
    assert most <= 2 * 10  # those of a window, and those of the one before that are still referred to


@pytest.mark.usefixtures("small_windows")
def test_flows_of_a_window_exist_at_a_time(
    operations: RegistryOperations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noted(flows: Any, *width: int) -> Together:
        sizes.append(len(flows))
        return Together(flows, *width)

    monkeypatch.setattr(many, "Together", noted)
    folder = folders(tmp_path / "m", 35)
    synced(operations, folder, S3Model(), alias="live")
    assert max(sizes) == 10
    assert sum(sizes) >= 3 * 35  # digests, registrations and aliases


@pytest.mark.usefixtures("small_windows")
def test_deletions_of_each_window_are_seen(operations: RegistryOperations, tmp_path: Path) -> None:
    """A version that was deleted before can be invoked afterwards, whatever window it is in."""
    s3, folder = S3Model(), folders(tmp_path / "m", 25)
    versions = synced(operations, folder, s3).registered
    for name in ("m0003", "m0013", "m0023"):
        performed(
            delete(operations.aliases, name, versions[name], grace=0.0, force=False, dry_run=False),
            s3,
        )
    deleted = performed(operations.aliases.tombstones.read(), s3)
    assert len(deleted) == 3
    report = synced(operations, folder, s3)
    assert sorted(report.registered) == ["m0003", "m0013", "m0023"]
    performed(many.register_many(operations, {one.name: one for one in folder.iterdir()}, None), s3)
    assert performed(operations.aliases.tombstones.read(), s3) == {}


@pytest.mark.usefixtures("small_windows")
def test_a_deletion_while_a_later_window_is_registered(operations: RegistryOperations, tmp_path: Path) -> None:
    """The versions of each window are checked by a request of their own, and written again where they are gone."""
    s3, folder = S3Model(), folders(tmp_path / "m", 25)
    sources = {one.name: one for one in sorted(folder.iterdir())}
    versions = synced(operations, folder, s3).registered
    target = operations.keys.target("m0013", versions["m0013"])
    deleted: list[str] = []

    def seen(request: Any) -> None:
        key = getattr(request, "params", {}).get("Key", "")
        if key.startswith("p/m0014/") and not deleted:  # m0013 was found just before
            deleted.append(key)
            flow = delete(operations.aliases, "m0013", versions["m0013"], grace=0.0, force=False, dry_run=False)
            performed(flow, s3)
            assert f"b/p/{target}" not in s3.objects

    performed(many.register_many(operations, sources, None), s3, seen)
    assert deleted
    assert f"b/p/{target}" in s3.objects
    assert performed(operations.aliases.tombstones.read(), s3) == {}


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("kind", ["raises", "other type"])
def test_an_iterator_that_fails(operations: RegistryOperations, tmp_path: Path, kind: str) -> None:
    """The exception names what is registered by then, and nothing that was read with the failure is registered."""
    source = folders(tmp_path / "m", 1) / "m0000"

    def wanted() -> Iterator[Any]:
        for number in range(25):
            yield Registration(f"m{number}", source)
        if kind == "raises":
            raise ZeroDivisionError
        yield "m25"

    s3 = S3Model()
    with pytest.raises((ZeroDivisionError, InvalidInputError)) as caught:
        performed(many.register_many(operations, wanted(), None), s3)
    assert [one.name for one in caught.value.partial] == [f"m{number}" for number in range(20)]  # type: ignore[attr-defined]
    assert len(s3.objects) == 20
    with pytest.raises(InvalidInputError, match="Registration objects, not str"):  # a list is checked before the first
        performed(many.register_many(operations, [Registration("x", source), "y"], None), s3)  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="Registration objects, not int"):
        performed(many.register_many(operations, 7, None), s3)  # type: ignore[arg-type]
    assert len(s3.objects) == 20


@pytest.mark.usefixtures("small_windows")
def test_errors_of_all_windows_are_raised_together(operations: RegistryOperations, tmp_path: Path) -> None:
    folder = folders(tmp_path / "m", 35)
    wanted = {one.name: one for one in sorted(folder.iterdir())}
    for name in ("m0002", "m0022"):
        wanted[name] = tmp_path / "none"
    with pytest.raises(BatchError, match="2 of 35 models were not registered; m0002: there is no model") as caught:
        performed(many.register_many(operations, wanted, None), S3Model())
    assert sorted(caught.value.errors) == ["m0002", "m0022"]
    assert [one.name for one in caught.value.done] == [name for name in wanted if name not in ("m0002", "m0022")]


def test_an_archive_that_cannot_be_unpacked_is_refused_before_anything_is_registered(
    operations: RegistryOperations, tmp_path: Path
) -> None:
    """Also if its digest can be computed: the gzip is whole, and the tar in it is not."""
    s3, folder = S3Model(), folders(tmp_path / "m", 3)
    good = io.BytesIO()
    pack(folder / "m0000", good)
    (folder / "good.tar.gz").write_bytes(good.getvalue())
    for damaged, says in ((gzip.compress(b"no tar" * 500), "header"), (good.getvalue()[:-9], "cut off")):
        (folder / "bad.tgz").write_bytes(damaged)
        for dry_run in (True, False):
            with pytest.raises(BatchError, match=f"1 of 5 models were not read; bad: .*{says}"):
                synced(operations, folder, s3, dry_run=dry_run)
        assert s3.objects == {}
    (folder / "bad.tgz").unlink()
    done = synced(operations, folder, s3)
    assert done.registered["good"] == done.registered["m0000"]  # the digest of the tar, however it is compressed
    assert len(synced(operations, folder, s3).unchanged) == 4


@pytest.mark.parametrize("members", [1, 3])
def test_the_digest_of_the_content_is_that_of_inspect(tmp_path: Path, members: int) -> None:
    whole = io.BytesIO()
    pack(folders(tmp_path / "m", 1) / "m0000", whole)
    tar = gzip.decompress(whole.getvalue())
    step = -(-len(tar) // members)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"".join(gzip.compress(tar[at : at + step]) + bytes(7) for at in range(0, len(tar), step)))
    assert content_digest(path) == inspect(path).content == hashlib.sha256(tar).hexdigest()


def test_copy_has_the_flows_of_a_window_in_memory(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(copying, "_WINDOW", 10)
    both, s3, sizes = client(clock), S3Model(), list[int]()
    performed(many.sync(both.operations, folders(tmp_path / "m", 25), **OPTIONS), s3)

    def together(flows: list[Flow[Any]], width: int = 8) -> Together:
        sizes.append(len(flows))
        return Together(flows, width)

    monkeypatch.setattr(copying, "Together", together)
    for number in (25, 0):
        report = performed(copying.copy(both.operations, both.other, lambda flow: flow, None, None, dry_run=False), s3)
        assert (len(report.copied), len(report.unchanged)) == (number, 25 - number)
        assert [one.name for one in (*report.copied, *report.unchanged)] == [f"m{at:04}" for at in range(25)]
    assert sizes == [10, 10, 5] * 2
