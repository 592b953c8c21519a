"""Gather what a diagnosis looks at: the endpoint, CloudWatch, the registry, and the recordings that were given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import attrs

from mme_sdk._validation import as_float, check_number
from mme_sdk.aws import Aws, Flow
from mme_sdk.diagnosis import (
    Diagnosis,
    ObservedAlias,
    ObservedEndpoint,
    ObservedPolicy,
    ObservedRegistry,
    ObservedScaling,
    ObservedVariant,
)
from mme_sdk.diagnosis import diagnose as _diagnose
from mme_sdk.diagnosis.observation import within
from mme_sdk.endpoints.autoscaling import scaling_calls
from mme_sdk.endpoints.operations.calls import sagemaker_call
from mme_sdk.endpoints.state import content
from mme_sdk.endpoints.state.describe import Live, models_of, read_live
from mme_sdk.endpoints.state.description import VariantDescription
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.metrics import EndpointMetrics, Series, read_metrics
from mme_sdk.metrics.reading import read_series
from mme_sdk.recording.minutes import RecordedMinute
from mme_sdk.registry._registry_base import operations
from mme_sdk.registry.alias import Alias
from mme_sdk.registry.names import KeyLayout
from mme_sdk.registry.tombstones import is_pending
from mme_sdk.types import S3Uri

__all__ = ["MAX_HOURS", "diagnose", "observe", "period_for"]

T = TypeVar("T")
MAX_HOURS = 24 * 455  # hours that CloudWatch keeps
_SERIES = 17  # of one variant
_POINTS = 100_800  # data points of one GetMetricData request
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html: days, and the period then
_KEPT = ((15, 60), (63, 300), (455, 3600))


def diagnose(
    name: str,
    *,
    hours: float,
    recordings: Iterable[RecordedMinute] | None,
    prices: Mapping[str, float] | None,
    quotas: Mapping[str, int] | None,
    key: str,
    aws: Aws,
    end: datetime,
) -> Flow[Diagnosis]:
    """Find what is wrong with an endpoint.

    Raises:
        EndpointNotFoundError: The endpoint does not exist.
        InvalidInputError: An argument is not valid.
    """
    check_number("hours", hours, over=0, at_most=MAX_HOURS)
    KeyLayout(S3Uri.parse("s3://bucket/"), key)  # raises an error for a template that is not valid
    minutes = _checked(recordings, name)
    _check_numbers("prices", prices)
    _check_numbers("quotas", quotas)
    observed = yield from observe(name, hours=as_float(hours), key=key, aws=aws, end=end)
    return _diagnose(
        attrs.evolve(
            observed,
            minutes=None if minutes is None else within(minutes, observed.start, observed.end),
            prices=prices,
            quotas=quotas,
        )
    )


def observe(name: str, *, hours: float, key: str, aws: Aws, end: datetime) -> Flow[ObservedEndpoint]:
    """Read what AWS knows of an endpoint. What cannot be read is named in `missing`.

    Args:
        name: EndpointName.
        hours: Length of the time range, in hours.
        key: Template of the models' keys.
        aws: Access to AWS.
        end: End of the time range, with a time zone.

    Raises:
        EndpointNotFoundError: The endpoint does not exist.
    """
    live = yield from read_live(name)
    seen = live.description
    start = end - timedelta(hours=hours)
    missing: list[str] = list(seen.notes)
    variants: list[ObservedVariant] = []
    for one in seen.variants:
        flow = read_metrics(name, variant=one.name, hours=hours, period=period_for(hours), now=end)
        metrics: EndpointMetrics | None = yield from _if_possible(flow, f"metrics of variant {one.name}", missing)
        scaling = yield from _scaling(live, one, start, end, period_for(hours), missing)
        variants.append(
            ObservedVariant(
                name=one.name,
                instance_type=one.instance_type,
                instance_count=one.instance_count,
                weight=one.weight,
                model_name=one.model_name,
                cached=_is_cached(live, one),
                scaling=scaling,
                metrics=metrics,
            )
        )
    registry = None
    if seen.mode == "MultiModel" and seen.model_data is not None:
        registry = yield from _if_possible(
            _registry(aws, seen.model_data, key), f"models of {seen.model_data}", missing
        )
    failed = None
    if seen.failure_reason is not None:
        failed = yield from _if_possible(_failed_config(live), "configurations of the endpoint", missing)
    model = next(iter(live.models.values()), {})
    containers = content.containers_of(model) if model else []
    return ObservedEndpoint(
        name=name,
        status=seen.status,
        start=start,
        end=end,
        failure_reason=seen.failure_reason,
        modified=seen.modified,
        config_name=seen.config_name,
        failed_config=failed,
        multi_model=seen.mode != "SingleModel",
        variants=tuple(variants),
        registry=registry,
        image=containers[0].get("Image") if len(containers) == 1 else None,
        role=model.get("ExecutionRoleArn"),
        missing=tuple(missing),
    )


def period_for(hours: float) -> int:
    """Return the shortest period of data points that CloudWatch has for a time range, and that one request returns."""
    kept = next(seconds for days, seconds in _KEPT if hours <= days * 24)
    fits = hours * 3600 * _SERIES / _POINTS
    return max(kept, 60 * math.ceil(fits / 60))


def _checked(recordings: Any, endpoint: str) -> tuple[RecordedMinute, ...] | None:
    if recordings is None:
        return None
    if isinstance(recordings, (str, bytes)) or not isinstance(recordings, Iterable):
        raise InvalidInputError(
            f"recordings must be the recorded minutes, not {str(recordings)[:80]!r}",
            hint="pass what mme_sdk.recording.read_recordings returns",
        )
    minutes: tuple[Any, ...] = tuple(recordings)
    for one in minutes:
        if not isinstance(one, RecordedMinute):
            raise InvalidInputError(
                f"recordings: {str(one)[:80]!r} is not a RecordedMinute",
                hint="make it an mme_sdk.recording.RecordedMinute",
            )
        if not isinstance(one.at, datetime) or one.at.tzinfo is None:
            raise InvalidInputError(f"recordings: at must be a time with a time zone, not {one.at!r}")
    return tuple(one for one in minutes if one.endpoint == endpoint)


def _check_numbers(what: str, given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"{what} must be a mapping of instance types to numbers, not {str(given)[:80]!r}")
    for name, value in given.items():
        check_number(f"{what}[{name!r}]", value, at_least=0)


def _if_possible(flow: Flow[T], what: str, missing: list[str]) -> Flow[T | None]:
    """Run a flow; if it fails, add the reason to `missing` and return None."""
    try:
        return (yield from flow)
    except MMEError as error:
        missing.append(f"{what}: {error.message}")
        return None


def _is_cached(live: Live, variant: VariantDescription) -> bool:
    containers = content.containers_of(live.models.get(variant.model_name or "", {}))
    return all((one.get("MultiModelConfig") or {}).get("ModelCacheSetting") != "Disabled" for one in containers)


def _scaling(
    live: Live, variant: VariantDescription, start: datetime, end: datetime, period: int, missing: list[str]
) -> Flow[ObservedScaling | None]:
    attached = (live.attached or {}).get(variant.name)
    if attached is None:
        return None
    name = live.description.name
    tracking = [one for one in attached.policies if "TargetTrackingScalingPolicyConfiguration" in one]
    found = [(one, _tracked(name, variant.name, one)) for one in tracking]
    statistics = {f"p{place}": {**stat, "Period": period} for place, (_, stat) in enumerate(found) if stat is not None}
    what = f"metrics of the scaling policies of variant {variant.name}"
    values: dict[str, Series] | None = yield from _if_possible(
        read_series(name, statistics, start=start, end=end), what, missing
    )
    described = attached.described()
    settings = scaling_calls.read_back(name, variant.instance_type, attached)
    return ObservedScaling(
        min=described.min,
        max=described.max,
        settings=None if settings is None else _given(settings),
        policies=tuple(
            ObservedPolicy(
                name=str(policy.get("PolicyName")),
                metric="a metric of its own" if stat is None else _named(stat["Metric"]),
                target=float(policy["TargetTrackingScalingPolicyConfiguration"].get("TargetValue", 0.0)),
                values=(values or {}).get(f"p{place}"),
            )
            for place, (policy, stat) in enumerate(found)
        ),
    )


def _tracked(endpoint: str, variant: str, policy: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the `MetricStat` that a policy tracks; None for an expression and for a metric that is not known."""
    settings = policy["TargetTrackingScalingPolicyConfiguration"]
    predefined = settings.get("PredefinedMetricSpecification")
    if predefined is not None:
        if predefined.get("PredefinedMetricType") != "SageMakerVariantInvocationsPerInstance":
            return None
        dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
        metric = {"Namespace": "AWS/SageMaker", "MetricName": "InvocationsPerInstance", "Dimensions": dimensions}
        return {"Metric": metric, "Stat": "Sum"}
    custom = settings.get("CustomizedMetricSpecification") or {}
    if not custom.get("MetricName") or not custom.get("Namespace"):
        return None
    metric = {key: custom[key] for key in ("Namespace", "MetricName")} | {"Dimensions": custom.get("Dimensions", [])}
    return {"Metric": metric, "Stat": custom.get("Statistic", "Average")}


