"""Temporary folders and files of killed processes are removed at the next use; those of running processes remain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mme_sdk.artifacts import extract, pack, temporary
from mme_sdk.artifacts.temporary import TemporaryFolder, remove_abandoned, replace_file
from mme_sdk.errors import LayoutError

HOLDER = """
import sys
from pathlib import Path
from mme_sdk.artifacts.temporary import TemporaryFolder
folder = TemporaryFolder("kind-", Path(sys.argv[1]))
(folder.path / "below").mkdir()
print(folder.path, flush=True)
sys.stdin.read()
"""
# Ends where the new content would take the old one's place.
WRITER = """
import os, signal, sys
from pathlib import Path
from mme_sdk.artifacts.temporary import replace_file
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
replace_file(Path(sys.argv[1]), b"new")
"""
# Ends while the estimator is saved.
ESTIMATOR = """
import os, signal
from sklearn.dummy import DummyClassifier
from mme_sdk.registry.operations import package
package.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
package.prepare(DummyClassifier(), package.LayoutCheck(enabled=False))
"""
EXTRACTING = """
import os, signal, sys
from mme_sdk.artifacts import extraction
extraction._unpack = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
extraction.extract(sys.argv[1], sys.argv[2])
"""


@contextmanager
def holder(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(parent)], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def killed(program: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments], env=os.environ | environment, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_a_folder_is_removed_after_its_with_block(tmp_path: Path) -> None:
    with TemporaryFolder("kind-", tmp_path) as folder:
        (folder / "below").mkdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_processes_are_removed_and_others_remain(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with holder(tmp_path) as (living, kept), holder(tmp_path) as (dying, left):
        mine = TemporaryFolder("kind-", tmp_path)
        assert {kept, left, mine.path} <= set(tmp_path.iterdir())
        dying.kill()
        dying.wait()
        with TemporaryFolder("kind-", tmp_path) as folder:
            assert set(tmp_path.iterdir()) == {kept, mine.path, folder, tmp_path / "other"}
            assert (kept / "below").is_dir()
        assert living.poll() is None
        mine.close()


def test_a_renamed_folder_remains(tmp_path: Path) -> None:
    made = TemporaryFolder("kind-", tmp_path)
    made.path.replace(tmp_path / "named")
    made.release()
    remove_abandoned("kind-", tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["named"]


def test_links_and_their_targets_remain(tmp_path: Path) -> None:
    behind = tmp_path / "behind"
    behind.mkdir()
    (tmp_path / "kind-link").symlink_to(behind)
    os.mkfifo(tmp_path / "kind-pipe")
    remove_abandoned("kind-", tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {"behind", "kind-link", "kind-pipe"}


def test_a_folder_that_another_process_removes_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, fewer = temporary._locked, [3]

    def removed_first(path: Path) -> int | None:
        if fewer[0]:
            fewer[0] -= 1
            remove_abandoned("kind-", tmp_path)
        return lock(path)

    def swept(prefix: str, parent: Path | None = None, **_: object) -> None:
        for one in tmp_path.glob("kind-*"):
            one.rmdir()

    monkeypatch.setattr(temporary, "_locked", removed_first)
    monkeypatch.setitem(globals(), "remove_abandoned", swept)
    with TemporaryFolder("kind-", tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert fewer == [0]


def test_a_killed_write_keeps_the_old_content_and_its_draft_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    replace_file(path, b"old")
    killed(WRITER, str(path))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    replace_file(path, b"newer")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("kept.json", b"newer")]


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept.json").mkdir()
    with pytest.raises(OSError, match=r"kept\.json"):
        replace_file(tmp_path / "kept.json", b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]


def test_files_of_an_interrupted_save_are_removed(tmp_path: Path) -> None:
    killed(ESTIMATOR, TMPDIR=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    killed(ESTIMATOR, TMPDIR=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_files_of_an_interrupted_extraction_are_removed(tmp_path: Path) -> None:
    source, archive, target = tmp_path / "source", tmp_path / "a.tar.gz", tmp_path / "there" / "a"
    source.mkdir()
    (source / "file").write_text("text")
    with archive.open("wb") as file:
        pack(source, file)
    killed(EXTRACTING, str(archive), str(target))
    assert len(list(target.parent.iterdir())) == 1
    extract(archive, target)
    assert list(target.parent.iterdir()) == [target]
    archive.write_bytes(b"nothing")
    with pytest.raises(LayoutError):
        extract(archive, target.with_name("b"))
    assert list(target.parent.iterdir()) == [target]
