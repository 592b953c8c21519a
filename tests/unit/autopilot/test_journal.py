"""The journal in S3: what others wrote there, records that are too large, and autopilots that share one."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from mme_sdk import MMEClient
from mme_sdk.autopilot import Autopilot, Bounds, Decision, Journal, Observed, journal, learned_floor
from mme_sdk.aws import Aws, Call
from mme_sdk.errors import InvalidInputError, ModelNotFoundError, StorageError
from tests.unit.autopilot.test_careless import CATALOGUE, MINUTE, NOW, SETTINGS, decision

PREFIX = "logs/autopilot/"


class Bucket(Aws):
    """S3 in memory, and an endpoint."""

    def __init__(self) -> None:
        super().__init__(region="eu-west-1")
        self.objects: dict[str, bytes] = {}
        self.gets: list[str] = []
        self.count = 2
        self.refused: Exception | None = None

    def send(self, call: Call) -> Any:
        if call.operation == "describe_endpoint":
            arn = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/scoring"
            variant = {"VariantName": "AllTraffic", "DesiredInstanceCount": self.count}
            names = {"EndpointName": "scoring", "EndpointArn": arn, "EndpointConfigName": "c"}
            times = dict.fromkeys(("CreationTime", "LastModifiedTime"), NOW)
            return {**names, **times, "EndpointStatus": "InService", "ProductionVariants": [variant]}
        if call.operation == "put_object":
            if self.refused is not None:
                raise self.refused
            self.objects[call.params["Key"]] = call.params["Body"]
            return {}
        if call.operation == "list_objects_v2":
            start = call.params.get("StartAfter") or call.params["ContinuationToken"]
            keys = sorted(key for key in self.objects if key.startswith(call.params["Prefix"]) and key > start)
            page = {"Contents": [{"Key": key} for key in keys[:100]]}
            return page if len(keys) <= 100 else {**page, "IsTruncated": True, "NextContinuationToken": keys[99]}
        self.gets.append(call.params["Key"])
        if call.params["Key"] not in self.objects:
            raise ModelNotFoundError("it does not exist")
        return {"Body": io.BytesIO(self.objects[call.params["Key"]])}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def kept(bucket: Bucket) -> Journal:
    made = Journal(f"s3://bucket/{PREFIX}")
    made._place._aws = bucket  # type: ignore[attr-defined]
    return made


def pilot(bucket: Bucket, at: datetime, **changes: Any) -> Autopilot:
    times = [at - MINUTE * age for age in range(1, 61)]
    settings: dict[str, Any] = {
        **SETTINGS, "catalogue": CATALOGUE, "clock": lambda: at, "journal": "unused",
        "calls": lambda _: {one: {f"m{number}": 30 for number in range(40)} for one in times},
    }  # fmt: skip
    made = Autopilot(MMEClient(region="eu-west-1"), "scoring", **(settings | changes))
    made._aws, made._journal = bucket, kept(bucket)
    return made


def key(at: datetime, endpoint: str = "scoring") -> str:
    return f"{PREFIX}{at:%Y-%m-%d/%H%M%S-%f}.{endpoint}.AllTraffic.jsonl"


HOSTILE = [b"hello", b"[" * 100_000, b"5", b'{"format":1}', b"\xff\xfe", b"x" * 5000]


@pytest.mark.parametrize("body", HOSTILE)
def test_an_object_that_someone_else_wrote_does_not_end_it(
    bucket: Bucket, body: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_MOST", 4000)
    bucket.objects = {
        key(NOW - MINUTE): body,
        f"{PREFIX}2026-03-04/notes.txt": b"",
        f"{PREFIX}2026-03-04/x.jsonl": b"5",
    }
    monkeypatch.setattr(journal, "_MOST", 4000)
    flown = pilot(bucket, NOW, learn=True)
    bucket.objects[key(NOW - timedelta(days=7) + 20 * MINUTE)] = body
    monkeypatch.setattr(journal.Journal, "add", lambda *_: None)  # its record is larger than this limit
    assert flown.step().action == "grow"
    assert caplog.text.count("it is left out of the journal: s3://bucket/logs/autopilot/2026-0") == 2
    with pytest.raises(InvalidInputError, match=r"115900-000000\.scoring\.AllTraffic\.jsonl, line 1"):
        kept(bucket).read(start=NOW - 2 * MINUTE)
    assert bucket.gets  # the objects whose names are none of a decision were not read
    assert not [one for one in bucket.gets if one.endswith(("notes.txt", "x.jsonl"))]


def test_a_record_that_is_too_long_is_named_and_the_next_line_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Journal(tmp_path)
    folder.add(decision())
    file = tmp_path / "2026-03-04.jsonl"
    monkeypatch.setattr(journal, "_MOST", 2 * file.stat().st_size)
    file.write_bytes(b"y" * 7 * file.stat().st_size + b"\n" + file.read_bytes())
    with pytest.raises(InvalidInputError, match=r"2026-03-04\.jsonl, line 1 is longer than"):
        folder.read()
    assert len(folder.read(skip_damaged=True)) == 1
    monkeypatch.setattr(journal, "_MOST", 100)
    with pytest.raises(InvalidInputError, match="a decision about 20 models has"):
        folder.add(decision())


def test_a_journal_of_many_endpoints_is_read_for_one(bucket: Bucket) -> None:
    both = kept(bucket)
    one = decision(models=1)
    for minute in range(60):
        at = NOW + minute * MINUTE
        both.add(attrs.evolve(one, at=at))
        both.add(attrs.evolve(one, at=at, endpoint="other"))
    assert len(bucket.objects) == 120  # decisions of one time do not replace each other
    names = {"endpoint": "scoring", "variant": "AllTraffic"}
    assert len(both.read(**names)) == 60
    bucket.gets.clear()
    last = both.last(**names, start=NOW, end=NOW + 400 * MINUTE)
    assert last is not None
    assert (last.endpoint, last.at, len(bucket.gets)) == ("scoring", NOW + 59 * MINUTE, 1)


def test_two_autopilots_with_one_journal_share_their_moves(bucket: Bucket) -> None:
    found: list[Decision] = []
    flown = [pilot(bucket, NOW, bounds=Bounds(smallest=2, largest=most, moves_per_hour=2)) for most in (4, 5)]
    for minute in range(4):
        one = flown[minute % 2]
        one._clock = lambda at=NOW + minute * MINUTE: at  # type: ignore[misc]
        found.append(one.step())  # a person sets the number back each time
    assert [one.action for one in found] == ["grow", "grow", "hold", "hold"]
    assert [one.previous.at for one in found[1:]] == [one.at for one in found[:-1]]


def test_without_a_record_nothing_is_changed(bucket: Bucket) -> None:
    flown = pilot(bucket, NOW, apply="scale")
    scaled: list[int] = []
    flown._client.endpoint = lambda _: type("E", (), {"scale": lambda _, count, **__: scaled.append(count)})()  # type: ignore[assignment,method-assign,misc,return-value]
    bucket.refused = StorageError("the disk is full")
    with pytest.raises(StorageError):
        flown.step()
    assert scaled == []
    bucket.refused = None
    found = flown.step()
    assert scaled == [found.count]


def test_a_process_that_was_killed_after_the_record_makes_the_same_change_once(bucket: Bucket) -> None:
    found = pilot(bucket, NOW).decide()
    kept(bucket).add(found)  # then it is killed: the change is not made
    later = pilot(bucket, NOW + MINUTE).step()
    assert (later.count, len(later.state.moves)) == (found.count, 1)


def test_a_clock_that_went_back_does_not_forget_what_this_process_decided(bucket: Bucket) -> None:
    flown = pilot(bucket, NOW)
    first = flown.step()
    flown._clock = lambda: NOW - timedelta(hours=2)
    back = flown.step()
    assert back.previous == first.state
    assert back.repeat().to_dict() == back.to_dict()


def test_the_floor_of_last_week_comes_from_the_journal(bucket: Bucket) -> None:
    week = NOW - timedelta(days=7)
    for minute in range(20, 70, 10):
        kept(bucket).add(attrs.evolve(decision(), at=week + minute * MINUTE, wanted=9))
    found = pilot(bucket, NOW, learn=True).decide()
    assert found.observed == Observed(count=2, floor=9)
    assert learned_floor(kept(bucket).read(), NOW) == 9
