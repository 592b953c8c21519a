"""Autoscaling that is not attached at the moment, kept in tags so that any client can attach it.

There are three cases:

- SageMaker does not change the instance type of a variant that is a scalable target. An update detaches autoscaling for
  some minutes and keeps it in tags of the endpoint.
- Autoscaling is attached to a new endpoint once it is in service. Until then it is in tags of the endpoint.
- An update may remove a variant. Its autoscaling is kept in tags of the new configuration for a rollback.

A tag's value has at most 256 characters and no JSON punctuation, so the settings are compressed, encoded as base64 and
split over several tags.
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
from mme_sdk.endpoints.operations.calls import none_if_missing, sagemaker_call
from mme_sdk.endpoints.spec.requests import TAG_PREFIX
from mme_sdk.errors import AccessDeniedError, InvalidInputError, MMEError, QuotaExceededError

__all__ = [
    "BACKUP_PREFIX",
    "CREATION_TAG",
    "PENDING_PREFIX",
    "is_backup_tag",
    "is_missing",
    "is_pending_tag",
    "read_backups",
    "remove",
    "to_tags",
    "write",
]

BACKUP_PREFIX = f"{TAG_PREFIX}autoscaling:"
"""Prefix of the tags with autoscaling that an update detached."""
PENDING_PREFIX = f"{TAG_PREFIX}pending:"
"""Prefix of the tags with autoscaling that a new endpoint gets once it is in service."""
CREATION_TAG = f"{TAG_PREFIX}creation"
"""Tag of an endpoint whose creation is not complete; see `operations.complete_creation`."""
_KEY = re.compile(rf"(?:{BACKUP_PREFIX}|{PENDING_PREFIX})(?P<variant>[^:]+):(?P<part>\d+)")
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Tag.html: 256 characters of base64 hold 192 bytes.
_BYTES = 192

_log = logging.getLogger(__name__)


def write(endpoint: str, arn: str, attached: Iterable[Attached]) -> Flow[tuple[str, ...]]:
    """Write autoscaling into tags of an endpoint.

    Args:
        endpoint: EndpointName.
        arn: The endpoint's ARN.
        attached: The autoscaling.

    Returns:
        The keys of the tags. Empty if the caller may not tag the endpoint, or if it has 50 tags.
    """
    tags = to_tags(attached)
    if not tags:
        return ()
    try:
        yield sagemaker_call("add_tags", endpoint, ResourceArn=arn, Tags=tags)
    except (AccessDeniedError, InvalidInputError, QuotaExceededError) as error:
        _log.warning("no backup of the autoscaling of endpoint %s while it is detached: %s", endpoint, error.message)
        return ()
    return tuple(tag["Key"] for tag in tags)


def to_tags(attached: Iterable[Attached], prefix: str = BACKUP_PREFIX) -> list[dict[str, str]]:
    """Return the tags that hold autoscaling, as the API takes them."""
    return [{"Key": key, "Value": value} for one in attached for key, value in _tags(one, prefix).items()]


def is_backup_tag(key: str, variant: str | None = None) -> bool:
    """Return whether a tag is one of this module, for one variant or for any."""
    found = _KEY.fullmatch(key)
    if found is None:
        return variant is None and key == CREATION_TAG
    return variant in (None, found["variant"])


def is_pending_tag(key: str) -> bool:
    """Return whether a tag says what is left to do for a new endpoint."""
    return key == CREATION_TAG or key.startswith(PENDING_PREFIX)


def remove(endpoint: str, arn: str, keys: Sequence[str]) -> Flow[None]:
    """Delete tags that this module wrote to an endpoint.

    A failure is logged. A tag that was not deleted is ignored once autoscaling is attached.
    """
    if not keys:
        return
    try:
        yield from none_if_missing(sagemaker_call("delete_tags", endpoint, ResourceArn=arn, TagKeys=list(keys)))
    except MMEError as error:
        _log.warning("tags %s of endpoint %s were not deleted: %s", ", ".join(keys), endpoint, error.message)


def read_backups(tags: Mapping[str, str]) -> dict[str, Attached]:
    """Return the autoscaling that tags hold, by variant. Tags that cannot be decoded are logged and left out."""
    parts: dict[str, dict[int, str]] = {}
    for key, value in tags.items():
        if found := _KEY.fullmatch(key):
            parts.setdefault(found["variant"], {})[int(found["part"])] = value
    read = {}
    for variant, values in parts.items():
        try:
            packed = b"".join(base64.b64decode(values[place]) for place in sorted(values))
            # Bytes after the end are of an earlier, longer backup.
            read[variant] = Attached(variant=variant, **json.loads(zlib.decompressobj().decompress(packed)))
        except (ValueError, TypeError, zlib.error):
            _log.warning("the backup of the autoscaling of variant %s cannot be decoded", variant)
    return read


def is_missing(there: Attached | None, saved: Attached) -> bool:
    """Return whether saved autoscaling is not attached, or only a part of it; other autoscaling counts as attached."""
    return there is None or _names(there) < _names(saved)


def _names(attached: Attached) -> set[str]:
    names = {one["PolicyName"] for one in attached.policies} | {one["AlarmName"] for one in attached.alarms}
    return names | {one["ScheduledActionName"] for one in attached.actions}


def _tags(attached: Attached, prefix: str) -> dict[str, str]:
    settings = attached.settings()
    if attached.instance_type is not None:
        settings["instance_type"] = attached.instance_type
    text = json.dumps(settings, separators=(",", ":"), default=lambda when: when.isoformat())
    packed = zlib.compress(text.encode(), 9)
    return {
        f"{prefix}{attached.variant}:{part}": base64.b64encode(packed[start : start + _BYTES]).decode()
        for part, start in enumerate(range(0, len(packed), _BYTES))
    }
