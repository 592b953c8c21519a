"""Test CloudWatch Logs over log files, and over the output of a real container."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from mme_sdk.local import LocalSageMaker
from mme_sdk.local.control.account import Account
from mme_sdk.local.control.logs.filter_pattern import parse_pattern
from mme_sdk.local.control.logs.service import Logs
from mme_sdk.local.control.logs.streams import LogStreams
from mme_sdk.local.wire.errors import ApiError
from tests.support.local.helpers import archive, make_endpoint
from tests.support.local.waiting import wait_until

GROUP = "/aws/sagemaker/Endpoints/scoring"
STREAM = "AllTraffic/i-0001"
TALKATIVE = b"""import sys
def model_fn(folder):
    print("loading with care", flush=True)
    return 1
def predict_fn(data, model):
    print("an odd request", file=sys.stderr, flush=True)
    return data
"""


class World:
    """Log files and a clock that the test advances."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        self.streams = LogStreams(folder, lambda: self.time)
        self.logs = Logs(self.streams, Account())
        self.streams.observe()

    @property
    def ms(self) -> int:
        return int(self.time.timestamp() * 1000)

    def write(self, text: str, stream: str = STREAM, endpoint: str = "scoring") -> None:
        """Append to a log file and let a second pass."""
        path = self.folder / endpoint / f"{stream}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text.encode())
        self.time += timedelta(seconds=1)
        self.streams.observe()

    def do(self, operation: str, **params):
        returned = self.logs.operations[operation](params)
        return returned if isinstance(returned, dict) else asyncio.run(returned)

    def messages(self, operation: str = "FilterLogEvents", **params) -> list[str]:
        return [one["message"] for one in self.do(operation, logGroupName=GROUP, **params)["events"]]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "logs")


def code_of(call, **params) -> str:
    with pytest.raises(ApiError) as caught:
        call(**params)
    return caught.value.code


def test_an_event_has_the_time_at_which_its_line_was_complete(world):
    world.write("first\nsec")
    first = world.ms
    world.write("ond\r\nthi")
    second = world.ms
    events = world.do("FilterLogEvents", logGroupName=GROUP)["events"]
    assert [(one["message"], one["timestamp"]) for one in events] == [("first", first), ("second", second)]
    assert {one["logStreamName"] for one in events} == {STREAM}
    assert len({one["eventId"] for one in events}) == 2
    assert world.messages(startTime=second) == ["second"]
    assert world.messages(endTime=second - 1) == ["first"]
    assert world.messages(startTime=first, endTime=first) == ["first"]
    assert world.messages(startTime=second + 1) == []
    assert world.messages("GetLogEvents", logStreamName=STREAM, startTime=second) == ["second"]


def test_events_of_all_streams_come_in_the_order_of_time_and_in_pages(world):
    for number in range(4):
        world.write(f"a{number}\n")
        world.write(f"b{number}\n", "Other/i-0001")
    wanted = [f"{letter}{number}" for number in range(4) for letter in "ab"]
    assert world.messages() == wanted
    assert world.messages(logStreamNames=["Other/i-0001"]) == wanted[1::2]
    assert world.messages(logStreamNamePrefix="All") == wanted[::2]
    found, token = [], {}
    for _ in range(9):
        page = world.do("FilterLogEvents", logGroupName=GROUP, limit=3, **token)
        found += [one["message"] for one in page["events"]]
        if page["nextToken"] is None:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == wanted


def test_the_events_of_a_stream_come_forwards_and_backwards(world):
    for number in range(10):
        world.write(f"line {number}\n")

    def get(**params):
        page = world.do("GetLogEvents", logGroupIdentifier=GROUP, logStreamName=STREAM, limit=4, **params)
        numbers = [int(one["message"].removeprefix("line ")) for one in page["events"]]
        return numbers, {"nextToken": page["nextForwardToken"]}, {"nextToken": page["nextBackwardToken"]}

    numbers, forward, backward = get()
    assert numbers == [6, 7, 8, 9]
    assert get(**forward)[0] == []
    assert get(**forward)[1] == forward  # the same token at the end
    assert get(**backward)[0] == [2, 3, 4, 5]
    numbers, forward, backward = get(startFromHead=True)
    assert numbers == [0, 1, 2, 3]
    assert get(**backward)[0] == []
    numbers, forward, _ = get(**forward)
    assert numbers == [4, 5, 6, 7]
    assert get(**forward)[0] == [8, 9]
    world.write("line 10\n")
    assert get(**forward)[0] == [8, 9, 10]


