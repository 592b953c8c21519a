"""Recordings in a real S3."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.recording import Recorder, read_recordings
from tests.unit.recording.test_recorder import Wall, call


def test_recordings_of_two_processes_are_read_from_s3(
    s3: Any, s3_session: Any, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{models.uri}recordings/"
    where: dict[str, Any] = {"session": s3_session, "endpoint_url": s3.meta.endpoint_url}
    wall = Wall()
    with (
        Recorder(address, every=3600.0, now=wall, **where) as first,
        Recorder(address, every=3600.0, now=wall, **where) as second,
    ):
        first(call())
        first.flush()
        wall.at += 3600
        for recorder in (first, second):
            recorder(call())
    found = read_recordings(address, **where)
    assert [(one.at.hour, one.calls) for one in found] == [(10, 1), (11, 2)]
    start = datetime(2026, 11, 27, 11, tzinfo=UTC)
    assert [one.calls for one in read_recordings(address, start=start, **where)] == [2]
    assert [one.calls for one in read_recordings(address, end=start, **where)] == [1]
    assert read_recordings(address, start=start + timedelta(hours=1), **where) == []
    monkeypatch.setattr("mme_sdk.recording.files._MOST", 100)
    with pytest.raises(InvalidInputError, match="is longer than 100 bytes"):
        read_recordings(address, **where)


def test_a_bucket_that_is_missing_is_an_error_and_the_records_are_kept(s3: Any, s3_session: Any) -> None:
    recorder = Recorder(
        "s3://no-such-bucket-at-all/x/", every=3600.0, session=s3_session, endpoint_url=s3.meta.endpoint_url
    )
    recorder(call())
    with pytest.raises(MMEError, match="no-such-bucket-at-all"):
        recorder.close()
    assert [one.calls for one in recorder.minutes()] == [1]
