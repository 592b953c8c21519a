"""Invoke: payloads, waits, retries, one deadline; and the lanes that carry a request.

Names are loaded on first use, so that nobody pays for what is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk.runtime.codecs import Codec, Codecs
    from mme_sdk.runtime.estimates import Estimate, Estimates
    from mme_sdk.runtime.hooks import AttemptMade, ColdStartMet, Completed, Event, GaveUp, Hook, RetryPlanned, log_hook
    from mme_sdk.runtime.invoker import AsyncRuntimeInvoker, RuntimeInvoker
    from mme_sdk.runtime.leases import FileLeases, Leases
    from mme_sdk.runtime.many import ItemResult, ManySettings
    from mme_sdk.runtime.memory import Memory
    from mme_sdk.runtime.observe import otel_hook, prometheus_hook
    from mme_sdk.runtime.queued import AsyncQueuedInvocation, QueuedInvocation, Submission
    from mme_sdk.runtime.streaming import AsyncReplyStream, ReplyStream
    from mme_sdk.runtime.triton import TritonCodec
    from mme_sdk.runtime.warm import KeepWarmAdvice, WarmOutcome, WarmReport, keep_warm_advice

__all__ = [
    "AsyncQueuedInvocation",
    "AsyncReplyStream",
    "AsyncRuntimeInvoker",
    "AttemptMade",
    "Codec",
    "Codecs",
    "ColdStartMet",
    "Completed",
    "Estimate",
    "Estimates",
    "Event",
    "FileLeases",
    "GaveUp",
    "Hook",
    "ItemResult",
    "KeepWarmAdvice",
    "Leases",
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

_HOMES = {
    "AsyncQueuedInvocation": "queued",
    "AsyncReplyStream": "streaming",
    "AsyncRuntimeInvoker": "invoker",
    "AttemptMade": "hooks",
    "Codec": "codecs",
    "Codecs": "codecs",
    "ColdStartMet": "hooks",
    "Completed": "hooks",
    "Estimate": "estimates",
    "Estimates": "estimates",
    "Event": "hooks",
    "FileLeases": "leases",
    "GaveUp": "hooks",
    "Hook": "hooks",
    "ItemResult": "many",
    "KeepWarmAdvice": "warm",
    "Leases": "leases",
    "ManySettings": "many",
    "Memory": "memory",
    "QueuedInvocation": "queued",
    "ReplyStream": "streaming",
    "RetryPlanned": "hooks",
    "RuntimeInvoker": "invoker",
    "Submission": "queued",
    "TritonCodec": "triton",
    "WarmOutcome": "warm",
    "WarmReport": "warm",
    "keep_warm_advice": "warm",
    "log_hook": "hooks",
    "otel_hook": "observe",
    "prometheus_hook": "observe",
}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mme_sdk.runtime.{_HOMES[name]}"), name)
