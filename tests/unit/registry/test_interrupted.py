"""An operation of the registry that is interrupted at any effect leaves nothing that its exception does not name."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Call, Do, Flow
from mme_sdk.registry import Registration
from mme_sdk.registry.operations import batch, copy, delete, package, uncompressed, upload
from mme_sdk.registry.operations.package import LayoutCheck
from tests.support.interruption import Interruption, interruptions, notes_of
from tests.support.registry.interleave import Clock, client, view
from tests.support.registry.s3_model import S3Model

Make = Callable[[Any], Flow[Any]]
UNCHECKED = LayoutCheck(enabled=False)
FOLDER = Path()


def register(version: str | None, folder: str = "large") -> Make:
    return lambda there: there.operations.register("m", FOLDER / folder, version, layout=UNCHECKED)


def many(there: Any) -> Flow[Any]:
    models = [Registration(name, FOLDER / "small", "v1") for name in "mn"]
    return batch.register_many(there.operations, models, None)


def alias(version: str) -> Make:
    return lambda there: there.operations.aliases.set("m", "live", version)


def rollback(there: Any) -> Flow[Any]:
    return there.operations.aliases.rollback("m", "live")


def remove(compressed: bool = True) -> Make:
    return lambda there: delete.delete(
        there.operations.aliases, "m", "v1", grace=0, force=True, dry_run=False, compressed=compressed
    )


def register_files(there: Any) -> Flow[Any]:
    return uncompressed.register(there.operations, "m", FOLDER / "large", "v1", layout=UNCHECKED, metadata={})


def register_files_of_archive(there: Any) -> Flow[Any]:
    archive = FOLDER / "m.tar.gz"
    return uncompressed.register(there.operations, "m", archive, "v1", layout=UNCHECKED, metadata={})


def copy_there(there: Any) -> Flow[Any]:
    return copy.copy(there.operations, there.other, lambda flow: flow, "m", "v1", dry_run=False)


CASES: dict[str, tuple[list[Make], Make]] = {
    # What runs before, and the operation.
    "register": ([], register("v1")),
    "register a deleted version": ([register("v1"), remove()], register("v1")),
    "register without a version": ([], register(None)),
    "register many": ([register("v1", "small"), remove()], many),
    "register files": ([], register_files),
    "register files of an archive": ([], register_files_of_archive),
    "set an alias": ([register("v1")], alias("v1")),
    "move an alias": ([register("v1"), register("v2"), alias("v1")], alias("v2")),
    "roll an alias back": ([register("v1"), register("v2"), alias("v1"), alias("v2")], rollback),
    "remove an alias": ([register("v1"), alias("v1")], lambda there: there.operations.aliases.remove("m", "live")),
    "delete": ([register("v1")], remove()),
    "delete files": ([register_files], remove(compressed=False)),
    "copy": ([register("v1")], copy_there),
}


def perform_in(s3: S3Model) -> Callable[[Any], Any]:
    return lambda effect: (
        s3.perform(effect) if isinstance(effect, Call) else effect.function() if isinstance(effect, Do) else None
    )


def left_in(s3: S3Model) -> list[str]:
    """Return the states, uploads and files that an operation must not leave."""
    files = [key for key in s3.objects if "/files/" in key]
    records = [key for key in s3.objects if key.startswith("b/p/.mme/uncompressed/")]
    plain = S3Model({key: value for key, value in s3.objects.items() if key not in files}, s3.uploads)
    found = [one for prefix in ("b/p/", "b/q/") for one in view(plain, prefix).left]
    return [*found, *(files if not records else [])]


def identity(left: str) -> str:
    """Return what a note must contain to name something that is left."""
    where = re.sub(r"^b/[pq]/(\.mme/uploads/)?", "", left.rsplit(maxsplit=1)[-1].partition("#")[0])
    if where.startswith(".mme/files/") and not left.startswith("upload"):
        return "m@"  # the record of the version
    return where if where.endswith("@live") else re.sub(r"@\w{32}\.json$", "", where)


@pytest.mark.parametrize("case", CASES)
def test_what_an_interruption_leaves_is_named(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, content in {"large": bytes(range(100)), "small": b"xxx"}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "xgboost-model").write_bytes(content)
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "large" / "xgboost-model", "xgboost-model")
    scratch = tmp_path / ".scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setitem(globals(), "FOLDER", tmp_path)
    monkeypatch.setattr(upload, "PART", 64)
    monkeypatch.setattr(package, "_SMALL", 0)
    monkeypatch.setattr(copy, "_PART", 64)
    monkeypatch.setattr(copy, "SINGLE_REQUEST_LIMIT", 10)
    before, operation = CASES[case]
    start, clock = S3Model(), Clock()
    for make in before:
        Interruption(0, done=False).drive(make(client(clock)), perform_in(start))
    worlds: list[S3Model] = []

    def run(stop: Interruption) -> None:
        worlds[:] = [start.copy()]
        stop.drive(operation(client(clock)), perform_in(worlds[0]))

    for stop, error in interruptions(run):
        (s3,), notes = worlds, notes_of(error)
        assert list(scratch.iterdir()) == [], stop
        for left in left_in(s3):
            assert identity(left) in notes, (stop, left, notes)
        for version in getattr(error, "partial", ()):
            assert version.target_model not in view(s3).dead, (stop, "it is not usable")
