"""Change the hosting mode of an endpoint and keep its container."""

from __future__ import annotations

from typing import Any

import attrs

from mme_sdk.aws import Call, Flow
from mme_sdk.endpoints.operations.calls import none_if_missing
from mme_sdk.endpoints.spec import images, validators
from mme_sdk.endpoints.spec.components import Container
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state.describe import read_live
from mme_sdk.errors import ConflictError, InvalidInputError, ModelNotFoundError
from mme_sdk.types import ModelVersion, S3Uri
from mme_sdk.types.model import check_compressed

__all__ = ["to_multi_model", "to_single_model"]


def to_multi_model(
    name: str, models: str, target_model: str | None, *, instance_type: str | None
) -> Flow[EndpointSpec]:
    """Copy a single-model endpoint's archive under a prefix, and return the spec that serves it from there.

    Raises:
        InvalidInputError: The endpoint does not serve exactly one archive, or its image supports one model only.
        ConflictError: The prefix has another archive at that key.
    """
    if target_model is not None and (
        not isinstance(target_model, str) or not target_model or target_model.startswith("/") or ".." in target_model
    ):
        raise InvalidInputError(
            f"target_model must be a key relative to the prefix, such as 'fraud/v1.tar.gz', not {target_model!r}"
        )
    spec = (yield from read_live(name, all_tags=True)).spec()
    container = _only_container(spec)
    if container.mode == "MultiModel":
        raise InvalidInputError(f"endpoint {name} is already a multi-model endpoint", endpoint=name)
    if container.model_data is None:
        raise InvalidInputError(f"endpoint {name} has no archive to copy", endpoint=name)
    if not container.compressed:
        raise InvalidInputError(
            f"endpoint {name} serves an uncompressed model; a multi-model endpoint loads archives",
            hint="register the model's files with client.models(…).register(…), and create a multi-model endpoint",
            endpoint=name,
        )
    if container.image and images.supports_multi_model(container.image) is False:
        raise InvalidInputError(
            f"endpoint {name}: its image {container.image} does not support multi-model endpoints", endpoint=name
        )
    archive = validators.in_s3("model_data", container.model_data, 1024)
    target = S3Uri.parse(models).join(target_model or archive.key.rpartition("/")[2])
    served = attrs.evolve(
        container, mode="MultiModel", model_data=str(S3Uri.parse(models).as_prefix()), extra=_rest(container)
    )
    wanted = _with_container(spec, served, instance_type)
    yield from _copy(archive, target)
    return wanted


def to_single_model(name: str, model: str | ModelVersion, *, instance_type: str | None) -> Flow[EndpointSpec]:
    """Return the spec that serves one archive of a multi-model endpoint, in place.

    Raises:
        InvalidInputError: The endpoint is not a multi-model endpoint with one variant and one container.
        ModelNotFoundError: The prefix has no such archive.
    """
    check_compressed(model, "this change")
    spec = (yield from read_live(name, all_tags=True)).spec()
    container = _only_container(spec)
    if container.mode != "MultiModel" or container.model_data is None:
        raise InvalidInputError(f"endpoint {name} is already a single-model endpoint", endpoint=name)
    archive = validators.in_s3("model_data", container.model_data, 1024).join(str(model))
    if (yield from _head(archive)) is None:
        raise ModelNotFoundError(f"there is no archive {archive}", endpoint=name, model=str(model))
    single = attrs.evolve(
        container, mode="SingleModel", model_data=str(archive), model_cache=True, extra=_rest(container)
    )
    return _with_container(spec, single, instance_type)


def _rest(container: Container) -> dict[str, Any]:
    return {key: value for key, value in container.extra.items() if key != "ModelDataUrl"}


_TYPES = ("InstanceType", "InstancePools")


def _only_container(spec: EndpointSpec) -> Container:
    if len(spec.variants) != 1 or len(spec.variants[0].containers) != 1:
        raise InvalidInputError(
            f"endpoint {spec.name} has several variants or containers; change its spec and apply it",
            endpoint=spec.name,
        )
    return spec.variants[0].containers[0]


def _with_container(spec: EndpointSpec, container: Container, instance_type: str | None) -> EndpointSpec:
    before = spec.variants[0]
    # A member of `extra` would override the field.
    less = {key: value for key, value in before.extra.items() if instance_type is None or key not in _TYPES}
    variant = attrs.evolve(
        before,
        containers=(container,),
        instance_type=instance_type or before.instance_type,
        instance_pools=() if instance_type else before.instance_pools,
        extra=less,
    )
    return attrs.evolve(spec, variants=(variant,))


def _head(where: S3Uri) -> Flow[Any]:
    return (yield from none_if_missing(Call(service="s3", operation="head_object", params=_at(where))))


def _at(where: S3Uri) -> dict[str, Any]:
    return {"Bucket": where.bucket, "Key": where.key}


def _copy(archive: S3Uri, target: S3Uri) -> Flow[None]:
    """Copy an archive within S3. An existing object is never replaced."""
    if archive == target:
        return
    source = yield from _head(archive)
    if source is None:
        raise ModelNotFoundError(f"there is no archive {archive}", model=archive.key)
    there = yield from _head(target)
    if there is not None:
        # A multipart copy has another ETag; only its size can then be compared.
        if there["ContentLength"] == source["ContentLength"] and (
            there["ETag"] == source["ETag"] or "-" in there["ETag"] + source["ETag"]
        ):
            return
        raise ConflictError(
            f"{target} exists and is another archive; it was not replaced",
            hint="choose another target_model: instances that have loaded a model keep its old content",
        )
    params = {"CopySource": _at(archive), **_at(target)}
    yield Call(service="s3", operation="copy", params=params)
