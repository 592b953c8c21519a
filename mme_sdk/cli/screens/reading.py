"""Read the data of `mme top`: from the status data of an embedded SageMaker, or from CloudWatch and SageMaker."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from mme_sdk.cli.screens.figures import ErrorFigures, Figures, InstanceFigures, ModelFigures, VariantFigures
from mme_sdk.errors import EndpointNotFoundError, InvalidInputError, ServiceError

if TYPE_CHECKING:
    from mme_sdk.client import MMEClient
    from mme_sdk.endpoints.state.description import VariantDescription
    from mme_sdk.metrics import EndpointMetrics, Series

__all__ = ["answers", "from_cloudwatch", "from_host"]

_TIMEOUT = 5.0
_PATH = "/_mme/status"
_NOTES = (
    "CloudWatch has no values of single models or instances; `mme diagnose --recordings` has those of models.",
    "The wait is the mean of ModelLoadingWaitTime.",
)


def answers(url: str | None) -> bool:
    """Return whether an embedded SageMaker answers at an address.

    Args:
        url: Address of SageMaker; None is that of AWS. Only a loopback address is asked.
    """
    found = None if url is None else _address(url)
    if url is None or found is None or not _loopback(found[0]):
        return False
    try:
        _get(url)
    except ServiceError:
        return False
    return True


def from_host(url: str, endpoint: str, *, minutes: int) -> Figures:
    """Read the status data of an embedded SageMaker.

    Args:
        url: Its address.
        endpoint: EndpointName.
        minutes: Length of the time to show, 1 to 60.

    Returns:
        The figures.

    Raises:
        EndpointNotFoundError: The endpoint does not exist.
        InvalidInputError: The address is not one of http.
        ServiceError: The host does not answer, or its data is not that of this version.
    """
    found = _get(url)
    try:
        shown = next((one for one in found["endpoints"] if one["name"] == endpoint), None)
        if shown is None:
            raise EndpointNotFoundError(
                f"endpoint {endpoint!r} does not exist on the host at {url}",
                hint="list the endpoints: mme endpoints ls",
                endpoint=endpoint,
            )
        return _figures(url, shown, found, minutes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_readable(url) from error


def from_cloudwatch(client: MMEClient, endpoint: str, *, minutes: int) -> Figures:
    """Read the metrics of CloudWatch, and describe the endpoint.

    Args:
        client: The client.
        endpoint: EndpointName.
        minutes: Length of the time to show.

    Returns:
        The figures.

    Raises:
        MMEError: A call failed.
    """
    handle = client.endpoint(endpoint)
    seen = handle.describe()
    read = [
        (one, cast("EndpointMetrics", handle.metrics(variant=one.name, hours=minutes / 60))) for one in seen.variants
    ]
    ends = [metrics.invocations.times[-1] for _, metrics in read if metrics.invocations]
    last = f", last minute {max(ends):%H:%M} UTC" if ends else ", no requests"
    return Figures(
        endpoint=endpoint,
        status=seen.status,
        reason=seen.failure_reason,
        config=seen.config_name,
        at=datetime.now(UTC),
        minutes=minutes,
        source=f"CloudWatch and DescribeEndpoint{last}",
        notes=(*_NOTES, *seen.notes),
        variants=tuple(_of_cloudwatch(one, metrics, minutes) for one, metrics in read),
    )


def _of_cloudwatch(variant: VariantDescription, metrics: EndpointMetrics, minutes: int) -> VariantFigures:
    requests, hits = dict(metrics.invocations), dict(metrics.cache_hit)
    misses = {at: requests[at] * (1 - share) for at, share in hits.items() if at in requests}
    # A time in the metrics is the start of its minute.
    end = int(metrics.end.timestamp() // 60)
    times = [datetime.fromtimestamp(60 * minute, UTC) for minute in range(end - minutes + 1, end + 1)]
    counts = {"requests": requests, "hit_ratio": hits, "cold": misses}
    counts |= {"loads": dict(metrics.loads), "evictions": dict(metrics.unloads)}
    return VariantFigures(
        name=variant.name,
        instance_type=variant.instance_type,
        instance_count=variant.instance_count,
        requests=round(metrics.invocations.total),
        hit_ratio=metrics.hit_ratio,
        cold=round(sum(misses.values())) if hits else None,
        loading_wait=metrics.loading_wait.mean,
        loads=round(metrics.loads.total),
        evictions=round(metrics.unloads.total),
        errors_4xx=round(metrics.errors_4xx.total),
        errors_5xx=round(metrics.errors_5xx.total),
        loaded_models=_last(metrics.loaded_models),
        memory=_last(metrics.memory),
        disk=_last(metrics.disk),
        cpu=_last(metrics.cpu),
        timeline={name: tuple(values.get(at) for at in times) for name, values in counts.items()},
    )


def _last(series: Series) -> float | None:
    return series.values[-1] if series.values else None


def _address(url: str) -> tuple[str, int | None] | None:
    """Return host and port of an address with http; None for any other."""
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port) if parts.scheme == "http" and parts.hostname else None
    except ValueError:  # a port that is not a number, or an IPv6 address without its end
        return None


def _loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _get(url: str) -> dict[str, Any]:
    """Return the status data of the host at an address. Proxies are not used."""
    address = _address(url)
    if address is None:
        raise InvalidInputError(f"{url!r} is not the address of an embedded SageMaker", hint="give one with http://")
    connection = HTTPConnection(*address, timeout=_TIMEOUT)
    try:
        connection.request("GET", _PATH)
        response = connection.getresponse()
        found = json.loads(response.read()) if response.status == 200 else None
    except (OSError, HTTPException) as error:
        raise ServiceError(
            f"the host at {url} does not answer: {error}", hint="start it: mme local up", sent=False
        ) from error
    except ValueError as error:
        raise _not_readable(url) from error
    finally:
        connection.close()
    if not isinstance(found, dict) or "endpoints" not in found:
        raise _not_readable(url)
    return found


def _not_readable(url: str) -> ServiceError:
    return ServiceError(
        f"{url}{_PATH} does not return the status data of this version",
        hint="use the same version of mme_sdk for the host and for the command, or --source cloudwatch",
    )


def _figures(url: str, shown: Mapping[str, Any], found: Mapping[str, Any], minutes: int) -> Figures:
    rates = shown["requests_per_minute"]
    models = [model for variant in shown["variants"] for model in _models(variant, rates)]
    return Figures(
        endpoint=shown["name"],
        status=shown["status"],
        reason=shown["reason"],
        config=shown["config"],
        at=datetime.fromisoformat(found["now"]),
        minutes=minutes,
        source=f"status data of the embedded SageMaker at {url}",
        variants=tuple(_of_host(one, minutes) for one in shown["variants"]),
        models=tuple(sorted(models, key=lambda one: (-one.requests_per_minute, one.name))),
        errors=tuple(
            ErrorFigures(
                code=one["code"],
                status=one["status"],
                model=one["model"],
                message=one["message"],
                count=one["count"],
                at=datetime.fromisoformat(one["at"]),
            )
            for one in found["errors"]
            if one["endpoint"] == shown["name"]
        ),
    )


def _of_host(variant: Mapping[str, Any], minutes: int) -> VariantFigures:
    line = {name: values[-minutes:] for name, values in variant["timeline"].items() if isinstance(values, list)}
    total = {name: sum(values) for name, values in line.items()}
    known, waited = total["hits"] + total["misses"], total["cold"]
    pairs = zip(line["hits"], line["misses"], strict=True)
    ratios = [hits / (hits + misses) if hits + misses else None for hits, misses in pairs]
    instances = tuple(_instance(one, variant["memory_bytes"]) for one in variant["instances"] if "models" in one)
    return VariantFigures(
        name=variant["name"],
        instance_type=variant["instance_type"],
        instance_count=len(variant["instances"]),
        requests=total["requests"],
        hit_ratio=total["hits"] / known if known else None,
        cold=total["misses"],
        wait=total["cold_seconds"] / waited if waited else None,
        loads=total["loads"],
        evictions=total["evictions"],
        errors_4xx=total["errors_4xx"],
        errors_5xx=total["errors_5xx"],
        loaded_models=sum(one.loaded for one in instances) / len(instances) if instances else None,
        timeline={
            "requests": tuple(line["requests"]),
            "hit_ratio": tuple(ratios),
            "cold": tuple(line["misses"]),
            "loads": tuple(line["loads"]),
            "evictions": tuple(line["evictions"]),
        },
        instances=instances,
    )


def _instance(one: Mapping[str, Any], memory_bytes: int) -> InstanceFigures:
    counts = one["counters"]
    return InstanceFigures(
        name=one["id"],
        loaded=sum(model["state"] == "loaded" for model in one["models"].values()),
        memory=one["memory_used"] / memory_bytes if memory_bytes else None,
        outstanding=one["outstanding"],
        loads_queued=one["loads_queued"],
        hit_ratio=counts["hits"] / counts["arrivals"] if counts["arrivals"] else None,
        draining=one["draining"],
    )


def _models(variant: Mapping[str, Any], rates: Mapping[str, float]) -> list[ModelFigures]:
    copies: dict[str, dict[str, Mapping[str, Any]]] = {}
    for instance in variant["instances"]:
        for name, copy in instance.get("models", {}).items():
            copies.setdefault(name, {})[instance["id"]] = copy
    return [
        ModelFigures(
            name=name,
            variant=variant["name"],
            requests_per_minute=rates.get(name, 0.0),
            memory_bytes=_most("memory_bytes", [*found.values()]),
            states={instance: copy["state"] for instance, copy in found.items()},
            waiting=sum(copy["waiting"] for copy in found.values()),
        )
        for name, found in copies.items()
    ]


def _most(key: str, copies: Sequence[Mapping[str, Any]]) -> int:
    return max(int(one[key]) for one in copies)
