"""The data of `mme top`. A value that the source does not have is None."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

__all__ = ["ErrorFigures", "Figures", "InstanceFigures", "ModelFigures", "VariantFigures"]


@attrs.frozen(kw_only=True)
class InstanceFigures:
    """An instance of a variant.

    Attributes:
        name: Name of the instance.
        loaded: Number of models in memory.
        memory: Share of the memory for models that is in use, 0 to 1.
        outstanding: Requests that wait or run.
        loads_queued: Models that wait for a loader slot.
        hit_ratio: Share of its requests whose model was in memory since the start, 0 to 1; None without a request.
        draining: Whether it takes no new requests.
    """

    name: str
    loaded: int
    memory: float | None
    outstanding: int
    loads_queued: int
    hit_ratio: float | None
    draining: bool


@attrs.frozen(kw_only=True)
class ModelFigures:
    """A model of a variant.

    Attributes:
        name: Target model.
        variant: VariantName.
        requests_per_minute: Requests to the endpoint a minute; those of the last minutes count most.
        memory_bytes: Memory on an instance, bytes.
        states: State by instance, such as `loaded`.
        waiting: Requests that wait for it.
    """

    name: str
    variant: str
    requests_per_minute: float
    memory_bytes: int
    states: Mapping[str, str]
    waiting: int


@attrs.frozen(kw_only=True)
class VariantFigures:
    """A production variant over the time that is shown.

    Attributes:
        name: VariantName.
        instance_type: Instance type; None if it is not known.
        instance_count: Number of instances; None if it is not known.
        requests: Number of requests.
        hit_ratio: Share of requests whose model was in memory, 0 to 1; None without a request.
        cold: Requests whose model was not in memory.
        wait: Mean seconds of the requests that waited for their model; None without one, and from CloudWatch.
        loading_wait: Mean of CloudWatch's ModelLoadingWaitTime over the minutes, seconds; None if it has none.
        loads: Models that were loaded into memory.
        evictions: Models that were unloaded from memory.
        errors_4xx: Responses of the containers with a status from 400 to 499 (Invocation4XXErrors).
        errors_5xx: Responses of the containers with a status from 500 (Invocation5XXErrors).
        loaded_models: Models in memory per instance (mean).
        memory: Memory in use, percent.
        disk: Disk in use, percent.
        cpu: CPU in use; 100 percent is one vCPU.
        timeline: Values by minute, oldest first: `requests`, `hit_ratio`, `cold`, `loads` and `evictions`. None is a
            minute without a value.
        instances: The instances; empty if the source does not have them.
    """

    name: str
    instance_type: str | None
    instance_count: int | None
    requests: int
    hit_ratio: float | None
    cold: int | None
    loads: int
    evictions: int
    errors_4xx: int
    errors_5xx: int
    wait: float | None = None
    loading_wait: float | None = None
    loaded_models: float | None = None
    memory: float | None = None
    disk: float | None = None
    cpu: float | None = None
    timeline: Mapping[str, tuple[float | None, ...]] = attrs.field(factory=dict)
    instances: tuple[InstanceFigures, ...] = ()


@attrs.frozen(kw_only=True)
class ErrorFigures:
    """Equal errors of an endpoint.

    Attributes:
        code: Error code; None if the response had none.
        status: HTTP status; 0 without a response.
        model: Target model, or None.
        message: Error message; None if it is not known, or if it needs the keys of the host.
        count: Number of responses.
        at: Time of the last one.
    """

    code: str | None
    status: int
    model: str | None
    message: str | None
    count: int
    at: datetime


@attrs.frozen(kw_only=True)
class Figures:
    """What `mme top` shows of an endpoint.

    Attributes:
        endpoint: EndpointName.
        status: EndpointStatus.
        reason: FailureReason, or None.
        config: Name of the configuration in use, or None.
        at: Time at which the data was read.
        minutes: Length of the time that is shown.
        source: Where the data comes from.
        notes: What the source does not have.
        variants: The variants.
        models: The models, those with the most requests first; empty if the source does not have them.
        errors: The last errors, the newest first; empty if the source does not have them.
        problem: Why the data could not be read again; None if it is current.
    """

    endpoint: str
    status: str
    reason: str | None
    config: str | None
    at: datetime
    minutes: int
    source: str
    notes: tuple[str, ...] = ()
    variants: tuple[VariantFigures, ...] = ()
    models: tuple[ModelFigures, ...] = ()
    errors: tuple[ErrorFigures, ...] = ()
    problem: str | None = None
