"""Uncompressed versions in a model of S3: complete for every reader, in any order of requests and kills."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from mme_sdk.artifacts import pack
from mme_sdk.aws import Call, Flow
from mme_sdk.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    LayoutError,
    MMEError,
    ModelNotFoundError,
    ServiceError,
)
from mme_sdk.registry import tombstones as tombstones_module
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.operations import uncompressed
from mme_sdk.registry.operations.package import LayoutCheck
from mme_sdk.registry.operations.register import RegistryOperations
from mme_sdk.registry.store import DELETE_LIMIT
from tests.support.registry.interleave import Clock, client, flat
from tests.support.registry.s3_model import S3Model

ROOT = "b/p/.mme/"


class Readable(S3Model):
    """Bodies as botocore returns them, for `verify`."""

    def get_object(self, Bucket: str, Key: str, IfNoneMatch: str | None = None) -> Any:
        answer = super().get_object(Bucket, Key, IfNoneMatch)
        return answer | {"Body": io.BytesIO(answer["Body"])} if "/files/" in Key else answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def operations(clock: Clock) -> RegistryOperations:
    return client(clock).operations


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder(tmp_path, "one")


def folder(parent: Path, name: str, **files: bytes) -> Path:
    made = parent / name
    (made / "code").mkdir(parents=True)
    for path, content in {"weights": name.encode(), "code/a.txt": b"a", ".DS_Store": b"x", **files}.items():
        (made / path).write_bytes(content)
    return made


def run(s3: S3Model, flow: Flow[Any]) -> Any:
    steps = flat(flow)
    try:
        effect = next(steps)
        while True:
            try:
                answer = s3.perform(effect) if isinstance(effect, Call) else None
            except MMEError as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(answer)
    except StopIteration as stop:
        return stop.value


def register(
    operations: RegistryOperations, source: Any, version: str | None = "v1", name: str = "fraud", **options: Any
) -> Flow[Any]:
    layout = LayoutCheck(framework=options.pop("framework", None), enabled=options.pop("check_layout", False))
    given = {"metadata": {}} | options
    return uncompressed.register(operations, name, source, version, layout=layout, **given)


def delete(
    operations: RegistryOperations, name: str = "fraud", version: str | None = "v1", **options: Any
) -> Flow[Any]:
    given = {"grace": 0.0, "force": False, "dry_run": False, "compressed": False} | options
    return deleting.delete(operations.aliases, name, version, **given)


def get(operations: RegistryOperations, version: str = "v1") -> Flow[Any]:
    return uncompressed.get(operations.aliases.tombstones, "fraud", version)


def listed(operations: RegistryOperations, name: str | None = None) -> Flow[Any]:
    return uncompressed.versions(operations.aliases.tombstones, name)


def check_complete(s3: S3Model) -> set[str]:
    """Check that every version that a reader can find has all of its files. Return their names."""
    hidden = json.loads(s3.objects.get(f"{ROOT}tombstones/all.json", (b"{}",))[0])
    found = set()
    for key, (body, metadata) in s3.objects.items():
        target = key.removeprefix("b/p/")
        if not target.startswith(".mme/uncompressed/") or target in hidden:
            continue
        name = target.removeprefix(".mme/uncompressed/").removesuffix(".json")
        start = f"{ROOT}files/{name}/{dict(metadata)['mme-content'][:16]}/"
        expected = {path: one["sha256"] for path, one in json.loads(body)["files"].items()}
        present = {
            one.removeprefix(start): hashlib.sha256(data).hexdigest()
            for one, (data, _) in s3.objects.items()
            if one.startswith(start)
        }
        assert present == expected, key
        found.add(name)
    return found


def test_a_version_is_a_folder_of_its_files(operations, source):
    s3 = Readable()
    found = run(s3, register(operations, source, metadata={"run": "17"}, framework="mine"))
    assert found.uri.startswith("s3://b/p/.mme/files/fraud@v1/")
    assert found.uri.endswith("/")
    assert (found.name, found.version, found.compressed, found.size) == ("fraud", "v1", False, 4)
    assert (found.framework, dict(found.metadata)) == ("mine", {"run": "17"})
    start = found.uri.removeprefix("s3://")
    files = {key.removeprefix(start): data for key, (data, _) in s3.objects.items() if key.startswith(start)}
    assert files == {"code/a.txt": b"a", "weights": b"one"}
    same = {"created": None, "etag": None}
    assert attrs.evolve(run(s3, get(operations)), **same) == attrs.evolve(found, **same)
    assert [one.uri for one in run(s3, listed(operations))] == [found.uri]
    assert run(s3, listed(operations, "frau")) == []
    assert run(s3, uncompressed.verify(operations.aliases.tombstones, "fraud", "v1")).uri == found.uri
    assert run(s3, operations.store.all()) == []  # a multi-model endpoint cannot invoke it


def test_the_same_content_again_uploads_nothing_and_other_content_is_refused(operations, source, tmp_path):
    s3 = S3Model()
    first = run(s3, register(operations, source))
    calls: list[str] = []
    s3.perform = lambda call, real=s3.perform: (calls.append(call.operation), real(call))[1]  # type: ignore[method-assign]
    assert run(s3, register(operations, source)).uri == first.uri
    assert "put_object" not in calls
    before = dict(s3.objects)
    with pytest.raises(ConflictError, match="exists with other content; a version never changes"):
        run(s3, register(operations, folder(tmp_path, "two")))
    assert s3.objects == before
    again = run(s3, register(operations, source, None))
    assert again.uri.removeprefix("s3://b/p/.mme/files/fraud@") == f"{again.version}/{again.version}/"


def test_archives_files_and_estimators_are_sources_too(operations, source, tmp_path):
    s3 = S3Model()
    packed = tmp_path / "one.tar.gz"
    with packed.open("wb") as file:
        pack(source, file, check_layout=False)
    assert run(s3, register(operations, packed, None)).uri == run(s3, register(operations, source, None)).uri
    one = run(s3, register(operations, source / "weights", "v2"))
    assert s3.objects[f"{one.uri.removeprefix('s3://')}weights"][0] == b"one"
    assert not list(Path(tmp_path).glob("mme-sdk-model-*"))
    for bad in (3, "", tmp_path / "absent", tmp_path / "absent.tar.gz"):
        with pytest.raises(InvalidInputError):
            run(s3, register(operations, bad))


@pytest.mark.parametrize(
    ("files", "options", "error", "reason"),
    [
        ({" ": b""}, {}, InvalidInputError, "is blank"),
        ({"x" * 250: b""}, {"name": "n" * 900}, InvalidInputError, "more than 1024"),
        ({"d.joblib": b"", "c.joblib": b""}, {"check_layout": True}, LayoutError, "joblib"),
    ],
)
def test_what_no_endpoint_could_load_is_refused_before_the_upload(operations, tmp_path, files, options, error, reason):
    s3 = S3Model()
    with pytest.raises(error, match=reason):
        run(s3, register(operations, folder(tmp_path, "bad", **files), **options))
    assert not s3.objects


@pytest.mark.parametrize("act", ["register", "delete"])
def test_a_kill_at_any_request_leaves_no_half_and_the_next_run_completes(operations, source, clock, act):
    start = S3Model()
    if act == "delete":
        run(start, register(operations, source))
    flows = {"register": partial(register, operations, source), "delete": partial(delete, operations)}
    for stop in range(100):
        s3, steps = start.copy(), flat(flows[act]())
        killed = replay(s3, steps, stop)
        seen = check_complete(s3)
        assert seen in ({"fraud@v1"}, set())
        clock.now += tombstones_module.LEASE + 1  # a committed deletion of a killed client has expired
        if not killed:
            break
        again = s3.copy()
        if act == "delete":
            if any("/uncompressed/" in key for key in again.objects):
                run(again, delete(operations))
            assert not [key for key in again.objects if "/files/" in key or "/uncompressed/" in key]
            run(s3, register(operations, source))
            assert check_complete(s3) == {"fraud@v1"}
        else:
            run(again, register(operations, source))
            assert check_complete(again) == {"fraud@v1"}
            if not seen:
                left = {key for key in s3.objects if "/files/" in key}
                clock.now = 2e9
                report = run(s3, deleting.abort_uploads(operations.store, older_than=0, dry_run=False))
                assert {f"b/{key}" for key in report.files} == left
                assert not [key for key in s3.objects if "/files/" in key]
    assert stop > 4
    assert not killed


def replay(s3: S3Model, steps: Generator[Any, Any, Any], stop: int) -> bool:
    """Perform `stop` requests of a flow and drop it. Return False if it ended before."""
    try:
        effect = next(steps)
        for _ in range(stop):
            try:
                answer = s3.perform(effect) if isinstance(effect, Call) else None
            except MMEError as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(answer)
            check_complete(s3)
    except StopIteration:
        return False
    return True


@pytest.mark.parametrize("examples", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_writers_and_deletions_in_any_order_show_only_complete_versions(examples, source, tmp_path, clock, monkeypatch):
    other = folder(tmp_path, "two")
    ids = iter(range(10**9))
    monkeypatch.setattr(tombstones_module, "new_id", lambda: f"id{next(ids)}")
    monkeypatch.setattr(deleting, "new_id", lambda: f"id{next(ids)}")
    seen: set[Any] = set()
    for seed in range(examples):
        rng, s3, clock.now = random.Random(seed), S3Model(), 0.0
        operations = client(clock).operations
        if rng.random() < 0.7:
            run(s3, register(operations, source))
        makes = [
            partial(register, operations, source),
            partial(register, operations, source),
            partial(register, operations, other),
            partial(delete, operations),
            partial(delete, operations),
        ]
        actors = {number: Actor(make()) for number, make in enumerate(rng.sample(makes, 3))}
        alive = dict(actors)
        while alive:
            number = rng.choice(sorted(alive))
            if rng.random() < 0.01 or not alive[number].step(s3):
                del alive[number]
            check_complete(s3)
            clock.now += 0.01
        visible = check_complete(s3)
        seen.add((bool(visible), *sorted(type(one.outcome).__name__ for one in actors.values())))
    assert len(seen) > 8  # the orders lead to different outcomes


class Actor:
    """A client that runs a flow, one request at a time."""

    def __init__(self, flow: Flow[Any]) -> None:
        self._steps, self._effect, self.outcome = flat(flow), None, None
        self._begun = False

    def step(self, s3: S3Model) -> bool:
        try:
            if not self._begun:
                self._begun, self._effect = True, next(self._steps)
                return True
            try:
                answer = s3.perform(self._effect) if isinstance(self._effect, Call) else None
            except MMEError as error:
                self._effect = self._steps.throw(error)
            else:
                self._effect = self._steps.send(answer)
        except StopIteration as stop:
            self.outcome = stop.value
            return False
        except MMEError as error:
            self.outcome = error
            return False
        return True


def test_a_deletion_that_s3_refuses_in_the_middle_hides_the_version_until_it_is_complete(operations, source):
    s3 = S3Model()
    run(s3, register(operations, source))
    real, refuse = s3.delete_objects, True

    def delete_objects(Bucket: str, Delete: Any) -> Any:
        if refuse and "/files/" in Delete["Objects"][0]["Key"]:
            real(Bucket, {"Objects": Delete["Objects"][:1]})
            return {"Errors": [{"Key": one["Key"], "Code": "AccessDenied"} for one in Delete["Objects"][1:]]}
        return real(Bucket, Delete)

    s3.delete_objects = delete_objects  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="objects were not deleted") as caught:
        run(s3, delete(operations))
    assert "delete again" in (caught.value.hint or "")
    assert check_complete(s3) == set()
    with pytest.raises(ModelNotFoundError):
        run(s3, get(operations))
    assert run(s3, listed(operations)) == []
    refuse = False
    assert [one.version for one in run(s3, delete(operations)).versions] == ["v1"]
    assert not [key for key in s3.objects if "/files/" in key]


def test_many_files_are_deleted_in_several_requests(operations, tmp_path):
    made = tmp_path / "many"
    made.mkdir()
    for number in range(DELETE_LIMIT + 5):
        (made / f"{number}").write_bytes(b"")
    s3 = S3Model()
    run(s3, register(operations, made))
    run(s3, delete(operations))
    assert [key for key in s3.objects if "tombstones" not in key] == []


def test_archives_and_uncompressed_versions_are_independent(operations, source):
    s3 = S3Model()
    run(s3, operations.register("fraud", source, "v1", layout=LayoutCheck(enabled=False)))
    run(s3, operations.aliases.set("fraud", "live", "v1"))
    plain = run(s3, register(operations, source))
    run(s3, register(operations, source, "v2"))
    with pytest.raises(ModelNotFoundError) as caught:
        run(s3, operations.get("fraud", "v2"))
    assert caught.value.hint == "it exists in uncompressed form: get, list, verify and delete take compressed=False"
    with pytest.raises(InvalidInputError, match="is an uncompressed version; an alias needs an archive"):
        run(s3, operations.aliases.set("fraud", "live", plain))
    with pytest.raises(ModelNotFoundError):
        run(s3, copying.copy(operations, client(Clock()).other, lambda flow: flow, "fraud", "v2", dry_run=False))
    gone = run(s3, delete(operations, version=None))
    assert [one.version for one in gone.versions] == ["v1", "v2"]
    assert gone.broken_aliases == ()
    assert [one.version for one in run(s3, operations.store.all())] == ["v1"]
    with pytest.raises(ModelNotFoundError, match="nothing was deleted: the model 'fraud' v1 in uncompressed form"):
        run(s3, delete(operations))


def test_a_damaged_version_is_found(operations, source):
    s3 = Readable()
    uri = run(s3, register(operations, source)).uri.removeprefix("s3://")
    whole = dict(s3.objects)
    verify = partial(uncompressed.verify, operations.aliases.tombstones, "fraud", "v1")
    for change, reason in (
        ({f"{uri}weights": (b"eno", ())}, "has other bytes in weights"),
        ({f"{uri}more": (b"", ())}, "has more, which was not registered"),
    ):
        s3.objects = {**whole, **change}
        with pytest.raises(IntegrityError, match=reason):
            run(s3, verify())
    s3.objects = {key: one for key, one in whole.items() if not key.endswith("weights")}
    with pytest.raises(IntegrityError, match="has no weights"):
        run(s3, verify())
    run(s3, register(operations, source))  # uploads what is missing
    assert run(s3, verify()).version == "v1"


def test_a_name_with_parts_does_not_reach_into_another(operations, source):
    s3 = S3Model()
    run(s3, register(operations, source, "b", name="a"))
    run(s3, register(operations, source, "c", name="a/b"))
    assert {one.name for one in run(s3, listed(operations))} == {"a", "a/b"}
    run(s3, delete(operations, "a", "b"))
    assert check_complete(s3) == {"a/b@c"}
