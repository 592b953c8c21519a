"""The data of the status page: endpoints, loaded models and the last requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.display import html
from mme_sdk.display.shown import Shown, listing_text
from mme_sdk.local.control.sagemaker.endpoints import EndpointEvent
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import VariantStatus
from mme_sdk.local.http.request_log import RequestLog

__all__ = ["HostStatus", "status_report"]

_SHOWN_REQUESTS = 50
_MARKS = {"loaded": "●", "loading": "◐", "downloading": "◐"}


class HostStatus(Shown, dict[str, Any]):
    """The data of the status page: a dict that `json.dumps` accepts, and that a notebook shows as tables."""

    def _text(self) -> str:
        shown = [
            f"{one['name']} ({one['status']}, {html.count(_loaded(one), 'models')} loaded)"
            for one in self.get("endpoints", ())
        ]
        return listing_text(f"HostStatus: {html.count(len(shown), 'endpoints')}", shown)

    def _html(self) -> str:
        return "".join(_endpoint_html(one) for one in self.get("endpoints", ())) or html.table("no endpoints", [])


def _loaded(endpoint: Mapping[str, Any]) -> int:
    instances = [instance for variant in endpoint["variants"] for instance in variant["instances"]]
    return len({name for one in instances for name, state in one.get("models", {}).items() if state == "loaded"})


def _endpoint_html(endpoint: Mapping[str, Any]) -> str:
    shown = html.facts(
        f"Endpoint {endpoint['name']}",
        {"status": endpoint["status"], "reason": endpoint["reason"], "config": endpoint["config"]},
    )
    return shown + "".join(_variant_html(variant) for variant in endpoint["variants"])


def _variant_html(variant: Mapping[str, Any]) -> str:
    """Return the map of a variant: a row for each model, a column for each instance."""
    instances = variant["instances"]
    title = f"Variant {variant['name']}: {len(instances)} x {variant['instance_type']}"
    if variant.get("hit_ratio") is not None:
        title += f", {variant['hit_ratio']:.1%} of requests found their model in memory"
    memory: dict[str, object] = {"model": "memory used"}
    for one in instances:
        if "memory_used" in one:
            memory[one["id"]] = f"{html.size(one['memory_used'])} of {html.size(variant['memory_bytes'])}"
    rows: list[dict[str, object]] = [memory] if len(memory) > 1 else []
    for model in sorted({name for instance in instances for name in instance.get("models", ())}):
        states = {one["id"]: one.get("models", {}).get(model) for one in instances}
        rows.append({"model": model, **{name: _mark(state) for name, state in states.items()}})
    return html.table(title, rows) if rows else html.table(title, [{"instance": one["id"]} for one in instances])


def _mark(state: str | None) -> str:
    return "" if state is None else f"{_MARKS.get(state, '○')} {state.replace('_', ' ')}"


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
    return HostStatus(
        {
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
    )


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
