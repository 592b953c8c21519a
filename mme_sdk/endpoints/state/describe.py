"""Read a live endpoint: its description, and the spec that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints.autoscaling import backup, scaling_calls
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.endpoints.operations.calls import describe_endpoint, gather, paginate, sagemaker_call
from mme_sdk.endpoints.spec.autoscaling import reason_against
from mme_sdk.endpoints.spec.components import Variant
from mme_sdk.endpoints.spec.requests import TAG_PREFIX
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state import content
from mme_sdk.endpoints.state.description import EndpointDescription, VariantDescription, parse_summary
from mme_sdk.endpoints.state.ownership import DescribedResource, arn_of, tags_of
from mme_sdk.endpoints.state.resources import Resource
from mme_sdk.endpoints.state.typed_fields import spec_of_config
from mme_sdk.errors import AccessDeniedError, InvalidInputError, NotFoundError

__all__ = ["Live", "list_all", "read_live"]


@attrs.frozen(kw_only=True)
class Live:
    """A live endpoint with its configuration, models, autoscaling and tags.

    Attributes:
        description: The description that users get.
        config: Answer of DescribeEndpointConfig; empty if the configuration was deleted.
        models: Answers of DescribeModel by name.
        attached: Autoscaling by variant; None if it could not be read.
        tags: The endpoint's tags, without this SDK's own; None if they could not be read.
        own_tags: Tags of the endpoint that hold the work left by an interrupted update or an incomplete creation; see
            `autoscaling.backup`.
        config_tags: The configuration's tags; None if they were not read or could not be read.
        model_tags: The models' tags by name; None for a model whose tags could not be read. Empty if not read.
    """

    description: EndpointDescription
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    models: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, repr=False, hash=False)
    attached: Mapping[str, Attached] | None = attrs.field(default=None, repr=False, hash=False)
    tags: Mapping[str, str] | None = attrs.field(default=None, hash=False)
    own_tags: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)
    config_tags: Mapping[str, str] | None = attrs.field(default=None, repr=False, hash=False)
    model_tags: Mapping[str, Mapping[str, str] | None] = attrs.field(factory=dict, repr=False, hash=False)

    @property
    def own_resources(self) -> list[DescribedResource]:
        """The configuration and models in use that this SDK made for this endpoint."""
        parts = [
            DescribedResource(Resource("model", key), one, self.model_tags.get(key)) for key, one in self.models.items()
        ]
        if self.config:
            name = str(self.config.get("EndpointConfigName"))
            parts.insert(0, DescribedResource(Resource("config", name), self.config, self.config_tags))
        return [one for one in parts if one.made_for == self.description.name]

    @property
    def detached(self) -> dict[str, Attached]:
        """Autoscaling by variant that is held in tags and not attached; empty if autoscaling could not be read."""
        if self.attached is None:
            return {}
        found = backup.read_backups(self.own_tags)
        return {key: one for key, one in found.items() if backup.is_missing(self.attached.get(key), one)}

    def spec(self) -> EndpointSpec:
        """Return the spec of this endpoint, with its current counts, weights and autoscaling.

        Autoscaling that `Autoscaling` cannot express, or that never scales, is left out; `description` contains it.

        Raises:
            InvalidInputError: A spec cannot describe the endpoint, for example because its configuration is deleted.
        """
        if not self.config:
            raise InvalidInputError(
                f"endpoint {self.description.name}: its configuration {self.description.config_name} is deleted",
                endpoint=self.description.name,
            )
        spec = spec_of_config(
            self.description.name,
            self.config,
            self.models,
            self.tags or {},
            None if self.config_tags is None or self.tags is None else without_own_tags(self.config_tags),
            {}
            if self.tags is None
            else {k: None if v is None else without_own_tags(v) for k, v in self.model_tags.items()},
        )
        now = {one.name: one for one in self.description.variants}
        return attrs.evolve(spec, variants=tuple(self._as_it_runs(one, now.get(one.name)) for one in spec.variants))

    def _as_it_runs(self, variant: Variant, seen: VariantDescription | None) -> Variant:
        if seen is None:
            return variant
        changes: dict[str, Any] = {}
        attached = (self.attached or {}).get(variant.name)
        count = variant.instance_count
        if seen.desired_count and variant.has_instances and count is not None:
            changes["instance_count"] = count = seen.desired_count
        if attached is not None and variant.has_instances:
            scaling = scaling_calls.read_back(self.description.name, variant.runs_on, attached)
            asynchronous = "AsyncInferenceConfig" in self.config
            if scaling is not None and reason_against(scaling, asynchronous=asynchronous) is None:
                changes["autoscaling"] = scaling
                if count is not None:  # a spec's count must be within the limits of autoscaling
                    changes["instance_count"] = min(max(count, scaling.min), scaling.max)
        if seen.desired_weight is not None and "InitialVariantWeight" not in variant.extra:
            changes["weight"] = seen.desired_weight
        return attrs.evolve(variant, **changes)


def list_all(name_contains: str | None = None) -> Flow[list[EndpointDescription]]:
    """List endpoints, newest first."""
    if name_contains is not None and not isinstance(name_contains, str):
        raise InvalidInputError(f"name_contains must be part of a name, not {name_contains!r}")
    narrowed = {"NameContains": name_contains} if name_contains else {}
    found = yield from paginate(
        sagemaker_call("list_endpoints", SortBy="CreationTime", SortOrder="Descending", **narrowed), "Endpoints"
    )
    return [parse_summary(one) for one in found]


def read_live(name: str, *, all_tags: bool = False) -> Flow[Live]:
    """Read an endpoint, its configuration, its models, its autoscaling and its tags.

    Args:
        name: EndpointName.
        all_tags: Whether to read the tags of the configuration and models too.

    Raises:
        EndpointNotFoundError: The endpoint does not exist.
    """
    seen = yield from describe_endpoint(name)
    variants = [one.name for one in seen.variants]
    (config, models), (attached, no_scaling), (tags, no_tags) = yield from gather(
        [_config(name, seen.config_name), scaling_calls.read_if_allowed(name, variants), _tags(name, seen.arn)]
    )
    live = Live(
        description=seen,
        config=config,
        models=models,
        attached=attached if no_scaling is None else None,
        tags=None if no_tags is not None else without_own_tags(tags),
        own_tags={key: value for key, value in tags.items() if backup.is_backup_tag(key)},
    )
    if all_tags and config:
        arns = [arn_of(config), *(arn_of(one) for one in models.values())]
        of_config, *of_models = yield from gather([tags_of(arn, name) for arn in arns])
        live = attrs.evolve(live, config_tags=of_config, model_tags=dict(zip(models, of_models, strict=True)))
    return attrs.evolve(live, description=_enriched(live, tuple(one for one in (no_scaling, no_tags) if one)))


def without_own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags without those of this SDK."""
    return {key: value for key, value in tags.items() if not key.startswith(TAG_PREFIX)}