def test_groups_and_streams_are_described(world):
    world.write("one\n")
    world.write("two\n", "Other/i-0002")
    world.write("three\n", endpoint="another")
    groups = world.do("DescribeLogGroups")["logGroups"]
    assert [one["logGroupName"] for one in groups] == ["/aws/sagemaker/Endpoints/another", GROUP]
    assert groups[1]["arn"] == f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:*"
    assert groups[1]["storedBytes"] == 8
    prefixed = world.do("DescribeLogGroups", logGroupNamePrefix="/aws/sagemaker/Endpoints/sc")["logGroups"]
    assert [one["logGroupName"] for one in prefixed] == [GROUP]
    assert world.do("DescribeLogGroups", logGroupNamePattern="SCOR")["logGroups"] == groups[1:]
    page = world.do("DescribeLogGroups", limit=1)
    assert world.do("DescribeLogGroups", nextToken=page["nextToken"])["logGroups"] == groups[1:]
    by_time = world.do("DescribeLogStreams", logGroupName=GROUP, orderBy="LastEventTime", descending=True)["logStreams"]
    assert [one["logStreamName"] for one in by_time] == ["Other/i-0002", STREAM]
    assert by_time[1]["firstEventTimestamp"] == by_time[1]["lastEventTimestamp"] == world.ms - 2000
    named = world.do("DescribeLogStreams", logGroupIdentifier=groups[1]["logGroupArn"], logStreamNamePrefix="All")
    assert [one["logStreamName"] for one in named["logStreams"]] == [STREAM]


def test_what_aws_refuses_is_refused(world):
    world.write("one\n")
    do = world.do
    for operation, params, code in (
        ("FilterLogEvents", {"logGroupName": f"{GROUP}-absent"}, "ResourceNotFoundException"),
        ("FilterLogEvents", {"logGroupName": "../.."}, "ResourceNotFoundException"),
        ("FilterLogEvents", {}, "InvalidParameterException"),
        ("FilterLogEvents", {"logGroupName": GROUP, "logGroupIdentifier": GROUP}, "InvalidParameterException"),
        ("FilterLogEvents", {"logGroupName": GROUP, "logStreamNames": ["no"]}, "ResourceNotFoundException"),
        (
            "FilterLogEvents",
            {"logGroupName": GROUP, "logStreamNames": [STREAM], "logStreamNamePrefix": "A"},
            "InvalidParameterException",
        ),
        ("FilterLogEvents", {"logGroupName": GROUP, "nextToken": "x"}, "InvalidParameterException"),
        ("FilterLogEvents", {"logGroupName": GROUP, "nextToken": "WzFd"}, "InvalidParameterException"),
        ("FilterLogEvents", {"logGroupName": GROUP, "filterPattern": "{ $.a = 1 }"}, "InvalidParameterException"),
        ("GetLogEvents", {"logGroupName": GROUP, "logStreamName": "../x"}, "ResourceNotFoundException"),
        (
            "GetLogEvents",
            {"logGroupName": GROUP, "logStreamName": STREAM, "nextToken": "f"},
            "InvalidParameterException",
        ),
        ("DescribeLogGroups", {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}, "InvalidParameterException"),
        ("DescribeLogGroups", {"nextToken": "x"}, "InvalidParameterException"),
        (
            "DescribeLogStreams",
            {"logGroupName": GROUP, "logStreamNamePrefix": "A", "orderBy": "LastEventTime"},
            "InvalidParameterException",
        ),
    ):
        assert code_of(do, operation=operation, **params) == code, params