def _named(metric: Mapping[str, Any]) -> str:
    """Return a metric in a few words; its dimensions only if they are not those of a variant."""
    return f"{metric['Namespace']} {metric['MetricName']}"


def _given(settings: Any) -> dict[str, Any]:
    """Return the keyword arguments that make an attrs object: those that have not their default value."""
    found = {field.name: getattr(settings, field.name) for field in attrs.fields(type(settings))}
    return {key: value for key, value in found.items() if value != attrs.fields_dict(type(settings))[key].default}


def _registry(aws: Aws, uri: str, key: str) -> Flow[ObservedRegistry]:
    keys = KeyLayout(S3Uri.parse(uri).as_prefix(), key)
    registry = operations(aws, keys)
    versions = yield from registry.store.all()
    tombstones = yield from registry.aliases.tombstones.read()
    aliases = yield from registry.aliases.all()
    return ObservedRegistry(
        uri=str(keys.prefix),
        key=key,
        versions={one.target_model: (one.name, one.version, one.created) for one in versions},
        deleted={
            target: datetime.fromtimestamp(float(one["at"]), UTC)
            for target, one in tombstones.items()
            if not is_pending(one)
        },
        aliases=tuple(map(_alias, aliases)),
    )


def _alias(alias: Alias) -> ObservedAlias:
    history = alias.history
    return ObservedAlias(
        name=alias.name,
        alias=alias.alias,
        versions=tuple(alias.weights),
        since=history[-1].at,
        before=tuple(history[-2].weights) if len(history) > 1 else (),
    )


def _failed_config(live: Live) -> Flow[str | None]:
    """Return the configuration whose update failed; None if it is not known.

    DescribeEndpoint does not name it. It is the newest configuration whose name contains the endpoint's, that is newer
    than the one in use, that existed when the endpoint changed, and that has the same variants and models.
    """
    name, now = live.description.name, live.description.config_name
    born, changed = live.config.get("CreationTime"), live.description.modified
    if born is None or changed is None:
        return None
    answer = yield sagemaker_call(
        "list_endpoint_configs", name, NameContains=name, SortBy="CreationTime", SortOrder="Descending", MaxResults=20
    )
    for one in answer.get("EndpointConfigs", []):
        other, at = str(one["EndpointConfigName"]), one.get("CreationTime")
        if other == now or at is None or not born < at <= changed:
            continue
        config = yield sagemaker_call("describe_endpoint_config", name, EndpointConfigName=other)
        models = yield from models_of(name, config)
        if content.variant_names(config) == content.variant_names(live.config) and _data(models) == _data(live.models):
            return other
    return None


def _data(models: Mapping[str, Mapping[str, Any]]) -> set[str | None]:
    """Return the S3 addresses of the models' data."""
    return {content.model_data_of(one) for model in models.values() for one in content.containers_of(model)}
