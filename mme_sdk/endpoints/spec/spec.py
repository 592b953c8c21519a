"""`EndpointSpec`: the declaration of an endpoint, checked before any call is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_resource_name
from mme_sdk.display.shown import Shown
from mme_sdk.endpoints.spec import validators
from mme_sdk.endpoints.spec.autoscaling import Autoscaling
from mme_sdk.endpoints.spec.components import (
    AsyncInference,
    Container,
    DataCapture,
    MetricsSettings,
    Serverless,
    Variant,
    Vpc,
)
from mme_sdk.endpoints.spec.deployment import BlueGreen, Rolling
from mme_sdk.endpoints.spec.fields import SpecFields
from mme_sdk.endpoints.spec.instances import instances_text
from mme_sdk.errors import InvalidInputError
from mme_sdk.types.model import check_compressed

if TYPE_CHECKING:
    from pathlib import Path

    from mme_sdk.endpoints.spec.requests import Requests

__all__ = ["EndpointSpec", "HasUri", "check_spec"]


class HasUri(Protocol):
    """An object with an S3 address, such as a model registry or a model version."""

    @property
    def uri(self) -> str:
        """The S3 address."""
        ...


@short_tracebacks
@attrs.frozen(kw_only=True, repr=False)
class EndpointSpec(Shown, SpecFields):
    """Declaration of an endpoint in either hosting mode. The constructor checks every rule.

    `multi_model` and `single_model` make the spec of one variant with one container. The constructor takes several
    variants and serial pipelines.

    Attributes:
        name: EndpointName.
        variants: Production variants, 1 to 10.
        role: ARN of the execution role; None if the models need none.
        network_isolation: Whether the containers have no network access. Default: False.
        vpc: Subnets and security groups. Default: None, no VPC.
        kms_key: KMS key that encrypts the instances' volumes. Default: None.
        tags: Tags of the endpoint, its configuration and its models. Keys that begin with `mme_sdk:` are reserved: this
            SDK marks each configuration and model with the endpoint that it made them for, if they have fewer than 50
            tags. Default: none.
        data_capture: Copies of requests and responses in S3 (single-model only). Default: None.
        async_inference: Asynchronous inference (single-model only). Default: None.
        explainer: ExplainerConfig, as the API names its members. Default: None.
        extra: Further members of `CreateModel`, `CreateEndpointConfig` and `CreateEndpoint`, by operation. They
            override the fields above. Default: none.
        config_tags: Tags of the configuration. Default: None, `tags`. `Variant.model_tags` sets those of a model.
        metrics: Which metrics the endpoint publishes, and how often. Default: None, SageMaker's choice.
        deployment: How updates move traffic: sent with CreateEndpoint, and used by each `apply` that gets no other one.
            Default: None. `from_endpoint` does not read it, and a difference of it is not a change.

    Raises:
        InvalidInputError: A field breaks a rule; the message names the field and the rule.

    Example:
        >>> spec = EndpointSpec.multi_model(
        ...     name="scoring", models="s3://ml-models/prod/", image="1.dkr.ecr.eu-west-1.amazonaws.com/mme:1",
        ...     role="arn:aws:iam::123456789012:role/mme", instance_type="ml.m5.xlarge", instance_count=2)
        >>> spec.mode, spec.model_data
        ('MultiModel', 's3://ml-models/prod/')
        >>> [operation for _, operation, _ in spec.to_requests().calls]
        ['create_model', 'create_endpoint_config', 'create_endpoint']
    """

    def _facts(self) -> dict[str, object]:
        containers = [one for variant in self.variants for one in variant.containers]
        return {
            "name": self.name,
            "mode": self.mode,
            "models": self.model_data,
            "instances": instances_text(self.variants),
            "variants": [one.name for one in self.variants] if len(self.variants) > 1 else None,
            "image": list(dict.fromkeys(one.image for one in containers if one.image)),
            "role": self.role,
            "autoscaling": [
                f"{one.autoscaling.min} to {one.autoscaling.max} instances of {one.name}"
                for one in self.variants
                if one.autoscaling
            ],
            "vpc": self.vpc,
            "kms_key": self.kms_key,
            "data_capture": self.data_capture,
            "async_inference": self.async_inference,
            "tags": self.tags,
        }

    def to_requests(self) -> Requests:
        """Return the requests that create this endpoint.

        Returns:
            The requests, as boto3 takes them.
        """
        from mme_sdk.endpoints.spec.requests import requests_of

        return requests_of(self)

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the spec as YAML. It contains the environment variables: keep secrets elsewhere.

        Args:
            path: File to write the YAML to as well. Default: None.

        Returns:
            The YAML.

        Raises:
            InvalidInputError: An `extra` holds an object that YAML cannot represent, or the file cannot be written.
            MissingExtraError: PyYAML is not installed.
        """
        from mme_sdk.endpoints.spec import serialization

        return serialization.to_yaml(self, path)

    @classmethod
    def from_yaml(cls, source: str | Path) -> EndpointSpec:
        """Read a spec from YAML.

        The YAML has one key: `multi_model` or `single_model` with the arguments of these methods, or `endpoint` with
        the fields of a spec.

        Args:
            source: A path, or the YAML itself. Text with more than one line is taken as YAML.

        Returns:
            The spec.

        Raises:
            InvalidInputError: The file cannot be read, or its content is not a valid spec; the message says where.
            MissingExtraError: PyYAML is not installed.
        """
        from mme_sdk.endpoints.spec import serialization

        return serialization.from_yaml(cls, source)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain data.

        Returns:
            A dict with the key `endpoint`. Fields with their default value are left out.
        """
        from mme_sdk.endpoints.spec import serialization

        return serialization.to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EndpointSpec:
        """Make a spec from plain data.

        Args:
            data: A mapping with one key; see `from_yaml`.

        Returns:
            The spec.

        Raises:
            InvalidInputError: A key is unknown or missing, or a value breaks a rule; the message says where.
        """
        from mme_sdk.endpoints.spec import serialization

        return serialization.from_dict(cls, data)

    @classmethod
    def multi_model(
        cls,
        *,
        name: str,
        models: str | HasUri,
        image: str,
        role: str,
        instance_type: str,
        instance_count: int = 1,
        model_cache: bool = True,
        autoscaling: Autoscaling | None = None,
        environment: Mapping[str, str] | None = None,
        volume_gb: int | None = None,
        download_timeout: int | None = None,
        startup_timeout: int | None = None,
        routing: str | None = None,
        variant: str = "AllTraffic",
        before: Iterable[Container] = (),
        after: Iterable[Container] = (),
        network_isolation: bool = False,
        vpc: Vpc | None = None,
        kms_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        config_tags: Mapping[str, str] | None = None,
        data_capture: DataCapture | None = None,
        async_inference: AsyncInference | None = None,
        explainer: Mapping[str, Any] | None = None,
        metrics: MetricsSettings | None = None,
        deployment: BlueGreen | Rolling | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> EndpointSpec:
        """Make the spec of an endpoint with one multi-model variant.

        Args:
            name: EndpointName.
            models: S3 prefix of the archives, or a model registry.
            image: Image URI of a container that supports multi-model endpoints.
            role: ARN of the execution role.
            instance_type: A CPU type, or a single-GPU type of g4dn, g5, p2 or p3.
            instance_count: Initial number of instances. AWS recommends 2 or more in production. Default: 1.
            model_cache: False unloads each model after its invocation. Default: True.
            autoscaling: Target tracking of the instance count. Default: None.
            environment: Environment variables of the container. Default: none.
            volume_gb: Size of each instance's volume, 1 to 512 GB. Default: None, SageMaker's choice.
            download_timeout: Time to download model data at creation, 60 to 3600 seconds. Default: None, SageMaker's.
            startup_timeout: Time for the container to become healthy, 60 to 3600 seconds. Default: None, SageMaker's.
            routing: How requests reach the instances, as in `Variant`. Default: None, SageMaker's choice.
            variant: VariantName. Default: `AllTraffic`.
            before: Containers in front of it in a serial pipeline. Default: none.
            after: Containers behind it in a serial pipeline. Default: none.
            network_isolation: Whether the containers have no network access. Default: False.
            vpc: Subnets and security groups. Default: None, no VPC.
            kms_key: KMS key that encrypts the instances' volumes. Default: None.
            tags: Tags of the endpoint, its configuration and its models. Default: none.
            config_tags: Tags of the configuration. Default: None, `tags`.
            data_capture: Copies of requests and responses in S3; refused by SageMaker in this mode. Default: None.
            async_inference: Asynchronous inference; refused by SageMaker in this mode. Default: None.
            explainer: ExplainerConfig, as the API names its members. Default: None.
            metrics: Which metrics the endpoint publishes, and how often. Default: None, SageMaker's choice.
            deployment: How updates move traffic. Default: None, chosen for each update.
            extra: Further members of `CreateModel`, `CreateEndpointConfig` and `CreateEndpoint`, by operation. They
                override the fields above. Default: none.

        Returns:
            The spec.

        Raises:
            InvalidInputError: A field breaks a rule; the message names the field and the rule.
        """
        check_compressed(models, "a multi-model endpoint")
        container = Container(
            image=image,
            mode="MultiModel",
            model_data=validators.address("models", models),
            environment=environment or {},
            model_cache=model_cache,
        )
        check_resource_name("variant", variant)
        only = Variant(
            name=variant,
            containers=(*validators.sequence(before), container, *validators.sequence(after)),
            instance_type=instance_type,
            instance_count=instance_count,
            autoscaling=autoscaling,
            volume_gb=volume_gb,
            download_timeout=download_timeout,
            startup_timeout=startup_timeout,
            routing=routing,
        )
        return cls(
            name=name,
            variants=(only,),
            role=role,
            network_isolation=network_isolation,
            vpc=vpc,
            kms_key=kms_key,
            tags=tags or {},
            config_tags=config_tags,
            data_capture=data_capture,
            async_inference=async_inference,
            explainer=explainer,
            metrics=metrics,
            deployment=deployment,
            extra=extra or {},
        )

    @classmethod
    def single_model(
        cls,
        *,
        name: str,
        artifact: str | HasUri | None = None,
        compressed: bool = True,
        image: str,
        role: str,
        instance_type: str | None = None,
        instance_count: int = 1,
        serverless: Serverless | None = None,
        autoscaling: Autoscaling | None = None,
        environment: Mapping[str, str] | None = None,
        volume_gb: int | None = None,
        download_timeout: int | None = None,
        startup_timeout: int | None = None,
        routing: str | None = None,
        variant: str = "AllTraffic",
        before: Iterable[Container] = (),
        after: Iterable[Container] = (),
        network_isolation: bool = False,
        vpc: Vpc | None = None,
        kms_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        config_tags: Mapping[str, str] | None = None,
        data_capture: DataCapture | None = None,
        async_inference: AsyncInference | None = None,
        explainer: Mapping[str, Any] | None = None,
        metrics: MetricsSettings | None = None,
        deployment: BlueGreen | Rolling | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> EndpointSpec:
        """Make the spec of an endpoint with one single-model variant.

        Args:
            name: EndpointName.
            artifact: S3 address of the archive, or a registered model version. Default: None, for an image
                that contains its model.
            compressed: False if `artifact` is not an archive: a prefix that ends with `/`, whose objects are the files
                of the model, or one object. Default: True, unless `artifact` is a version registered like that.
            image: Image URI.
            role: ARN of the execution role.
            instance_type: Instance type. Default: None, for `serverless`.
            instance_count: Initial number of instances. Default: 1.
            serverless: Serverless settings in place of instances. Default: None.
            autoscaling: Target tracking of the instance count. Default: None.
            environment: Environment variables of the container. Default: none.
            volume_gb: Size of each instance's volume, 1 to 512 GB. Default: None, SageMaker's choice.
            download_timeout: Time to download the archive, 60 to 3600 seconds. Default: None, SageMaker's.
            startup_timeout: Time for the container to become healthy, 60 to 3600 seconds. Default: None, SageMaker's.
            routing: How requests reach the instances, as in `Variant`. Default: None, SageMaker's choice.
            variant: VariantName. Default: `AllTraffic`.
            before: Containers in front of it in a serial pipeline. Default: none.
            after: Containers behind it in a serial pipeline. Default: none.
            network_isolation: Whether the containers have no network access. Default: False.
            vpc: Subnets and security groups. Default: None, no VPC.
            kms_key: KMS key that encrypts the instances' volumes. Default: None.
            tags: Tags of the endpoint, its configuration and its models. Default: none.
            config_tags: Tags of the configuration. Default: None, `tags`.
            data_capture: Copies of requests and responses in S3. Default: None.
            async_inference: Asynchronous inference. Default: None.
            explainer: ExplainerConfig, as the API names its members. Default: None.
            metrics: Which metrics the endpoint publishes, and how often. Default: None, SageMaker's choice.
            deployment: How updates move traffic. Default: None, chosen for each update.
            extra: Further members of `CreateModel`, `CreateEndpointConfig` and `CreateEndpoint`, by operation. They
                override the fields above. Default: none.

        Returns:
            The spec.

        Raises:
            InvalidInputError: A field breaks a rule; the message names the field and the rule.
        """
        container = Container(
            image=image,
            model_data=None if artifact is None else validators.address("artifact", artifact),
            compressed=compressed and getattr(artifact, "compressed", True),
            environment=environment or {},
        )
        check_resource_name("variant", variant)
        only = Variant(
            name=variant,
            containers=(*validators.sequence(before), container, *validators.sequence(after)),
            instance_type=instance_type,
            instance_count=instance_count,
            serverless=serverless,
            autoscaling=autoscaling,
            volume_gb=volume_gb,
            download_timeout=download_timeout,
            startup_timeout=startup_timeout,
            routing=routing,
        )
        return cls(
            name=name,
            variants=(only,),
            role=role,
            network_isolation=network_isolation,
            vpc=vpc,
            kms_key=kms_key,
            tags=tags or {},
            config_tags=config_tags,
            data_capture=data_capture,
            async_inference=async_inference,
            explainer=explainer,
            metrics=metrics,
            deployment=deployment,
            extra=extra or {},
        )


def check_spec(given: Any) -> None:
    """Raise InvalidInputError unless `given` is an EndpointSpec."""
    if not isinstance(given, EndpointSpec):
        raise InvalidInputError(
            f"spec must be an EndpointSpec, not {type(given).__name__}",
            hint="EndpointSpec.multi_model(…), .single_model(…) and .from_yaml(…) make one",
        )
