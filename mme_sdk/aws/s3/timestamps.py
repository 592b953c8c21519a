"""Parse the times of S3's listings. botocore uses dateutil, which takes most of the time that a listing costs."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

__all__ = ["install", "parse"]

_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)


def parse(value: Any) -> datetime:
    """Return a time with its time zone.

    Args:
        value: The text of a member of the type `timestamp`; or seconds, which botocore allows too.
    """
    if isinstance(value, str) and _UTC.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass  # botocore raises its own error
    from botocore.utils import parse_timestamp

    found: datetime = parse_timestamp(value)
    return found


def install(client: Any) -> None:
    """Let a client of S3 parse times with `parse`. Other clients of its session are not changed.

    Args:
        client: A boto3 client of S3. It is not changed if its version of botocore keeps its parsers elsewhere.
    """
    from botocore.parsers import ResponseParserFactory

    endpoint = client._endpoint
    shared: Any = getattr(endpoint, "_response_parser_factory", None)
    if type(shared) is not ResponseParserFactory or shared._defaults:
        return  # an unknown version of botocore, or parsers that the caller has set for the session
    factory: Any = ResponseParserFactory()
    factory.set_parser_defaults(timestamp_parser=parse)
    endpoint._response_parser_factory = factory
