"""The data of the status page: endpoints, loaded models and the last requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.local.control.sagemaker.endpoints import EndpointEvent
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import VariantStatus
from mme_sdk.local.http.request_log import RequestLog

__all__ = ["status_report"]

_SHOWN_REQUESTS = 50


def status_report(
    endpoints: Iterable[Mapping[str, Any]],
    variants: Sequence[VariantStatus],
    events: Sequence[EndpointEvent],
    requests: RequestLog,
    faults: Faults,
    now: datetime,
) -> dict[str, Any]:
    """Return the data of the status page.

    Args:
        endpoints: Responses of DescribeEndpoint.
        variants: The variants that run.
        events: Changes of the status of endpoints, oldest first.
        requests: The last requests.
        faults: The active faults.
        now: The current time.

    Returns:
        Nested dicts and lists that `json.dumps` accepts.
    """
    duplicates = requests.duplicates()
    return {
        "now": now.isoformat(),
        "endpoints": [_endpoint(one, variants) for one in endpoints],
        "events": [attrs.asdict(one) | {"at": one.at.isoformat()} for one in reversed(events)],
        "requests": [
            attrs.asdict(one) | {"at": one.at.isoformat(), "attempts": duplicates.get(one.invocation_id or "", 1)}
            for one in reversed(requests.last(_SHOWN_REQUESTS))
        ],
        "duplicates": len(duplicates),
        "faults": faults.list(),
    }


def _endpoint(described: Mapping[str, Any], variants: Sequence[VariantStatus]) -> dict[str, Any]:
    return {
        "name": described["EndpointName"],
        "status": described["EndpointStatus"],
        "config": described["EndpointConfigName"],
        "reason": described.get("FailureReason"),
        "variants": [_variant(one) for one in variants if one.endpoint == described["EndpointName"]],
    }


def _variant(view: VariantStatus) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": view.variant,
        "instance_type": view.instance_type,
        "memory_bytes": view.memory_bytes,
        "volume_bytes": view.volume_bytes,
        "instances": [{"id": name, "pids": list(pids)} for name, pids in sorted(view.instances.items())],
    }
    if view.fleet is None:
        return shown
    counters = view.fleet.counters
    shown["counters"] = attrs.asdict(counters)
    shown["hit_ratio"] = counters.hits / counters.arrivals if counters.arrivals else None
    for instance in shown["instances"]:
        found = view.fleet.instances.get(instance["id"])
        if found is not None:
            instance |= {
                "memory_used": found.memory_used,
                "volume_used": found.volume_used,
                "outstanding": found.outstanding,
                "loads_queued": found.loads_queued,
                "counters": attrs.asdict(found.counters),
                "models": {name: str(model.state.name).lower() for name, model in sorted(found.models.items())},
            }
    return shown
