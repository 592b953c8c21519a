"""Differences between a live endpoint and a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from mme_sdk.endpoints.autoscaling import scaling_calls
from mme_sdk.endpoints.spec.autoscaling import Autoscaling
from mme_sdk.endpoints.spec.components import Variant
from mme_sdk.endpoints.spec.requests import uncompressed_source
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.describe import Live, without_own_tags
from mme_sdk.endpoints.state.resources import Resource

__all__ = ["Change", "How", "TagChange", "diff", "tag_changes"]

How = Literal["new fleet", "in place"]
Members = Mapping[str, Any]

_COMPRESSED = "compressed"  # stands for a ModelDataSource that is an uncompressed model
# Fields of a spec, by the path of the member that they send. Other members are reported as part of an `extra`.
_CONTAINER = {
    "Image": "image",
    "Mode": "mode",
    "ModelDataUrl": "model_data",
    "Environment": "environment",
    "ContainerHostname": "hostname",
    "MultiModelConfig.ModelCacheSetting": "model_cache",
    _COMPRESSED: "compressed",
    "ImageConfig.RepositoryAccessMode": "vpc_registry",
    "ImageConfig.RepositoryAuthConfig.RepositoryCredentialsProviderArn": "registry_credentials",
}
_VARIANT = {
    "InstanceType": "instance_type",
    "VolumeSizeInGB": "volume_gb",
    "ModelDataDownloadTimeoutInSeconds": "download_timeout",
    "ContainerStartupHealthCheckTimeoutInSeconds": "startup_timeout",
    "InstancePools": "instance_pools",
    "RoutingConfig.RoutingStrategy": "routing",
    "InferenceAmiVersion": "ami_version",
    "CapacityReservationConfig.MlReservationArn": "capacity_reservation",
    "ServerlessConfig.MemorySizeInMB": "serverless.memory_mb",
    "ServerlessConfig.MaxConcurrency": "serverless.max_concurrency",
    "ServerlessConfig.ProvisionedConcurrency": "serverless.provisioned_concurrency",
}
_MODEL = {
    "ExecutionRoleArn": "role",
    "EnableNetworkIsolation": "network_isolation",
    "VpcConfig.Subnets": "vpc.subnets",
    "VpcConfig.SecurityGroupIds": "vpc.security_groups",
}
_CONFIG = {
    "KmsKeyId": "kms_key",
    "ExplainerConfig": "explainer",
    "MetricsConfig": "metrics",
    "MetricsConfig.EnableEnhancedMetrics": "metrics.enhanced",
    "MetricsConfig.MetricPublishFrequencyInSeconds": "metrics.frequency",
    "DataCaptureConfig": "data_capture",
    "DataCaptureConfig.EnableCapture": "data_capture.enabled",
    "DataCaptureConfig.InitialSamplingPercentage": "data_capture.percent",
    "DataCaptureConfig.DestinationS3Uri": "data_capture.destination",
    "DataCaptureConfig.KmsKeyId": "data_capture.kms_key",
    "DataCaptureConfig.CaptureOptions": "data_capture.capture",
    "DataCaptureConfig.CaptureContentTypeHeader.CsvContentTypes": "data_capture.csv_types",
    "DataCaptureConfig.CaptureContentTypeHeader.JsonContentTypes": "data_capture.json_types",
    "AsyncInferenceConfig": "async_inference",
    "AsyncInferenceConfig.ClientConfig.MaxConcurrentInvocationsPerInstance": "async_inference.max_concurrent",
    "AsyncInferenceConfig.OutputConfig.S3OutputPath": "async_inference.output",
    "AsyncInferenceConfig.OutputConfig.S3FailurePath": "async_inference.failure",
    "AsyncInferenceConfig.OutputConfig.KmsKeyId": "async_inference.kms_key",
    "AsyncInferenceConfig.OutputConfig.NotificationConfig.SuccessTopic": "async_inference.success_topic",
    "AsyncInferenceConfig.OutputConfig.NotificationConfig.ErrorTopic": "async_inference.error_topic",
    "AsyncInferenceConfig.OutputConfig.NotificationConfig.IncludeInferenceResponseIn": (
        "async_inference.include_response_in"
    ),
}
_DEFAULTS = {
    "mode": "SingleModel",
    "network_isolation": False,
    "model_cache": "Enabled",
    "compressed": True,
    "vpc_registry": "Platform",
    "enabled": True,
    "routing": "RANDOM",
}
_PARTS = frozenset({"ProductionVariants", "Containers"})
_IN_PLACE = frozenset({"VariantName", "ModelName", "InitialInstanceCount", "InitialVariantWeight"})


@attrs.frozen(kw_only=True)
class Change:
    """One difference between an endpoint and a spec.

    Attributes:
        field: Path of the field in the spec, such as `variants.AllTraffic.instance_type`.
        old: Value of the endpoint. Values of environment variables are hidden.
        new: Value of the spec.
        how: `in place`, or `new fleet`: new instances, with empty model caches, take over. Default: `new fleet`.
    """

    field: str
    old: Any
    new: Any
    how: How = "new fleet"

    def __str__(self) -> str:
        return f"{self.field}: {self.old!r} → {self.new!r} ({self.how})"


def diff(live: Live, spec: EndpointSpec) -> tuple[Change, ...]:
    """Return the changes that would make an endpoint match a spec.

    Autoscaling is not compared for variants whose spec has none. Configurations and models are compared without default
    values. Members that only CreateEndpoint takes are not compared, because an update cannot change them.
    """
    if unreadable := _unreadable(live):
        return (Change(field="spec", old=f"not readable: {unreadable}", new=spec.name),)
    return (*_counts_and_weights(live, spec), *_autoscaling(live, spec), *_tags(live, spec), *_fleet(live, spec))


def _unreadable(live: Live) -> str | None:
    name, config = live.description.name, live.description.config_name
    if not live.config:
        return f"endpoint {name}: its configuration {config} is deleted"
    for one in live.config.get("ProductionVariants", []):
        model = one.get("ModelName")
        if model is None:
            return (
                f"endpoint {name}: variant {one.get('VariantName')} hosts inference components: no spec supports these"
            )
        if model not in live.models:
            return f"endpoint {name}: model {model} is deleted"
    return None


def _fleet(live: Live, spec: EndpointSpec) -> Iterator[Change]:
    """Yield the changes that need a new fleet."""
    name, requests = spec.name, spec.to_requests()
    made = Resource("config", str(live.description.config_name))
    config, wanted = ownership.as_made(name, made, live.config), content.of_config(requests.config)
    old = {one["VariantName"]: one for one in config["ProductionVariants"]}
    new = {one["VariantName"]: one for one in wanted["ProductionVariants"]}
    wanted_models = {one["ModelName"]: content.of_model(one) for one in requests.models}
    of_models: dict[tuple[str, Any, Any], list[str]] = {}
    both = [key for key in old if key in new]
    for key in {**old, **new}:
        where = f"variants.{key}"
        if key not in both:
            yield Change(field=where, old=_short(old.get(key)), new=_short(new.get(key)))
            continue
        yield from _compared(
            _rest(old[key], _IN_PLACE), _rest(new[key], _IN_PLACE), _VARIANT, f"{where}.", f"{where}.extra"
        )
        model = old[key]["ModelName"]
        before = ownership.as_made(name, Resource("model", model), live.models[model])
        after = wanted_models[new[key]["ModelName"]]
        yield from _of_containers(before["Containers"], after["Containers"], where)
        for one in _compared(_rest(before, _PARTS), _rest(after, _PARTS), _MODEL, "", "extra.CreateModel"):
            of_models.setdefault((one.field, repr(one.old), repr(one.new)), []).append(key)
            if len(of_models[one.field, repr(one.old), repr(one.new)]) == len(both):
                yield one
    for (field, was, will), variants in of_models.items():
        if len(variants) < len(both):
            yield from (Change(field=f"variants.{key}.model_extra.{field}", old=was, new=will) for key in variants)
    yield from _compared(_rest(config, _PARTS), _rest(wanted, _PARTS), _CONFIG, "", "extra.CreateEndpointConfig")


def _rest(members: Members, less: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key not in less}


def _short(variant: Members | None) -> str | None:
    if variant is None:
        return None
    kind = variant.get("InstanceType") or ("serverless" if "ServerlessConfig" in variant else "instance pools")
    count = variant.get("InitialInstanceCount")
    return kind if count is None else f"{count} x {kind}"


def _of_containers(old: list[Members], new: list[Members], where: str) -> Iterator[Change]:
    for position in range(max(len(old), len(new))):
        before = _with_source(old[position]) if position < len(old) else {}
        after = _with_source(new[position]) if position < len(new) else {}
        part = f"{where}.containers.{position}"
        for one in _compared(before, after, _CONTAINER, f"{part}.", f"{part}.extra"):
            if one.field.startswith(f"{part}.environment."):
                one = attrs.evolve(one, old=_hidden(one.old), new=_hidden(one.new))  # noqa: PLW2901
            if one.field.endswith(".model_cache"):
                one = attrs.evolve(one, old=one.old == "Enabled", new=one.new == "Enabled")  # noqa: PLW2901
            if one.field.endswith(".vpc_registry"):
                one = attrs.evolve(one, old=one.old == "Vpc", new=one.new == "Vpc")  # noqa: PLW2901
            yield one


def _with_source(container: Members) -> Members:
    """Return a container with `model_data` and `compressed` in place of the ModelDataSource that they become."""
    source = container.get("ModelDataSource")
    address = (source or {}).get("S3DataSource", {}).get("S3Uri")
    if source is None or source != uncompressed_source(str(address)):
        return container
    rest = {key: value for key, value in container.items() if key != "ModelDataSource"}
    return {**rest, "ModelDataUrl": address, _COMPRESSED: False}


def _hidden(value: Any) -> str | None:
    return None if value is None else "(hidden)"


def _compared(
    old: Members, new: Members, fields: Mapping[str, str], where: str, extra: str, path: str = ""
) -> Iterator[Change]:
    """Yield the members without members of their own that differ, by the names of the spec's fields."""
    for key in {**old, **new}:
        before, after, here = old.get(key), new.get(key), f"{path}{key}"
        if isinstance(before or {}, Mapping) and isinstance(after or {}, Mapping):
            inner = _compared(before or {}, after or {}, fields, where, extra, f"{here}.")
            if before is None or after is None:
                # An empty member that is added or removed is a change too.
                leaves = list(inner)
                yield from leaves or [_change(here, before, after, fields, where, extra)]
            else:
                yield from inner
        elif before != after:
            yield _change(here, before, after, fields, where, extra)


