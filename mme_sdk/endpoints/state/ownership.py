"""Ownership of configurations and models: which ones this SDK made for an endpoint, and which of them others use.

This SDK has made a resource if a tag names the endpoint and the resource's name is the digest of its content. The name
alone proves nothing, because people and other tools can choose the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints.operations.calls import describe_if_exists, gather, none_if_missing, paginate, sagemaker_call
from mme_sdk.endpoints.spec.requests import MADE_FOR_TAG, TAG_PREFIX, VARIANT_TAG, derived_name, is_derived_name, stem
from mme_sdk.endpoints.state import content
from mme_sdk.endpoints.state.resources import Resource, describe_call
from mme_sdk.errors import AccessDeniedError, NotFoundError

__all__ = [
    "REPLACED_TAG",
    "DescribedResource",
    "OtherUsers",
    "arn_of",
    "as_made",
    "inspect",
    "owned_by",
    "resources_named_for",
    "tags_of",
    "used_elsewhere",
]

REPLACED_TAG = f"{TAG_PREFIX}replaced"
"""Tag of a configuration with the name of the configuration that it replaced, for `rollback`."""
_MOST = 1000  # most endpoints, and most configurations, that are described to find the users of a resource
_MARGIN = timedelta(minutes=1)  # the service may round times to seconds
# https://docs.aws.amazon.com/sagemaker/latest/dg/host-instance-storage.html: SageMaker sets these by default.
_CHOSEN = frozenset(
    {"VolumeSizeInGB", "ModelDataDownloadTimeoutInSeconds", "ContainerStartupHealthCheckTimeoutInSeconds"}
)


@attrs.frozen
class DescribedResource:
    """A configuration or model with its description.

    Attributes:
        resource: Kind and name.
        description: Answer of DescribeEndpointConfig or DescribeModel.
        tags: Tags; None if they could not be read.
    """

    resource: Resource
    description: Mapping[str, Any] = attrs.field(repr=False, hash=False)
    tags: Mapping[str, str] | None = attrs.field(hash=False)

    @property
    def arn(self) -> str:
        """ARN of the resource."""
        return arn_of(self.description)

    @property
    def replaced(self) -> str | None:
        """Name of the configuration that it replaced; None if unknown."""
        return (self.tags or {}).get(REPLACED_TAG)

    @property
    def made_for(self) -> str | None:
        """The endpoint that this SDK made it for; None if this SDK did not make it."""
        return made_for(self.resource, self.description, self.tags)


def arn_of(answer: Mapping[str, Any]) -> str:
    """Return the ARN of a described configuration or model."""
    return str(answer.get("EndpointConfigArn") or answer.get("ModelArn") or "")


def made_for(one: Resource, answer: Mapping[str, Any], tags: Mapping[str, str] | None) -> str | None:
    """Return the endpoint that this SDK made a resource for; None if this SDK did not make it."""
    endpoint = (tags or {}).get(MADE_FOR_TAG)
    if endpoint is None:
        return None
    variant = (tags or {}).get(VARIANT_TAG)
    more = {} if variant is None else {"VariantName": variant}
    fits = any(derived_name(endpoint, {**each, **more}) == one.name for each in _contents(one, answer))
    return endpoint if fits else None


def _contents(one: Resource, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the content as described, and without the members that SageMaker may have added."""
    if one.kind == "model":
        model = content.of_model(answer)
        named = [{k: v for k, v in each.items() if k != "ContainerHostname"} for each in model["Containers"]]
        return [model, model | {"Containers": named}]
    config = content.of_config(answer)
    bare = {
        key: [{k: v for k, v in each.items() if k not in _CHOSEN} for each in config[key]]
        for key in ("ProductionVariants", "ShadowProductionVariants")
        if key in config
    }
    return [config, config | bare]


