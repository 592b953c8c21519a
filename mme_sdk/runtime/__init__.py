"""Invocation of models: payloads, cold starts, retries, batches and transports.

Names are imported on first use, so that `import mme_sdk.runtime` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

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
    from mme_sdk.runtime.shared.settings import Shared
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
    "Shared",
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
    "AsyncInferenceOptions": "runtime.options",
    "AsyncQueuedInvocation": "runtime.single_model.async_queued_invocation",
    "AsyncReplyStream": "runtime.single_model.async_stream",
    "AsyncRuntimeInvoker": "runtime.async_invoker",
    "AttemptMade": "runtime.telemetry.hooks",
    "BatchSettings": "runtime.batch.batch",
    "CallCompleted": "runtime.telemetry.hooks",
    "CallFailed": "runtime.telemetry.hooks",
    "Codec": "runtime.payloads.codecs",
    "Codecs": "runtime.payloads.codecs",
    "ColdStartSeen": "runtime.telemetry.hooks",
    "Event": "runtime.telemetry.hooks",
    "FileLeases": "runtime.cold_start.leases",
    "Hook": "runtime.telemetry.hooks",
    "InvokeOptions": "runtime.options",
    "ItemResult": "runtime.batch.batch",
    "KeepWarmAdvice": "runtime.batch.warm",
    "Leases": "runtime.cold_start.leases",
    "LoadTime": "runtime.cold_start.load_times",
    "LoadTimes": "runtime.cold_start.load_times",
    "Memory": "runtime.cold_start.memory",
    "QueuedInvocation": "runtime.single_model.queued_invocation",
    "ReplyStream": "runtime.single_model.stream",
    "RetryPlanned": "runtime.telemetry.hooks",
    "RuntimeInvoker": "runtime.invoker",
    "ServerSentEvent": "runtime.single_model.events",
    "Shared": "runtime.shared.settings",
    "Submission": "runtime.single_model.async_inference",
    "TritonCodec": "runtime.payloads.triton",
    "WarmOutcome": "runtime.batch.warm",
    "WarmReport": "runtime.batch.warm",
    "keep_warm_advice": "runtime.batch.warm",
    "log_hook": "runtime.telemetry.hooks",
    "otel_hook": "runtime.telemetry.exporters",
    "prometheus_hook": "runtime.telemetry.exporters",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