def _change(path: str, old: Any, new: Any, fields: Mapping[str, str], where: str, extra: str) -> Change:
    known = next((one for one in _parents(path) if one in fields), None)
    field = f"{extra}.{path}" if known is None else f"{where}{fields[known]}{path.removeprefix(known)}"
    default = _DEFAULTS.get(field.rpartition(".")[2])
    return Change(field=field, old=default if old is None else old, new=default if new is None else new)


def _parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _counts_and_weights(live: Live, spec: EndpointSpec) -> Iterator[Change]:
    configured = {one.get("VariantName"): one for one in live.config.get("ProductionVariants", [])}
    running = {one.name: one for one in live.description.variants}
    for variant in spec.variants:
        raw, seen = configured.get(variant.name), running.get(variant.name)
        if raw is None:
            continue
        where = f"variants.{variant.name}"
        count = (seen and seen.desired_count) or raw.get("InitialInstanceCount")
        wanted = variant.extra.get("InitialInstanceCount", variant.instance_count)
        scales_itself = variant.autoscaling is not None or variant.name in {**(live.attached or {}), **live.detached}
        if variant.has_instances and not scales_itself and None not in (count, wanted) and count != wanted:
            yield Change(field=f"{where}.instance_count", old=count, new=wanted, how="in place")
        weight = raw.get("InitialVariantWeight", 1.0)
        if seen is not None and seen.desired_weight is not None:
            weight = seen.desired_weight
        share = variant.extra.get("InitialVariantWeight", variant.weight)
        if weight != share:
            yield Change(field=f"{where}.weight", old=weight, new=share, how="in place")


