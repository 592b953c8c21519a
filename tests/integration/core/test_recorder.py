"""A recorder in a forked process, and against S3."""

from __future__ import annotations

import os
from pathlib import Path

from mme_sdk.recording import Recorder, read_recordings
from tests.unit.recording.test_recorder import Wall, call


def test_a_forked_process_starts_empty_and_writes_its_own_file(tmp_path: Path) -> None:
    recorder = Recorder(files=tmp_path, every=3600.0, now=Wall())
    recorder(call())
    child = os.fork()
    if child == 0:
        try:
            recorder(call("child/v1.tar.gz"))
            recorder.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    recorder.close()
    assert sorted((one.model or "", one.calls) for one in read_recordings(tmp_path)) == [
        ("acme/fraud/v1.tar.gz", 1),
        ("child/v1.tar.gz", 1),
    ]
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
