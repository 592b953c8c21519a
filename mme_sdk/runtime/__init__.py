"""Invocation of models: payloads, cold starts, retries, batches and transports.

Names are imported on first use, so that `import mme_sdk.runtime` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk.runtime.async_invoker import AsyncRuntimeInvoker
    from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult
    from mme_sdk.runtime.batch.warm import KeepWarmAdvice, WarmOutcome, WarmReport, keep_warm_advice
    from mme_sdk.runtime.cold_start.leases import FileLeases, Leases
    from mme_sdk.runtime.cold_start.load_times import LoadTime, LoadTimes
    from mme_sdk.runtime.cold_start.memory import Memory
    from mme_sdk.runtime.invoker import RuntimeInvoker
    from mme_sdk.runtime.options import AsyncInferenceOptions, InvokeOptions
    from mme_sdk.runtime.payloads.codecs import Codec, Codecs
    from mme_sdk.runtime.payloads.triton import TritonCodec
    from mme_sdk.runtime.single_model.async_inference import Submission
    from mme_sdk.runtime.single_model.async_queued_invocation import AsyncQueuedInvocation
    from mme_sdk.runtime.single_model.async_stream import AsyncReplyStream
    from mme_sdk.runtime.single_model.events import ServerSentEvent
    from mme_sdk.runtime.single_model.queued_invocation import QueuedInvocation
    from mme_sdk.runtime.single_model.stream import ReplyStream
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
    "AsyncInferenceOptions",
    "AsyncQueuedInvocation",
    "AsyncReplyStream",
    "AsyncRuntimeInvoker",
    "AttemptMade",
    "BatchSettings",
    "CallCompleted",
    "CallFailed",
    "Codec",
    "Codecs",
    "ColdStartSeen",
    "Event",
    "FileLeases",
    "Hook",
    "InvokeOptions",
    "ItemResult",
    "KeepWarmAdvice",
    "Leases",
    "LoadTime",
    "LoadTimes",
    "Memory",
    "QueuedInvocation",
    "ReplyStream",
    "RetryPlanned",
    "RuntimeInvoker",
    "ServerSentEvent",
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
    "AsyncInferenceOptions": "options",
    "AsyncQueuedInvocation": "single_model.async_queued_invocation",
    "AsyncReplyStream": "single_model.async_stream",
    "AsyncRuntimeInvoker": "async_invoker",
    "AttemptMade": "telemetry.hooks",
    "BatchSettings": "batch.batch",
    "CallCompleted": "telemetry.hooks",
    "CallFailed": "telemetry.hooks",
    "Codec": "payloads.codecs",
    "Codecs": "payloads.codecs",
    "ColdStartSeen": "telemetry.hooks",
    "Event": "telemetry.hooks",
    "FileLeases": "cold_start.leases",
    "Hook": "telemetry.hooks",
    "InvokeOptions": "options",
    "ItemResult": "batch.batch",
    "KeepWarmAdvice": "batch.warm",
    "Leases": "cold_start.leases",
    "LoadTime": "cold_start.load_times",
    "LoadTimes": "cold_start.load_times",
    "Memory": "cold_start.memory",
    "QueuedInvocation": "single_model.queued_invocation",
    "ReplyStream": "single_model.stream",
    "RetryPlanned": "telemetry.hooks",
    "RuntimeInvoker": "invoker",
    "ServerSentEvent": "single_model.events",
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"mme_sdk.runtime.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
