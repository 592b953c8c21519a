"""Settings of hosting: limits of AWS, limits of this machine, and simulated delays."""

from __future__ import annotations

import os
from typing import Any, get_args

import attrs

from mme_sdk._validation import as_int, number, one_of, optional, optional_int
from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet import RoutingName
from mme_sdk.local.hosting.gpus import Gpu

__all__ = ["HostingSettings"]


def _paths(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(given, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in given):
        raise InvalidInputError(f"HostingSettings.readable must be a list of paths, not {value!r}")
    paths = tuple(os.fspath(one) for one in given)
    for path in paths:
        if not os.path.isabs(path):  # noqa: PTH117
            raise InvalidInputError(f"HostingSettings.readable must hold absolute paths, not {path!r}")
    return paths


def _gpus(value: Any) -> tuple[Gpu, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, Gpu) for one in value):
        raise InvalidInputError(f"HostingSettings.gpus must be a list of Gpu objects, not {value!r}")
    return tuple(value)


def _positive(default: Any) -> Any:
    inner = number(over=0, infinite=True)
    return attrs.field(default=default, validator=optional(inner) if default is None else inner)


def _whole(default: int | None) -> Any:
    inner = number(over=0, integer=True)
    return attrs.field(default=default, converter=optional_int, validator=optional(inner) if default is None else inner)


def _at_least_zero(default: float) -> Any:
    return attrs.field(default=default, validator=number(at_least=0, infinite=True))


@attrs.frozen(kw_only=True)
class HostingSettings:
    """Settings of the embedded SageMaker's data plane.

    Attributes:
        answer_limit: Seconds that a request waits for a model that is being loaded; then it is answered 429.
            Default 60.
        load_limit: Seconds for the download and the load of a model. Default 360.
        invocation_limit: Seconds for the response of a container. Default 60.
        stream_limit: Seconds between two chunks of a streamed response. Default 60.
        max_payload: Largest request body, in bytes. Default 25 MiB.
        memory_bytes: Memory for models on an instance, in bytes. Default None: that of the instance type.
        volume_bytes: Volume space for models on an instance, in bytes. Default None: VolumeSizeInGB, or 30 GB.
        loader_slots: Number of models that an instance loads at the same time. With ModelCacheSetting=Disabled, the
            number of vCPUs if that is larger. Default 2.
        spill_outstanding: Number of outstanding requests for a model on one instance from which the fleet uses a
            further instance for that model. Default 8.
        routing: Which instance gets a request, which AWS documents in part: `sticky`, one that has the model in memory,
            is loading it, or has its files, in this order; `sticky_to_memory`, the same, but files do not count;
            `scatter`, one that has it in memory, else a random one; `random`. Default `sticky`.
        memory_per_byte: Expected memory of a model per byte of its extracted archive, in bytes. Default 1.
        memory_per_model: Expected memory of a model in addition to `memory_per_byte`, in bytes. Default 4 MiB.
        serve_deleted: Whether a cached model is still served after its archive was deleted from S3. Default True.
        startup_limit: Seconds for a container to become healthy, unless the variant sets a limit. Default 300.
        download_limit: Seconds for the download of a single-model endpoint's archive, unless the variant sets a
            limit. Default 600.
        download_bandwidth: Simulated bandwidth of S3, in bytes per second. Default None: not limited.
        load_seconds: Simulated time added to each load, in seconds. Default 0.
        load_seconds_per_gb: Simulated time added to each load per 10⁹ extracted bytes, in seconds. Default 0.
        restart_seconds: Seconds between two attempts to restart a container that ended. Default 0.5.
        gpus: The GPUs that instances of types with GPUs use, in turn. If a model does not fit into the memory of its
            GPU, the least recently used models are evicted. Default None: the CUDA devices of this machine.
        gpu_types_on_cpu: Whether instance types with GPUs run on the CPU if this machine has no CUDA device. Otherwise
            such an endpoint fails. Default False.
        metrics_seconds: Seconds between two measurements of the CPU, memory and volume use of instances. Default 60.
        stop_seconds: Seconds from SIGTERM to SIGKILL when a container is stopped, for example after a drain. When the
            host closes, it waits 5 seconds at most. Default 30, as on SageMaker.
        install_requirements: Whether pip installs the packages of a model's `code/requirements.txt` before the load,
            into a virtual environment that models with the same file share. It is kept in the cache folder of the user.
            This applies to the Python container and to `multi_model_server`. Default False: models use the packages in
            the environment of the host.
        isolate: Whether containers and models run isolated: with an environment without the host's credentials,
            with their own temporary folders and, on Linux, without access to other files. Default True.
        readable: Absolute paths of more files and directories that isolated containers and models can read. The system
            and Python are always readable. Default none.
        seed: Seed of the random number generator. Default 0.

    Raises:
        InvalidInputError: A value has the wrong type or is out of range.

    Example:
        >>> HostingSettings(download_bandwidth=100e6).answer_limit
        60.0
    """

    answer_limit: float = _positive(60.0)
    load_limit: float = _positive(360.0)
    invocation_limit: float = _positive(60.0)
    stream_limit: float = _positive(60.0)
    max_payload: int = _whole(25 * 1024 * 1024)
    memory_bytes: int | None = _whole(None)
    volume_bytes: int | None = _whole(None)
    loader_slots: int = _whole(2)
    spill_outstanding: int = _whole(8)
    routing: RoutingName = attrs.field(default="sticky", validator=one_of(*get_args(RoutingName)))
    memory_per_byte: float = _at_least_zero(1.0)
    memory_per_model: int = attrs.field(
        default=4 * 1024 * 1024, converter=as_int, validator=number(at_least=0, integer=True)
    )
    serve_deleted: bool = True
    startup_limit: float = _positive(300.0)
    download_limit: float = _positive(600.0)
    download_bandwidth: float | None = _positive(None)
    load_seconds: float = _at_least_zero(0.0)
    load_seconds_per_gb: float = _at_least_zero(0.0)
    restart_seconds: float = _at_least_zero(0.5)
    gpus: tuple[Gpu, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_gpus))
    gpu_types_on_cpu: bool = False
    metrics_seconds: float = _positive(60.0)
    stop_seconds: float = _at_least_zero(30.0)
    install_requirements: bool = False
    isolate: bool = True
    readable: tuple[str, ...] = attrs.field(default=(), converter=_paths)
    seed: int = attrs.field(default=0, validator=number(integer=True))