def test_lines_of_an_earlier_host_are_not_newer_than_their_file(world):
    world.write("old\n")
    path = world.folder / "scoring" / f"{STREAM}.log"
    world.time = datetime.fromtimestamp(path.stat().st_mtime, UTC) + timedelta(days=1)
    world.logs = Logs(LogStreams(world.folder, lambda: world.time), Account())
    (event,) = world.do("FilterLogEvents", logGroupName=GROUP)["events"]
    assert event["timestamp"] == int(path.stat().st_mtime * 1000)


def test_a_line_of_many_megabytes_is_cut_and_a_page_stays_small(world):
    world.write("x" * (3 << 20) + "\n" + "last\n")
    pages, token = [], {}
    for _ in range(9):
        page = world.do("FilterLogEvents", logGroupName=GROUP, **token)
        pages.append([one["message"] for one in page["events"]])
        if page["nextToken"] is None:
            break
        token = {"nextToken": page["nextToken"]}
    assert "".join(part for page in pages for part in page) == "x" * (3 << 20) + "last"
    assert all(sum(map(len, page)) <= 1 << 20 for page in pages)
    assert world.messages("GetLogEvents", logStreamName=STREAM, limit=1) == ["last"]


def test_the_times_of_a_long_log_stay_in_order_with_bounded_memory(world):
    for _ in range(9000):
        world.write("x\n")
    (stream,) = world.streams.observe()[GROUP].values()
    assert len(stream._marks) <= 4096
    times = [one.timestamp for one in stream.events(0, stream.size)]
    assert times == sorted(times)
    assert len(times) == 9000
    assert times[-1] == world.ms


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("", {"ERROR load failed", "WARN load slow", 'say "hi"'}),
        ("ERROR", {"ERROR load failed"}),
        ("load failed", {"ERROR load failed"}),
        ('"load failed"', {"ERROR load failed"}),
        ('"failed load"', set()),
        ("load -ERROR", {"WARN load slow"}),
        ("?ERROR ?WARN", {"ERROR load failed", "WARN load slow"}),
        (r'"say \"hi\""', {'say "hi"'}),
        ("error", set()),
    ],
)
def test_filter_patterns_of_terms(pattern, matching):
    lines = ["ERROR load failed", "WARN load slow", 'say "hi"']
    assert {line for line in lines if parse_pattern(pattern)(line)} == matching


@pytest.mark.parametrize("pattern", ["{ $.a = 1 }", "[a, b]", "%a+%", '"open', 'a"b'])
def test_other_filter_patterns_are_refused(pattern):
    with pytest.raises(ApiError) as caught:
        parse_pattern(pattern)
    assert caught.value.code == "InvalidParameterException"


def test_the_output_of_a_container_is_read_by_boto3(name):
    with LocalSageMaker() as host:
        s3, sm, runtime, logs = (host.boto(one) for one in ("s3", "sagemaker", "sagemaker-runtime", "logs"))
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="m.tar.gz", Body=archive(1, files={"code/inference.py": TALKATIVE}))
        made = make_endpoint(sm, name, Mode="SingleModel", ModelDataUrl=f"s3://{name}/m.tar.gz")
        assert made["EndpointStatus"] == "InService", made
        runtime.invoke_endpoint(EndpointName=name, Body=b"[1]", ContentType="application/json")
        group = f"/aws/sagemaker/Endpoints/{name}"
        assert [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]] == [group]

        def found(pattern: str) -> list[str]:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=pattern)
            return [one["message"] for page in pages for one in page["events"]]

        wait_until(lambda: found('"an odd request"'), "the line of the invocation")
        assert any("loading with care" in line for line in found("loading"))
        (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
        assert stream["logStreamName"].startswith("AllTraffic/")
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        assert any("an odd request" in one["message"] for one in events)
        with pytest.raises(ClientError) as caught:
            logs.get_log_events(logGroupName=f"{group}-2", logStreamName="x")
        assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
        for client in (s3, sm, runtime, logs):
            client.close()