def as_made(endpoint: str, one: Resource, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content of a resource; without members that SageMaker added, if this SDK made the resource."""
    known = _contents(one, answer)
    return next((each for each in known if derived_name(endpoint, each) == one.name), known[0])


def tags_of(arn: str, endpoint: str | None = None) -> Flow[dict[str, str] | None]:
    """Return the tags of a resource without those of AWS; None if they cannot be read."""
    if not arn:
        return None
    try:
        found = yield from paginate(sagemaker_call("list_tags", endpoint, ResourceArn=arn), "Tags")
    except (AccessDeniedError, NotFoundError):
        return None
    return {one["Key"]: one["Value"] for one in found if not one["Key"].startswith("aws:")}


def inspect(some: Iterable[Resource], endpoint: str | None = None) -> Flow[list[DescribedResource]]:
    """Describe configurations and models, with their tags; those that do not exist are left out."""
    found = yield from gather([_inspected(one, endpoint) for one in some])
    return [one for one in found if one is not None]


def _inspected(one: Resource, endpoint: str | None) -> Flow[DescribedResource | None]:
    answer = yield from none_if_missing(describe_call(one, endpoint))
    if answer is None:
        return None
    return DescribedResource(one, answer, (yield from tags_of(arn_of(answer), endpoint)))


def resources_named_for(endpoint: str) -> Flow[tuple[Resource, ...]]:
    """List configurations and models whose names this SDK may have derived for an endpoint, configurations first."""
    part = stem(endpoint)
    configs = yield from paginate(
        sagemaker_call(
            "list_endpoint_configs", endpoint, NameContains=part, SortBy="CreationTime", SortOrder="Descending"
        ),
        "EndpointConfigs",
    )
    models = yield from paginate(
        sagemaker_call("list_models", endpoint, NameContains=part, SortBy="CreationTime", SortOrder="Descending"),
        "Models",
    )
    return (
        *(
            Resource("config", n)
            for n in (one["EndpointConfigName"] for one in configs)
            if is_derived_name(endpoint, n)
        ),
        *(Resource("model", n) for n in (one["ModelName"] for one in models) if is_derived_name(endpoint, n)),
    )


def owned_by(endpoint: str, some: Iterable[Resource]) -> Flow[list[DescribedResource]]:
    """Return those of some configurations and models that this SDK made for an endpoint."""
    return [one for one in (yield from inspect(some, endpoint)) if one.made_for == endpoint]


@attrs.frozen
class OtherUsers:
    """Resources that other endpoints or configurations use.

    Attributes:
        used: The resources that others use. All resources if this could not be determined.
        note: Why it could not be determined. Default: None.
    """

    used: frozenset[Resource] = frozenset()
    note: str | None = None


def used_elsewhere(endpoint: str, some: Sequence[DescribedResource]) -> Flow[OtherUsers]:
    """Determine which of an endpoint's own resources are used by other endpoints, or by configurations of others.

    Endpoints that have not changed since the oldest of the resources was created are skipped, and so are older
    configurations.
    """
    if not some:
        return OtherUsers()
    every = frozenset(one.resource for one in some)
    try:
        configs, note = yield from _configs_of_others(endpoint, some)
        if note is not None:
            return OtherUsers(every, note)
        used = {Resource("config", one) for one in configs}
        models = [one for one in some if one.resource.kind == "model"]
        if models:
            own_configs = {one.resource.name for one in some if one.resource.kind == "config"}
            more, note = yield from _younger_configs(endpoint, models, {*configs, *own_configs})
            if note is not None:
                return OtherUsers(every, note)
            described = yield from gather([_config(endpoint, one) for one in sorted({*configs, *more})])
            # Configurations of this endpoint itself are not examined: the caller knows which of them stay.
            used |= {Resource("model", name) for one in described for name in content.model_names(one)}
    except AccessDeniedError as error:
        return OtherUsers(every, f"whether other endpoints use them cannot be determined: {error.message}")
    return OtherUsers(every & used)


def _config(endpoint: str, name: str) -> Flow[Any]:
    return (yield from none_if_missing(sagemaker_call("describe_endpoint_config", endpoint, EndpointConfigName=name)))


def _configs_of_others(endpoint: str, some: Sequence[DescribedResource]) -> Flow[tuple[set[str], str | None]]:
    call = sagemaker_call("list_endpoints", endpoint, **_since("LastModifiedTimeAfter", some))
    listed = yield from paginate(call, "Endpoints")
    names = [one["EndpointName"] for one in listed if one["EndpointName"] != endpoint]
    if len(names) > _MOST:
        return set(), f"{len(names)} other endpoints have changed since then, too many to examine"
    live = yield from gather([describe_if_exists(one) for one in names])
    return {c for one in live if one is not None for c in (one.config_name, one.pending_config) if c}, None


def _younger_configs(
    endpoint: str, models: Sequence[DescribedResource], known: set[str]
) -> Flow[tuple[set[str], str | None]]:
    """List unknown configurations that are younger than the models; none if the caller may not list them."""
    try:
        call = sagemaker_call("list_endpoint_configs", endpoint, **_since("CreationTimeAfter", models))
        listed = yield from paginate(call, "EndpointConfigs")
    except AccessDeniedError:
        return set(), None
    names = {one["EndpointConfigName"] for one in listed} - known
    if len(names) > _MOST:
        return set(), f"{len(names)} configurations are younger than the models, too many to examine"
    return names, None


def _since(parameter: str, some: Sequence[DescribedResource]) -> dict[str, datetime]:
    times = [one.description.get("CreationTime") for one in some]
    known = [one for one in times if isinstance(one, datetime)]
    return {parameter: min(known) - _MARGIN} if len(known) == len(times) else {}
