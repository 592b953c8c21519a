"""An option as the plan presents it: figures, reasons, and the way to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.advice.setting import Estimate, Setting

if TYPE_CHECKING:
    from mme_sdk.endpoints import EndpointSpec

__all__ = ["Confirmation", "Option"]


@attrs.frozen(kw_only=True)
class Confirmation:
    """What the simulation found for the whole workload.

    Attributes:
        requests: How many were simulated.
        cold_rate: Share that waited for a load.
        hit_ratio: Share that met their model in memory.
        p50: Seconds.
        p95: Seconds.
        p99: Seconds.
        blockers: What of the SLO it does not meet.
    """

    requests: int
    cold_rate: float
    hit_ratio: float
    p50: float
    p95: float
    p99: float
    blockers: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Option:
    """One way to host the models.

    Attributes:
        setting: The hosting.
        estimate: What it would do, by formula.
        confirmation: What the simulation found; None where it was not simulated.
        headroom: Factor by which the traffic may grow until something stands against it; None where not reckoned.
        failure: What stands against it with one instance of the shared endpoint gone; None where not reckoned.
        must_survive: Whether that stands against it altogether.
        why: Reasons, in words.
        models: The workload's models, for the names.
    """

    setting: Setting
    estimate: Estimate
    confirmation: Confirmation | None = None
    headroom: float | None = None
    failure: tuple[str, ...] | None = None
    must_survive: bool = False
    why: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def blockers(self) -> tuple[str, ...]:
        """What stands against it, by formula or by simulation."""
        found = list(self.estimate.blockers)
        if self.confirmation is not None:
            found += [f"simulated: {each}" for each in self.confirmation.blockers]
        if self.must_survive:
            found += [f"with one instance gone: {each}" for each in self.failure or ()]
        return tuple(found)

    @property
    def meets(self) -> bool:
        """Whether nothing stands against it."""
        return not self.blockers

    @property
    def cost(self) -> float:
        """Per month."""
        return self.estimate.cost

    @property
    def cold_rate(self) -> float:
        """Share of the requests that wait for a load: as simulated, else by formula."""
        return self.confirmation.cold_rate if self.confirmation else self.estimate.cold_rate

    @property
    def p50(self) -> float:
        """Seconds, as simulated, else by formula."""
        return self.confirmation.p50 if self.confirmation else self.estimate.p50

    @property
    def p95(self) -> float:
        """Seconds, as simulated, else by formula."""
        return self.confirmation.p95 if self.confirmation else self.estimate.p95

    @property
    def p99(self) -> float:
        """Seconds, as simulated, else by formula."""
        return self.confirmation.p99 if self.confirmation else self.estimate.p99

    @property
    def shared_models(self) -> tuple[str, ...]:
        """Models on the shared endpoint."""
        alone = {each.model for each in self.setting.dedicated}
        return tuple(name for number, name in enumerate(self.models) if number not in alone)

    @property
    def dedicated_models(self) -> tuple[str, ...]:
        """Models with an endpoint of their own."""
        return tuple(self.models[each.model] for each in self.setting.dedicated)

    def spec(self, *, name: str, models: Any, image: str, role: str, **options: Any) -> EndpointSpec:
        """The shared endpoint as a spec for `client.endpoints.create`.

        Args:
            name: EndpointName.
            models: S3 prefix of the archives, or a model registry.
            image: Image URI.
            role: ARN of the execution role.
            **options: Further arguments of `EndpointSpec.multi_model`.

        Raises:
            InvalidInputError: The option has no shared endpoint.
        """
        from mme_sdk.endpoints import EndpointSpec

        if self.setting.instance_type is None:
            raise InvalidInputError(
                "this option has no shared endpoint",
                hint="dedicated_spec(model, …) makes the spec of one of its models",
            )
        return EndpointSpec.multi_model(
            name=name,
            models=models,
            image=image,
            role=role,
            instance_type=self.setting.instance_type,
            instance_count=self.setting.count,
            model_cache=self.setting.mode != "uncached",
            **options,
        )

    def dedicated_spec(
        self, model: str, *, name: str, artifact: Any, image: str, role: str, **options: Any
    ) -> EndpointSpec:
        """The endpoint of one model as a spec.

        Args:
            model: The model, one of `dedicated_models`.
            name: EndpointName.
            artifact: S3 address of its archive.
            image: Image URI.
            role: ARN of the execution role.
            **options: Further arguments of `EndpointSpec.single_model`.

        Raises:
            InvalidInputError: The model has no endpoint of its own in this option.
        """
        from mme_sdk.endpoints import EndpointSpec

        for each in self.setting.dedicated:
            if self.models[each.model] == model:
                return EndpointSpec.single_model(
                    name=name,
                    artifact=artifact,
                    image=image,
                    role=role,
                    instance_type=each.instance_type,
                    instance_count=each.count,
                    **options,
                )
        raise InvalidInputError(f"{model!r} has no endpoint of its own in this option")

    def __repr__(self) -> str:
        return f"<Option {self}: {'meets the SLO' if self.meets else '; '.join(self.blockers)}>"

    def __str__(self) -> str:
        return f"{self.setting}, {self.cost:,.0f} a month, {self.cold_rate:.2%} cold, p99 {self.p99:.3g} s"