def _autoscaling(live: Live, spec: EndpointSpec) -> Iterator[Change]:
    for variant in spec.variants:
        wanted, kind, where = variant.autoscaling, variant.runs_on, f"variants.{variant.name}.autoscaling"
        if not variant.has_instances or live.attached is None:
            continue
        attached = live.attached.get(variant.name)
        if wanted is None:
            taken_off = live.detached.get(variant.name)
            if taken_off is not None:
                left = attached and attached.described()
                yield Change(field=where, old=left, new=taken_off.described(), how="in place")
            continue
        if scaling_calls.matches(spec.name, variant.name, kind, wanted, attached):
            continue
        # Targets count cores, so that a policy is read with the instance type that it was made for.
        here = next((one.instance_type for one in live.description.variants if one.name == variant.name), None)
        old = None if attached is None else scaling_calls.read_back(spec.name, here, attached)
        if old is None:
            yield Change(field=where, old=attached and attached.described(), new=wanted, how="in place")
            continue
        differing = [
            one.name for one in attrs.fields(Autoscaling) if getattr(old, one.name) != getattr(wanted, one.name)
        ]
        for name in differing or ["target"]:
            yield Change(field=f"{where}.{name}", old=getattr(old, name), new=getattr(wanted, name), how="in place")


@attrs.frozen(kw_only=True)
class TagChange:
    """The tags of one resource and those of the spec.

    Attributes:
        arn: ARN of the resource.
        field: Field of the spec.
        shared: Whether the field holds the tags of all resources.
        current: Tags that the resource has.
        wanted: Tags that it should have.
    """

    arn: str
    field: str
    shared: bool
    current: Mapping[str, str]
    wanted: Mapping[str, str]


