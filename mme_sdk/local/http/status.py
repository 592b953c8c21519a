"""The data of the status page: endpoints, models on instances, the last hour, errors and the last requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

import attrs

from mme_sdk.display import html
from mme_sdk.display.shown import Shown, listing_text
from mme_sdk.fleet.records import ModelSnapshot
from mme_sdk.local.control.sagemaker.endpoints import EndpointEvent
from mme_sdk.local.faults import FaultKind, Faults
from mme_sdk.local.hosting_interface import VariantStatus
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.http.timelines import Timelines

__all__ = ["HostStatus", "status_report", "without_containers_texts"]

_SHOWN_REQUESTS = 50
_SHOWN_ERRORS = 50
_CODES_OF_CONTAINERS = ("ModelError", "ModelStreamError")
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
    return len({name for one in instances for name, model in one.get("models", {}).items() if _is_loaded(model)})


def _is_loaded(model: Mapping[str, Any]) -> bool:
    return bool(model["state"] == "loaded")


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
        states = {one["id"]: one.get("models", {}).get(model, {}).get("state") for one in instances}
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
    timelines: Timelines,
    now: datetime,
    region: str,
) -> dict[str, Any]:
    """Return the data of the status page.

    Args:
        endpoints: Responses of DescribeEndpoint.
        variants: The variants that run.
        events: Changes of the status of endpoints, oldest first.
        requests: The last requests.
        faults: The active faults.
        timelines: The last hour of the variants.
        now: The current time.
        region: AWS region of the host.

    Returns:
        Nested dicts and lists that `json.dumps` accepts.
    """
    duplicates = requests.duplicates()
    return HostStatus(
        {
            "now": now.isoformat(),
            "region": region,
            "endpoints": [_endpoint(one, variants, requests, timelines) for one in endpoints],
            "events": [attrs.asdict(one) | {"at": one.at.isoformat()} for one in reversed(events)],
            "requests": [
                attrs.asdict(one) | {"at": one.at.isoformat(), "attempts": duplicates.get(one.invocation_id or "", 1)}
                for one in reversed(requests.last(_SHOWN_REQUESTS))
            ],
            "duplicates": len(duplicates),
            "errors": [one | {"at": one["at"].isoformat()} for one in requests.errors()[:_SHOWN_ERRORS]],
            "faults": faults.list(),
            "fault_kinds": list(get_args(FaultKind)),
        }
    )


def without_containers_texts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of the status page without what a reader needs the key for.

    The text of a container's error can have parts of a payload.

    Args:
        report: The data of `status_report`.
    """
    hidden = {name: [_without_text(one) for one in report[name]] for name in ("requests", "errors") if name in report}
    return {**report, **hidden}


def _without_text(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "message": None} if one["code"] in _CODES_OF_CONTAINERS else dict(one)


def _endpoint(
    described: Mapping[str, Any], variants: Sequence[VariantStatus], requests: RequestLog, timelines: Timelines
) -> dict[str, Any]:
    name = described["EndpointName"]
    running = [one for one in variants if one.endpoint == name]
    models = {model for one in running if one.fleet for found in one.fleet.instances.values() for model in found.models}
    return {
        "name": name,
        "status": described["EndpointStatus"],
        "config": described["EndpointConfigName"],
        "reason": described.get("FailureReason"),
        "variants": [_variant(one) | {"timeline": timelines.report(name, one.variant)} for one in running],
        "requests_per_minute": {model: requests.rate(name, model) for model in sorted(models)},
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
                "draining": found.draining,
                "counters": attrs.asdict(found.counters),
                "models": {name: _model(model) for name, model in sorted(found.models.items())},
            }
    return shown


def _model(copy: ModelSnapshot) -> dict[str, Any]:
    return {
        "state": copy.state.value,
        "memory_bytes": copy.memory_bytes,
        "disk_bytes": copy.disk_bytes,
        "waiting": copy.waiting,
        "running": copy.running,
    }
