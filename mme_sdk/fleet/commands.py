"""The commands of a fleet. The caller reports the end of each command with one event; `Fail` needs no report."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["Command", "Discard", "Download", "Fail", "FailReason", "Load", "Run", "Unload"]

FailReason = Literal[
    "out_of_memory", "out_of_disk", "download_failed", "load_failed", "crashed", "instance_lost", "no_instances"
]


@attrs.frozen
class Download:
    """Download the model's archive from S3 to the instance's volume; report `downloaded` or `download_failed`.

    Attributes:
        instance: Name of the instance.
        model: Name of the model.
    """

    instance: str
    model: str


@attrs.frozen
class Load:
    """Load the model into the container's memory; report `loaded`, `load_failed` or `out_of_memory`.

    Attributes:
        instance: Name of the instance.
        model: Name of the model.
    """

    instance: str
    model: str


@attrs.frozen
class Unload:
    """Unload the model from the container's memory; report `unloaded`.

    Attributes:
        instance: Name of the instance.
        model: Name of the model.
    """

    instance: str
    model: str


@attrs.frozen
class Discard:
    """Delete the model's files from the instance's volume; report `discarded`.

    Attributes:
        instance: Name of the instance.
        model: Name of the model.
    """

    instance: str
    model: str


@attrs.frozen
class Run:
    """Send the request to the container; report `finished` or `ran_out_of_memory`.

    Attributes:
        instance: Name of the instance.
        model: Name of the model.
        request_id: Name of the request.
    """

    instance: str
    model: str
    request_id: str


@attrs.frozen
class Fail:
    """Answer the request with an error. The fleet has removed the request, so that its name may be used again.

    Attributes:
        request_id: Name of the request.
        model: Name of the model.
        reason: Category of the failure.
        detail: Description of the failure; the caller's own text if it reported the failure. Default empty.
        ran: Whether the request was sent to the container, which may have executed it. Default False.
    """

    request_id: str
    model: str
    reason: FailReason
    detail: str = ""
    ran: bool = False


Command: TypeAlias = Download | Load | Unload | Discard | Run | Fail
