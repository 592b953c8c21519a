"""CloudWatch Logs: read the output of the containers."""

from __future__ import annotations

import asyncio
import base64
import heapq
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.logs.filter_pattern import parse_pattern
from mme_sdk.local.control.logs.streams import LogEvent, LogStream, LogStreams
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Logs"]

_MAX_EVENTS = 10_000
_MAX_BYTES = 1 << 20  # of the messages of a response
_MAX_SCANNED = 16 << 20  # bytes; a response may have fewer events than match, and a token for the rest
_TOKEN = re.compile("([fb])/([0-9]{1,18})")


class Logs:
    """The `logs` service.

    Args:
        streams: The log streams.
        account: The account of the log groups.
    """

    service = "logs"

    def __init__(self, streams: LogStreams, account: Account) -> None:
        self._streams = streams
        self._account = account
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]] = {
            "DescribeLogGroups": self._describe_groups,
            "DescribeLogStreams": self._describe_streams,
            "FilterLogEvents": self._filter_events,
            "GetLogEvents": self._get_events,
        }

    def _describe_groups(self, params: dict[str, Any]) -> dict[str, Any]:
        prefix, pattern = params.get("logGroupNamePrefix"), params.get("logGroupNamePattern")
        if prefix is not None and pattern is not None:
            _refuse("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        found = []
        for name, streams in sorted(self._streams.observe().items()):
            if not name.startswith(prefix or "") or (pattern or "").lower() not in name.lower():
                continue
            arn = self._account.arn_of("logs", f"log-group:{name}")
            created = [one.first_time for one in streams.values() if one.first_time is not None]
            group = {
                "logGroupName": name,
                "creationTime": min(created, default=0),
                "metricFilterCount": 0,
                "arn": f"{arn}:*",
                "logGroupArn": arn,
                "storedBytes": sum(one.size for one in streams.values()),
                "logGroupClass": "STANDARD",
            }
            found.append(group)
        return _page(found, params, "logGroups")

    def _describe_streams(self, params: dict[str, Any]) -> dict[str, Any]:
        group, streams = self._group(params)
        prefix, by_time = params.get("logStreamNamePrefix", ""), params.get("orderBy") == "LastEventTime"
        if prefix and by_time:
            _refuse("Cannot order by LastEventTime with a logStreamNamePrefix.")
        chosen = [one for name, one in sorted(streams.items()) if name.startswith(prefix)]
        if by_time:
            chosen.sort(key=lambda one: one.last_time or 0)
        if params.get("descending"):
            chosen.reverse()
        arn = self._account.arn_of("logs", f"log-group:{group}")
        found = [
            {
                "logStreamName": one.name,
                "creationTime": one.first_time or 0,
                "firstEventTimestamp": one.first_time,
                "lastEventTimestamp": one.last_time,
                "lastIngestionTime": one.last_time,
                "arn": f"{arn}:log-stream:{one.name}",
                "storedBytes": 0,  # AWS deprecated it and returns 0
            }
            for one in chosen
        ]
        return _page(found, params, "logStreams")

    async def _filter_events(self, params: dict[str, Any]) -> dict[str, Any]:
        _, streams = self._group(params)
        names, prefix = params.get("logStreamNames"), params.get("logStreamNamePrefix")
        if names is not None and prefix is not None:
            _refuse("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
        for name in names or ():
            if name not in streams:
                raise _no_such_stream()
        chosen = [streams[name] for name in sorted(set(names or streams)) if name.startswith(prefix or "")]
        matches = parse_pattern(params.get("filterPattern", ""))
        offsets = _offsets(params.get("nextToken"))
        spans = {one.name: one.span(params.get("startTime"), params.get("endTime")) for one in chosen}
        starts = {name: max(begin, offsets.get(name, 0)) for name, (begin, _) in spans.items()}
        limit = params.get("limit", _MAX_EVENTS)
        events, token = await asyncio.to_thread(_search, chosen, starts, spans, matches, limit)
        return {"events": events, "searchedLogStreams": [], "nextToken": token}

    async def _get_events(self, params: dict[str, Any]) -> dict[str, Any]:
        _, streams = self._group(params)
        stream = streams.get(params["logStreamName"])
        if stream is None:
            raise _no_such_stream()
        begin, end = stream.span(params.get("startTime"), params.get("endTime"))
        forward, limit = params.get("startFromHead", False), params.get("limit", _MAX_EVENTS)
        if "nextToken" in params:
            found = _TOKEN.fullmatch(params["nextToken"])
            if found is None:
                _refuse("The specified nextToken is invalid.")
            forward, offset = found[1] == "f", int(found[2])
            begin, end = (max(begin, offset), end) if forward else (begin, min(end, offset))
        read = partial(_head, stream) if forward else stream.tail
        events = await asyncio.to_thread(read, begin, end, limit)
        first, last = (events[0].start, events[-1].end) if events else (begin, begin) if forward else (end, end)
        return {
            "events": [
                {"timestamp": one.timestamp, "message": one.message, "ingestionTime": one.timestamp} for one in events
            ],
            "nextForwardToken": f"f/{last}",
            "nextBackwardToken": f"b/{first}",
        }

    def _group(self, params: Mapping[str, Any]) -> tuple[str, dict[str, LogStream]]:
        name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
        if (name is None) == (identifier is None):
            _refuse("Exactly one of logGroupName and logGroupIdentifier must be specified.")
        chosen = name or (identifier or "").removeprefix(self._account.arn_of("logs", "log-group:"))
        groups = self._streams.observe()
        if chosen not in groups:
            raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
        return chosen, groups[chosen]


def _head(stream: LogStream, begin: int, end: int, count: int) -> list[LogEvent]:
    found: list[LogEvent] = []
    size = 0
    for event in stream.events(begin, end):
        size += event.end - event.start
        if found and size > _MAX_BYTES:
            break
        found.append(event)
        if len(found) == count:
            break
    return found


def _search(
    streams: Sequence[LogStream],
    starts: Mapping[str, int],
    spans: Mapping[str, tuple[int, int]],
    matches: Callable[[str], bool],
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the events that match, oldest first, and the token of the next page or None."""
    merged = heapq.merge(
        *(one.events(starts[one.name], spans[one.name][1]) for one in streams), key=lambda event: event.timestamp
    )
    offsets = dict(starts)
    found: list[dict[str, Any]] = []
    size = scanned = 0
    for event in merged:
        length = event.end - event.start
        if len(found) == limit or (found and size + length > _MAX_BYTES) or scanned > _MAX_SCANNED:
            return found, base64.urlsafe_b64encode(json.dumps(offsets).encode()).decode()
        offsets[event.stream] = event.end
        scanned += length
        if matches(event.message):
            size += length
            found.append(
                {
                    "logStreamName": event.stream,
                    "timestamp": event.timestamp,
                    "message": event.message,
                    "ingestionTime": event.timestamp,
                    "eventId": f"{event.timestamp:020d}{event.start:020d}{zlib.crc32(event.stream.encode()):010d}",
                }
            )
    return found, None


def _offsets(token: str | None) -> dict[str, int]:
    if token is None:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(type(one) is int and one >= 0 for one in found.values()):
        _refuse("The specified nextToken is invalid.")
    return found


def _page(found: list[dict[str, Any]], params: Mapping[str, Any], member: str) -> dict[str, Any]:
    page = {"MaxResults": params.get("limit", 50)}
    if "nextToken" in params:
        page["NextToken"] = params["nextToken"]
    shown = paginate(found, page, member, code="InvalidParameterException")
    return {member: shown[member], "nextToken": shown.get("NextToken")}


def _no_such_stream() -> ApiError:
    return ApiError("ResourceNotFoundException", "The specified log stream does not exist.")


def _refuse(message: str) -> NoReturn:
    raise ApiError("InvalidParameterException", message)