def tag_changes(live: Live, spec: EndpointSpec) -> Iterator[TagChange]:
    """Yield the tags of the endpoint, and of the configuration and models that this SDK made for it."""
    if live.tags is None:
        return
    yield TagChange(arn=live.description.arn, field="tags", shared=True, current=live.tags, wanted=spec.tags)
    variants = {one.name: one for one in spec.variants}
    serving: dict[str, Variant] = {}
    for one in live.config.get("ProductionVariants", []):
        if one["VariantName"] in variants:
            serving.setdefault(one["ModelName"], variants[one["VariantName"]])
    for part in live.own_resources:
        if part.resource.kind == "config":
            field, own = "config_tags", spec.config_tags
        elif part.resource.name in serving:
            field, own = (
                f"variants.{serving[part.resource.name].name}.model_tags",
                serving[part.resource.name].model_tags,
            )
        else:
            continue
        wanted = spec.tags if own is None else own
        yield TagChange(
            arn=part.arn, field=field, shared=own is None, current=without_own_tags(part.tags or {}), wanted=wanted
        )


def _tags(live: Live, spec: EndpointSpec) -> Iterator[Change]:
    shared: set[tuple[str, str | None, str | None]] = set()
    for one in tag_changes(live, spec):
        for key in sorted({*one.current, *one.wanted}):
            old, new = one.current.get(key), one.wanted.get(key)
            if old == new or (one.shared and (key, old, new) in shared):
                continue
            if one.field == "tags":
                shared.add((key, old, new))
            yield Change(field=f"{one.field}.{key}", old=old, new=new, how="in place")
