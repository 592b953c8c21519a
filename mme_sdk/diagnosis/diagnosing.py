"""Find what is wrong with an endpoint, from what was observed. It makes no call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mme_sdk.diagnosis.catalogue import Catalogue
from mme_sdk.diagnosis.findings import Diagnosis, Finding, sort_key
from mme_sdk.diagnosis.observation import ObservedEndpoint
from mme_sdk.diagnosis.rules import capacity, control_plane, models, traffic

__all__ = ["diagnose"]

_RULES: tuple[Callable[[ObservedEndpoint], Iterator[Finding]], ...] = (
    control_plane.unseen_rollback,
    control_plane.autoscaling_cannot_move,
    control_plane.variant_skew,
    control_plane.quota_near,
    capacity.thrashing,
    capacity.loader_slots,
    capacity.oversized_fleet,
    traffic.hot_model,
    traffic.spilling_model,
    traffic.throttling,
    models.failing_model,
    models.deleted_model_called,
    models.old_version_called,
    models.stale_alias,
)


def diagnose(observed: ObservedEndpoint) -> Diagnosis:
    """Find what is wrong with an endpoint.

    Args:
        observed: What is known of the endpoint and of a time range.

    Returns:
        The findings, and the data that was missing.

    Example:
        ```python
        found = diagnose(ObservedEndpoint(name="scoring", status="InService", start=start, end=end))
        ```
    """
    findings = [finding for rule in _RULES for finding in rule(observed)]
    return Diagnosis(
        endpoint=observed.name,
        start=observed.start,
        end=observed.end,
        findings=tuple(sorted(findings, key=sort_key)),
        missing=(*observed.missing, *_missing(observed)),
    )


def _missing(observed: ObservedEndpoint) -> Iterator[str]:
    """Say what data was not given, and which kinds of findings that leaves open."""
    if not observed.minutes:
        yield (
            "no recordings of this time: hot, spilling and failing models, deleted and old versions that are called, "
            "and throttling are not looked for"
        )
    elif any(one.model is None for one in observed.minutes) and observed.multi_model:
        yield "some recorded calls name no model: whether the memory suffices for all models is not computed"
    for variant in observed.variants:
        seen = variant.metrics
        if seen is None:
            continue
        if not seen.invocations:
            yield f"variant {variant.name}: CloudWatch has no requests in this time, so that little can be found"
        if not seen.cpu or not seen.memory:
            yield (
                f"variant {variant.name}: CloudWatch has no CPU or memory utilization: whether the fleet is too large "
                "is not known"
            )
    if observed.registry is not None and observed.registry.aliases:
        catalogue = Catalogue(observed.registry)
        others = [one.reference for one in observed.registry.aliases if not catalogue.versions(one.name)]
        if others and catalogue.unnamed:
            yield (
                f"no key of {observed.registry.uri} that fits the template {observed.registry.key} belongs to "
                f"{', '.join(others[:3])}: give key=… as for client.models, so that stale aliases are found"
            )
    if observed.quotas is None:
        yield "no quotas were given: only a quota that a change has met is found"
    if observed.prices is None:
        yield "no prices were given: the cost of instances is not computed"
