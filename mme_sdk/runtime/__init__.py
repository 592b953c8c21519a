"""Invocations: payloads, cold starts, retries, deadlines and transports.

Each public name is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk.runtime.batch.batch import ItemResult, ManySettings
    from mme_sdk.runtime.batch.warm import KeepWarmAdvice, WarmOutcome, WarmReport, keep_warm_advice
    from mme_sdk.runtime.cold_start.leases import FileLeases, Leases
    from mme_sdk.runtime.cold_start.load_times import LoadTime, LoadTimes
    from mme_sdk.runtime.cold_start.memory import Memory
    from mme_sdk.runtime.invoker import AsyncRuntimeInvoker, RuntimeInvoker
    from mme_sdk.runtime.payloads.codecs import Codec, Codecs
    from mme_sdk.runtime.payloads.triton import TritonCodec
    from mme_sdk.runtime.single_model.async_inference import AsyncQueuedInvocation, QueuedInvocation, Submission
    from mme_sdk.runtime.single_model.streaming import AsyncReplyStream, ReplyStream
    from mme_sdk.runtime.telemetry.exporters import otel_hook, prometheus_hook
    from mme_sdk.runtime.telemetry.hooks import (
        AttemptMade,
        CallCompleted,
        CallFailed,
        ColdStartSeen,
        Event,
        Hook,
        RetryPlanned,
        log_hook,
    )

__all__ = [
    "AsyncQueuedInvocation",
    "AsyncReplyStream",
    "AsyncRuntimeInvoker",
    "AttemptMade",
    "CallCompleted",
    "CallFailed",
    "Codec",
    "Codecs",
    "ColdStartSeen",
    "Event",
    "FileLeases",
    "Hook",
    "ItemResult",
    "KeepWarmAdvice",
    "Leases",
    "LoadTime",
    "LoadTimes",
    "ManySettings",
    "Memory",
    "QueuedInvocation",
    "ReplyStream",
    "RetryPlanned",
    "RuntimeInvoker",
    "Submission",
    "TritonCodec",
    "WarmOutcome",
    "WarmReport",
    "keep_warm_advice",
    "log_hook",
    "otel_hook",
    "prometheus_hook",
]

_MODULES = {
    "AsyncQueuedInvocation": "single_model.async_inference",
    "AsyncReplyStream": "single_model.streaming",
    "AsyncRuntimeInvoker": "invoker",
    "AttemptMade": "telemetry.hooks",
    "CallCompleted": "telemetry.hooks",
    "CallFailed": "telemetry.hooks",
    "Codec": "payloads.codecs",
    "Codecs": "payloads.codecs",
    "ColdStartSeen": "telemetry.hooks",
    "Event": "telemetry.hooks",
    "FileLeases": "cold_start.leases",
    "Hook": "telemetry.hooks",
    "ItemResult": "batch.batch",
    "KeepWarmAdvice": "batch.warm",
    "Leases": "cold_start.leases",
    "LoadTime": "cold_start.load_times",
    "LoadTimes": "cold_start.load_times",
    "ManySettings": "batch.batch",
    "Memory": "cold_start.memory",
    "QueuedInvocation": "single_model.async_inference",
    "ReplyStream": "single_model.streaming",
    "RetryPlanned": "telemetry.hooks",
    "RuntimeInvoker": "invoker",
    "Submission": "single_model.async_inference",
    "TritonCodec": "payloads.triton",
    "WarmOutcome": "batch.warm",
    "WarmReport": "batch.warm",
    "keep_warm_advice": "batch.warm",
    "log_hook": "telemetry.hooks",
    "otel_hook": "telemetry.exporters",
    "prometheus_hook": "telemetry.exporters",
}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mme_sdk.runtime.{_MODULES[name]}"), name)
