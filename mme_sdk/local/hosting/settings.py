"""How hosting behaves: limits that AWS documents, what it leaves open, and delays to simulate."""

from __future__ import annotations

import math
import os
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["HostingSettings"]


def _at_least_zero(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None and attribute.default is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value < 0:
        raise InvalidInputError(f"HostingSettings.{attribute.name} must be a number of at least 0, not {value!r}")


def _more_than_zero(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _at_least_zero(_, attribute, value)
    if value is not None and value == 0:
        raise InvalidInputError(f"HostingSettings.{attribute.name} must be more than 0")


def _paths(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(given, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in given):
        raise InvalidInputError(f"HostingSettings.readable must be a list of paths, not {value!r}")
    paths = tuple(os.fspath(one) for one in given)
    for path in paths:
        if not os.path.isabs(path):  # noqa: PTH117
            raise InvalidInputError(f"HostingSettings.readable must hold absolute paths, not {path!r}")
    return paths


def _zero(default: float) -> Any:
    return attrs.field(default=default, validator=_at_least_zero)


def _positive(default: Any) -> Any:
    return attrs.field(default=default, validator=_more_than_zero)


@attrs.frozen(kw_only=True)
class HostingSettings:
    """Settings of the embedded SageMaker's data plane.

    Attributes:
        answer_limit: Seconds after which a request for a model that is still loading is answered 429.
        load_limit: Seconds that a download with its load may take.
        invocation_limit: Seconds that a container may take to answer.
        stream_limit: Seconds that a container may take between two chunks of a streamed answer.
        max_payload: Largest request body, bytes.
        memory_bytes: Memory for models on an instance; that of the instance type where None.
        volume_bytes: Room for models on an instance's volume; VolumeSizeInGB, or 30 GB, where None.
        loader_slots: Models that an instance loads at a time; with ModelCacheSetting=Disabled its vCPUs, if more.
        spill_outstanding: Requests of one model on one instance from which on another is tried.
        memory_per_byte: Bytes of memory expected for each byte of an extracted archive.
        memory_per_model: Bytes of memory expected for each model, whatever its size.
        serve_deleted: Whether a model that is cached is served after its archive was deleted from S3.
        startup_limit: Seconds for a container to become healthy, where the variant does not say.
        download_limit: Seconds for the archive of a single-model endpoint, where the variant does not say.
        download_bandwidth: Simulated: bytes per second from S3; None for as fast as it goes.
        load_seconds: Simulated: added to each load.
        load_seconds_per_gb: Simulated: added to each load for each 10⁹ bytes extracted.
        restart_seconds: Between two attempts to restart a container that ended.
        gpu_types_on_cpu: Whether instance types with GPUs run on the CPU of a machine that has no CUDA device.
        metrics_seconds: Between two measurements of what instances use.
        stop_seconds: From SIGTERM to SIGKILL.
        isolate: Whether containers and models get no more of this machine than they need: an environment without the
            host's credentials, temporary folders of their own, and, on Linux, no access to other files.
        readable: Files and directories that containers and models may read beside the system's and Python's, where
            `isolate` is on; absolute paths.
        seed: Of all random choices.

    Example:
        >>> HostingSettings(download_bandwidth=100e6).answer_limit
        60.0
    """

    answer_limit: float = _positive(60.0)
    load_limit: float = _positive(360.0)
    invocation_limit: float = _positive(60.0)
    stream_limit: float = _positive(60.0)
    max_payload: int = _positive(25 * 1024 * 1024)
    memory_bytes: int | None = _positive(None)
    volume_bytes: int | None = _positive(None)
    loader_slots: int = _positive(2)
    spill_outstanding: int = _positive(8)
    memory_per_byte: float = _zero(1.0)
    memory_per_model: int = _zero(4 * 1024 * 1024)
    serve_deleted: bool = True
    startup_limit: float = _positive(300.0)
    download_limit: float = _positive(600.0)
    download_bandwidth: float | None = _positive(None)
    load_seconds: float = _zero(0.0)
    load_seconds_per_gb: float = _zero(0.0)
    restart_seconds: float = _zero(0.5)
    gpu_types_on_cpu: bool = False
    metrics_seconds: float = _positive(60.0)
    stop_seconds: float = _zero(5.0)
    isolate: bool = True
    readable: tuple[str, ...] = attrs.field(default=(), converter=_paths)
    seed: int = 0
