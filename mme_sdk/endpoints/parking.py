"""Autoscaling that an update takes off is written into tags of the endpoint first, so that it outlives the updater.

SageMaker refuses to change the instance type of a variant that is a scalable target: for minutes an endpoint has none.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence

from mme_sdk.aws import Flow
from mme_sdk.endpoints.autoscaling import Attached
from mme_sdk.endpoints.calls import absent_ok, sagemaker
from mme_sdk.errors import AccessDeniedError, InvalidInputError, MMEError, QuotaExceededError

__all__ = ["PREFIX", "forget", "lacks", "parked_in", "remember"]

PREFIX = "mme_sdk:autoscaling:"
_KEY = re.compile(rf"{PREFIX}(?P<variant>[^:]+):(?P<place>\d+)")
# A tag's value has at most 256 characters, and neither braces nor quotes.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Tag.html
_BYTES = 192

_log = logging.getLogger(__name__)


def remember(endpoint: str, arn: str, attached: Iterable[Attached]) -> Flow[tuple[str, ...]]:
    """Write down what is attached.

    Returns:
        The tags' keys; none where the caller may not tag, or the endpoint has no room for more tags.
    """
    tags = [{"Key": key, "Value": value} for one in attached for key, value in _tags(one).items()]
    if not tags:
        return ()
    try:
        yield sagemaker("add_tags", endpoint, ResourceArn=arn, Tags=tags)
    except (AccessDeniedError, InvalidInputError, QuotaExceededError) as error:
        _log.warning("autoscaling of endpoint %s is not written down while it is off: %s", endpoint, error.message)
        return ()
    return tuple(tag["Key"] for tag in tags)


def forget(endpoint: str, arn: str, keys: Sequence[str]) -> Flow[None]:
    """Remove what was written down; what is left is no harm, since what is attached counts."""
    if not keys:
        return
    try:
        yield from absent_ok(sagemaker("delete_tags", endpoint, ResourceArn=arn, TagKeys=list(keys)))
    except MMEError as error:
        _log.warning("tags %s of endpoint %s were left: %s", ", ".join(keys), endpoint, error.message)


def parked_in(tags: Mapping[str, str]) -> dict[str, Attached]:
    """What was written down, by variant; what cannot be read is left out."""
    parts: dict[str, dict[int, str]] = {}
    for key, value in tags.items():
        if found := _KEY.fullmatch(key):
            parts.setdefault(found["variant"], {})[int(found["place"])] = value
    read = {}
    for variant, values in parts.items():
        try:
            packed = b"".join(base64.b64decode(values[place]) for place in sorted(values))
            # What an earlier, longer one has left behind the end does not count.
            read[variant] = Attached(variant=variant, **json.loads(zlib.decompressobj().decompress(packed)))
        except (ValueError, TypeError, zlib.error):
            _log.warning("tags of variant %s are not readable as autoscaling", variant)
    return read


def lacks(there: Attached | None, parked: Attached) -> bool:
    """Whether what was taken off is not back yet, or only in part; what others attached meanwhile counts as back."""
    return there is None or _names(there) < _names(parked)


def _names(attached: Attached) -> set[str]:
    return {one["PolicyName"] for one in attached.policies} | {one["ScheduledActionName"] for one in attached.actions}


def _tags(one: Attached) -> dict[str, str]:
    text = json.dumps(one.essence(), separators=(",", ":"), default=lambda when: when.isoformat())
    packed = zlib.compress(text.encode(), 9)
    return {
        f"{PREFIX}{one.variant}:{place}": base64.b64encode(packed[start : start + _BYTES]).decode()
        for place, start in enumerate(range(0, len(packed), _BYTES))
    }
