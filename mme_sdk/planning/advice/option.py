"""One hosting option of a plan: its figures, the reasons, and the endpoint specifications that realise it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.inputs import by_formula
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.simulated import SimulatedFigures

if TYPE_CHECKING:
    from mme_sdk.endpoints import AsyncInference, Autoscaling, Container, DataCapture, EndpointSpec, Vpc
    from mme_sdk.endpoints.spec.spec import HasUri

__all__ = ["HostingOption"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HostingOption:
    """One way to host the models.

    Attributes:
        layout: Which models share an endpoint, which have their own, and on which instances.
        estimate: The figures by formula.
        simulated: The simulated figures; None (the default) if the option was not simulated.
        headroom: Largest factor on the traffic at which the option was found to meet the SLO with the upper ends of
            all intervals, and not to collapse with 5 % more; 16 stands for 16 or more, and 1 for none. None (the
            default) if not computed.
        exceeded_at: Smallest factor on the traffic at which a limit is exceeded, or may be; 1 if that is so for the
            given traffic. None (the default) if not computed or not found.
        exceeded: The limits that are exceeded at that factor, or may be, in words; empty (the default) without one.
        failure: The limits that are exceeded without one instance of the shared endpoint, in words; None (the default)
            if not computed.
        without_one: The simulated figures without one instance of the shared endpoint; None (the default) if that was
            not simulated.
        must_survive: Whether an entry in `failure` blocks the option. Default False.
        why: The reasons for the advice, in words. Default empty.
        models: The workload's models; `layout` refers to them by position. Default empty.
    """

    layout: HostingLayout
    estimate: HostingEstimate
    simulated: SimulatedFigures | None = None
    headroom: float | None = None
    exceeded_at: float | None = None
    exceeded: tuple[str, ...] = ()
    failure: tuple[str, ...] | None = None
    without_one: SimulatedFigures | None = None
    must_survive: bool = False
    why: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def blockers(self) -> tuple[str, ...]:
        """The limits that the option exceeds, in words; empty if it meets the SLO.

        Latencies, the cold rate and the use of loader slots are those of the simulation, or by formula without one. The
        use of vCPUs is always by formula.
        """
        if self.simulated is None:
            found = list(by_formula(self.estimate.blockers))
        else:
            found = [*self.overloads, *self.simulated.blockers]
        if self.must_survive:
            found += [f"after the loss of one instance: {each}" for each in self.failure or ()]
        return tuple(found)

    @property
    def overloads(self) -> tuple[str, ...]:
        """Those limits that the SLO does not set: loader slots, vCPUs, a model that does not fit, the budget."""
        return (*(self.simulated.overloads if self.simulated else ()), *self.estimate.overloads)

    @property
    def risks(self) -> tuple[str, ...]:
        """The limits that an upper end of an interval exceeds, in words: with another seed the option may miss them.

        They do not block the option. Empty without a simulation.
        """
        found = self.simulated.risks if self.simulated else ()
        if self.must_survive and self.without_one is not None:
            found += tuple(f"after the loss of one instance: {each}" for each in self.without_one.risks)
        return found

    @property
    def loaders(self) -> float:
        """Utilisation of the loader slots at the peak, 0 to 1: simulated if available, else by formula."""
        return self.simulated.loaders if self.simulated else self.estimate.loader_saturation

    @property
    def meets(self) -> bool:
        """Whether the option meets the SLO."""
        return not self.blockers

    @property
    def cost(self) -> float:
        """Cost per month of 730 hours, in the currency of the prices."""
        return self.estimate.cost

    @property
    def cold_rate(self) -> float:
        """Share of requests that wait while their model loads, 0 to 1: simulated if available, else by formula."""
        return self.simulated.cold_rate if self.simulated else self.estimate.cold_rate

    @property
    def p50(self) -> float:
        """Median latency, seconds: simulated if available, else by formula."""
        return self.simulated.p50 if self.simulated else self.estimate.p50

    @property
    def p95(self) -> float:
        """95th percentile of the latency, seconds: simulated if available, else by formula."""
        return self.simulated.p95 if self.simulated else self.estimate.p95

    @property
    def p99(self) -> float:
        """99th percentile of the latency, seconds: simulated if available, else by formula."""
        return self.simulated.p99 if self.simulated else self.estimate.p99

    @property
    def warm_p95(self) -> float:
        """95th percentile of the latency of requests whose model is in memory, seconds: simulated, else by formula."""
        return self.simulated.warm_p95 if self.simulated else self.estimate.warm_p95

    @property
    def cold_p95(self) -> float:
        """95th percentile of the latency of requests that wait for a load, seconds: simulated, else by formula."""
        return self.simulated.cold_p95 if self.simulated else self.estimate.cold_p95

    @property
    def kinds(self) -> int:
        """Number of endpoints with different instance types or models: fewer are easier to run."""
        return len(self.layout.dedicated) + (self.layout.instance_type is not None)

    @property
    def shared_models(self) -> tuple[str, ...]:
        """The models on the shared endpoint."""
        alone = {each.model for each in self.layout.dedicated}
        return tuple(name for number, name in enumerate(self.models) if number not in alone)

    @property
    def dedicated_models(self) -> tuple[str, ...]:
        """The models that have an endpoint of their own."""
        return tuple(self.models[each.model] for each in self.layout.dedicated)

    def spec(
        self,
        *,
        name: str,
        models: str | HasUri,
        image: str,
        role: str,
        autoscaling: Autoscaling | None = None,
        environment: Mapping[str, str] | None = None,
        volume_gb: int | None = None,
        download_timeout: int | None = None,
        startup_timeout: int | None = None,
        variant: str = "AllTraffic",
        before: Iterable[Container] = (),
        after: Iterable[Container] = (),
        network_isolation: bool = False,
        vpc: Vpc | None = None,
        kms_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        config_tags: Mapping[str, str] | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> EndpointSpec:
        """Return the specification of the shared endpoint, for `client.endpoints.create`.

        The option sets the instance type, the number of instances and the model cache; the other arguments are those
        of `EndpointSpec.multi_model`.

        Args:
            name: Name of the endpoint.
            models: S3 prefix of the archives, or a model registry.
            image: Image URI of a container that serves many models.
            role: ARN of the execution role.
            autoscaling: Target tracking of the instance count; None (the default) for a fixed number.
            environment: Environment variables of the container; none by default.
            volume_gb: Size of each instance's volume, GB; None (the default) leaves it to AWS.
            download_timeout: Limit of downloads at creation, 60 to 3600 seconds; None (the default) leaves it to AWS.
            startup_timeout: Limit of the container's start, 60 to 3600 seconds; None (the default) leaves it to AWS.
            variant: Name of the production variant. Default `AllTraffic`.
            before: Containers before this one in a serial pipeline; none by default.
            after: Containers after this one in a serial pipeline; none by default.
            network_isolation: Whether the containers have no network access. Default False.
            vpc: Subnets and security groups; None (the default) for no VPC.
            kms_key: KMS key of the instances' volumes; None (the default) for none.
            tags: Tags of the endpoint, its configuration and its models; none by default.
            config_tags: Tags of the configuration; None (the default) for those of `tags`.
            extra: Further members of the create requests, by operation; none by default.

        Returns:
            The specification.

        Raises:
            InvalidInputError: The option has no shared endpoint, or a field is not valid.

        Example:
            >>> from mme_sdk.planning import Catalogue, Workload, plan
            >>> best = plan(Workload.zipf(60, rate=5), catalogue=Catalogue.uniform(memory_mb=100),
            ...             prices={"ml.m5.large": 0.115}, requests=5_000).best
            >>> spec = best.spec(name="scoring", models="s3://ml-models/prod/",
            ...                  image="1.dkr.ecr.eu-west-1.amazonaws.com/mme:1",
            ...                  role="arn:aws:iam::123456789012:role/mme")
            >>> spec.variants[0].instance_type, spec.variants[0].instance_count
            ('ml.m5.large', 2)
        """
        from mme_sdk.endpoints import EndpointSpec

        if self.layout.instance_type is None:
            raise InvalidInputError(
                "this option has no shared endpoint",
                hint="call dedicated_spec(model, …) for each of dedicated_models",
            )
        return EndpointSpec.multi_model(
            name=name,
            models=models,
            image=image,
            role=role,
            instance_type=self.layout.instance_type,
            instance_count=self.layout.count,
            model_cache=self.layout.mode != "uncached",
            autoscaling=autoscaling,
            environment=environment,
            volume_gb=volume_gb,
            download_timeout=download_timeout,
            startup_timeout=startup_timeout,
            variant=variant,
            before=before,
            after=after,
            network_isolation=network_isolation,
            vpc=vpc,
            kms_key=kms_key,
            tags=tags or {},
            config_tags=config_tags,
            extra=extra or {},
        )

    def dedicated_spec(
        self,
        model: str,
        *,
        name: str,
        artifact: str | HasUri | None,
        image: str,
        role: str,
        autoscaling: Autoscaling | None = None,
        environment: Mapping[str, str] | None = None,
        volume_gb: int | None = None,
        download_timeout: int | None = None,
        startup_timeout: int | None = None,
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
        extra: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> EndpointSpec:
        """Return the specification of one model's own endpoint, for `client.endpoints.create`.

        The option sets the instance type and the number of instances; the other arguments are those of
        `EndpointSpec.single_model`.

        Args:
            model: The model, one of `dedicated_models`.
            name: Name of the endpoint.
            artifact: S3 address of the archive, or a registered model version; None if the image needs none.
            image: Image URI.
            role: ARN of the execution role.
            autoscaling: Target tracking of the instance count; None (the default) for a fixed number.
            environment: Environment variables of the container; none by default.
            volume_gb: Size of each instance's volume, GB; None (the default) leaves it to AWS.
            download_timeout: Limit of the download, 60 to 3600 seconds; None (the default) leaves it to AWS.
            startup_timeout: Limit of the container's start, 60 to 3600 seconds; None (the default) leaves it to AWS.
            variant: Name of the production variant. Default `AllTraffic`.
            before: Containers before this one in a serial pipeline; none by default.
            after: Containers after this one in a serial pipeline; none by default.
            network_isolation: Whether the containers have no network access. Default False.
            vpc: Subnets and security groups; None (the default) for no VPC.
            kms_key: KMS key of the instances' volumes; None (the default) for none.
            tags: Tags of the endpoint, its configuration and its model; none by default.
            config_tags: Tags of the configuration; None (the default) for those of `tags`.
            data_capture: Capture of requests and answers; None (the default) for none.
            async_inference: Asynchronous inference; None (the default) for none.
            explainer: ExplainerConfig as the API names it; None (the default) for none.
            extra: Further members of the create requests, by operation; none by default.

        Returns:
            The specification.

        Raises:
            InvalidInputError: The model has no endpoint of its own in this option, or a field is not valid.
        """
        from mme_sdk.endpoints import EndpointSpec

        for each in self.layout.dedicated:
            if self.models[each.model] == model:
                return EndpointSpec.single_model(
                    name=name,
                    artifact=artifact,
                    image=image,
                    role=role,
                    instance_type=each.instance_type,
                    instance_count=each.count,
                    autoscaling=autoscaling,
                    environment=environment,
                    volume_gb=volume_gb,
                    download_timeout=download_timeout,
                    startup_timeout=startup_timeout,
                    variant=variant,
                    before=before,
                    after=after,
                    network_isolation=network_isolation,
                    vpc=vpc,
                    kms_key=kms_key,
                    tags=tags or {},
                    config_tags=config_tags,
                    data_capture=data_capture,
                    async_inference=async_inference,
                    explainer=explainer,
                    extra=extra or {},
                )
        raise InvalidInputError(
            f"{model!r} has no endpoint of its own in this option", hint="choose a model of dedicated_models"
        )

    def __repr__(self) -> str:
        return f"<HostingOption {self}: {'meets the SLO' if self.meets else '; '.join(self.blockers)}>"

    def __str__(self) -> str:
        return f"{self.layout}, {self.cost:,.0f} a month, {self.cold_rate:.2%} cold, p99 {self.p99:.3g} s"
