"""Autoscaling that is not attached at the moment is written into tags, so that it outlives the client that knows it.

SageMaker refuses to change the instance type of a variant that is a scalable target: for minutes an endpoint has none.
A new endpoint gets its autoscaling once it is in service. In both cases the tags are the endpoint's. Autoscaling of a
variant that an update removes is written into tags of the new configuration: a rollback from there brings both back.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence

from mme_sdk.aws import Flow
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.endpoints.operations.calls import absent_ok, sagemaker
from mme_sdk.endpoints.spec.requests import OWN_TAGS
from mme_sdk.errors import AccessDeniedError, InvalidInputError, MMEError, QuotaExceededError

__all__ = ["PENDING", "PREFIX", "forget", "is_note", "lacks", "notes_of", "parked_in", "remember"]

PREFIX = f"{OWN_TAGS}autoscaling:"
PENDING = f"{OWN_TAGS}pending:"
"""How the keys begin that write down what a new endpoint is still to get."""
_KEY = re.compile(rf"(?:{PREFIX}|{PENDING})(?P<variant>[^:]+):(?P<place>\d+)")
# A tag's value has at most 256 characters, and neither braces nor quotes.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Tag.html
_BYTES = 192

_log = logging.getLogger(__name__)


def remember(endpoint: str, arn: str, attached: Iterable[Attached]) -> Flow[tuple[str, ...]]:
    """Write down what is attached.

    Returns:
        The tags' keys; none where the caller may not tag, or the endpoint has no room for more tags.
    """
    tags = notes_of(attached)
    if not tags:
        return ()
    try:
        yield sagemaker("add_tags", endpoint, ResourceArn=arn, Tags=tags)
    except (AccessDeniedError, InvalidInputError, QuotaExceededError) as error:
        _log.warning("autoscaling of endpoint %s is not written down while it is off: %s", endpoint, error.message)
        return ()
    return tuple(tag["Key"] for tag in tags)


def notes_of(attached: Iterable[Attached], prefix: str = PREFIX) -> list[dict[str, str]]:
    """The tags that write autoscaling down, in the form of the API."""
    return [{"Key": key, "Value": value} for one in attached for key, value in _tags(one, prefix).items()]


def is_note(key: str, variant: str | None = None) -> bool:
    """Whether a tag's key is of such a tag; of a variant, where one is given."""
    found = _KEY.fullmatch(key)
    return found is not None and variant in (None, found["variant"])


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


def _tags(one: Attached, prefix: str) -> dict[str, str]:
    noted = one.essence() | ({} if one.instance_type is None else {"instance_type": one.instance_type})
    text = json.dumps(noted, separators=(",", ":"), default=lambda when: when.isoformat())
    packed = zlib.compress(text.encode(), 9)
    return {
        f"{prefix}{one.variant}:{place}": base64.b64encode(packed[start : start + _BYTES]).decode()
        for place, start in enumerate(range(0, len(packed), _BYTES))
    }
