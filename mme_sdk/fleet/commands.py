"""What a fleet asks its host to do; each is answered by one event, except `Fail`, which needs no answer."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["Command", "Discard", "Download", "Fail", "FailReason", "Load", "Run", "Unload"]

FailReason = Literal[
    "out_of_memory", "out_of_disk", "download_failed", "load_failed", "crashed", "instance_lost", "no_instances"
]


@attrs.frozen
class Download:
    """Bring the model's archive from S3 to the instance's volume; answer `downloaded` or `download_failed`."""

    instance: str
    model: str


@attrs.frozen
class Load:
    """Load the model into the container's memory; answer `loaded`, `load_failed` or `out_of_memory`."""

    instance: str
    model: str


@attrs.frozen
class Unload:
    """Take the model out of the container's memory; answer `unloaded`."""

    instance: str
    model: str


@attrs.frozen
class Discard:
    """Delete the model's files from the instance's volume; answer `discarded`."""

    instance: str
    model: str


@attrs.frozen
class Run:
    """Pass the request to the container; answer `finished` (or `ran_out_of_memory`)."""

    instance: str
    model: str
    request_id: str


@attrs.frozen
class Fail:
    """The request cannot be served here; the fleet has forgotten it, so the same id may arrive again.

    Attributes:
        request_id: The request.
        model: Its model.
        reason: Why, in a word.
        detail: What the host said when it reported the failure.
        ran: Whether the request had been passed to the container, so that the model may have run.
    """

    request_id: str
    model: str
    reason: FailReason
    detail: str = ""
    ran: bool = False


Command: TypeAlias = Download | Load | Unload | Discard | Run | Fail
