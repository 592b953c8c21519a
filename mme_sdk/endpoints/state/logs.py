"""Read the log of an endpoint's containers through CloudWatch Logs, which the embedded SageMaker answers as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk._validation import check_number
from mme_sdk.aws import Call, Flow, Sleep
from mme_sdk.errors import InvalidInputError, NotFoundError
from mme_sdk.types import ModelVersion

__all__ = ["LogReader"]

_PAUSE = 2.0  # seconds between two looks for new lines
_STREAMS = 20  # log streams that are read; there is one for each instance and container
_PAGE = 10_000  # lines; the most that CloudWatch Logs returns at a time
_NOT_IN_LOGS = re.compile(r"s3://|[^@]+@[^@/]+\Z", re.IGNORECASE)  # an S3 address, or an alias
_PAGES = 20  # read of each stream in search of a model's lines


@attrs.define
class LogReader:
    """Reads the last lines of a log, and then the new ones.

    Args:
        endpoint: EndpointName.
        model: Text that each line contains: a target model, or the name of a model. None means every line.
        lines: Largest number of lines of the first read.
    """

    endpoint: str
    model: str | ModelVersion | None
    lines: int
    _next: dict[str, str] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        check_number("lines", self.lines, at_least=1, at_most=_PAGE, integer=True)
        if self.model is not None and not (isinstance(self.model, (str, ModelVersion)) and str(self.model)):
            raise InvalidInputError(f"model must be text, a ModelVersion or None, not {self.model!r}")

    def last(self) -> Flow[list[str]]:
        """Return the last lines.

        Raises:
            InvalidInputError: No line contains `model`, which is an alias or an address: containers do not know them.
            NotFoundError: The endpoint has written no log.
        """
        try:
            events: list[Mapping[str, Any]] = []
            for stream in (yield from self._streams()):
                events += yield from self._end_of(stream)
        except NotFoundError as error:
            error.message = f"{self.endpoint}: there is no log {self._group}"
            error.args = (error.message,)
            error.hint = "check the name, the account and the region; a container's first output creates the log"
            raise
        if not events and isinstance(self.model, str) and _NOT_IN_LOGS.match(self.model):
            raise InvalidInputError(
                f"{self.endpoint}: no line of the log contains {self.model!r}",
                hint="pass a target model, such as fraud/v3.tar.gz, or the name of a model; containers know no aliases",
                endpoint=self.endpoint,
                model=self.model,
            )
        return _messages(events)[-self.lines :]

    def new(self) -> Flow[list[str]]:
        """Wait a moment, and return the lines that were written since the last read."""
        yield Sleep(_PAUSE)
        events: list[Mapping[str, Any]] = []
        for stream in (yield from self._streams()):
            while True:
                token = self._next.get(stream)
                more: dict[str, Any] = {"startFromHead": True} if token is None else {"nextToken": token}
                page = yield self._call("get_log_events", logStreamName=stream, limit=_PAGE, **more)
                events += self._of_model(page)
                self._next[stream] = str(page["nextForwardToken"])
                if self._next[stream] == token:
                    break
        return _messages(events)

    def _streams(self) -> Flow[list[str]]:
        """Return the names of the log streams with the newest lines."""
        page = yield self._call("describe_log_streams", orderBy="LastEventTime", descending=True, limit=_STREAMS)
        return [str(each["logStreamName"]) for each in page["logStreams"]]

    def _end_of(self, stream: str) -> Flow[list[Mapping[str, Any]]]:
        """Read a log stream backwards, until there are enough lines."""
        found: list[Mapping[str, Any]] = []
        token: str | None = None
        limit = self.lines if self.model is None else _PAGE
        for _ in range(_PAGES):
            more: dict[str, Any] = {"startFromHead": False} if token is None else {"nextToken": token}
            page = yield self._call("get_log_events", logStreamName=stream, limit=limit, **more)
            self._next.setdefault(stream, str(page["nextForwardToken"]))
            found[:0] = self._of_model(page)
            before, token = token, str(page["nextBackwardToken"])
            if len(found) >= self.lines or token == before:  # CloudWatch returns the same token at the beginning
                break
        return found[-self.lines :]

    def _of_model(self, page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [each for each in page["events"] if self.model is None or str(self.model) in each["message"]]

    @property
    def _group(self) -> str:
        return f"/aws/sagemaker/Endpoints/{self.endpoint}"

    def _call(self, operation: str, **params: Any) -> Call:
        return Call(service="logs", operation=operation, params={"logGroupName": self._group, **params})


def _messages(events: list[Mapping[str, Any]]) -> list[str]:
    """Return the lines, oldest first. The lines of a stream keep their order."""
    return [str(each["message"]) for each in sorted(events, key=lambda each: int(each["timestamp"]))]