def _config(name: str, config_name: str | None) -> Flow[tuple[dict[str, Any], dict[str, Any]]]:
    if config_name is None:
        return {}, {}
    try:
        config = yield sagemaker_call("describe_endpoint_config", name, EndpointConfigName=config_name)
    except NotFoundError:
        return {}, {}
    return config, (yield from models_of(name, config))


def models_of(name: str, config: Mapping[str, Any]) -> Flow[dict[str, Any]]:
    """Call DescribeModel for a configuration's models; leave out those that do not exist."""
    names = list(dict.fromkeys(one["ModelName"] for one in config.get("ProductionVariants", []) if "ModelName" in one))
    found = yield from gather([_model(name, one) for one in names])
    return {model: answer for model, answer in zip(names, found, strict=True) if answer is not None}


def _model(endpoint: str, model: str) -> Flow[Any]:
    try:
        return (yield sagemaker_call("describe_model", endpoint, ModelName=model))
    except NotFoundError:
        return None


def _tags(name: str, arn: str) -> Flow[tuple[dict[str, str], str | None]]:
    if not arn:
        return {}, None
    try:
        found = yield from paginate(sagemaker_call("list_tags", name, ResourceArn=arn), "Tags")
    except (AccessDeniedError, NotFoundError) as error:  # another client may have deleted it
        return {}, f"tags could not be read: {error.message}"
    return {one["Key"]: one["Value"] for one in found if not one["Key"].startswith("aws:")}, None


def _enriched(live: Live, notes: tuple[str, ...]) -> EndpointDescription:
    configured = {one.get("VariantName"): one for one in live.config.get("ProductionVariants", [])}
    containers = [one for model in live.models.values() for one in content.containers_of(model)]
    multi = any(one.get("Mode") == "MultiModel" for one in containers)
    data = [address for one in containers if (address := content.model_data_of(one))]
    prefixes = [one["ModelDataUrl"] for one in containers if one.get("Mode") == "MultiModel"]
    return attrs.evolve(
        live.description,
        mode=("MultiModel" if multi else "SingleModel") if containers else None,
        model_data=next(iter(prefixes or data), None),
        tags=live.tags or {},
        notes=notes,
        variants=tuple(
            attrs.evolve(
                one,
                instance_type=configured.get(one.name, {}).get("InstanceType"),
                model_name=configured.get(one.name, {}).get("ModelName"),
                autoscaling=live.attached[one.name].described()
                if live.attached is not None and one.name in live.attached
                else None,
            )
            for one in live.description.variants
        ),
    )
