"""What differs between an endpoint as it is and the spec that it should match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from mme_sdk.endpoints import autoscaling
from mme_sdk.endpoints.reading import Live
from mme_sdk.endpoints.requests import is_derived_name
from mme_sdk.endpoints.spec import Autoscaling, EndpointSpec, Variant
from mme_sdk.errors import InvalidInputError

__all__ = ["Change", "How", "differences"]

How = Literal["new fleet", "in place"]

_FILLED_IN = frozenset({"volume_gb", "download_timeout", "startup_timeout", "hostname"})


@attrs.frozen(kw_only=True)
class Change:
    """One difference.

    Attributes:
        field: Where in the spec, such as `variants.AllTraffic.instance_type`.
        old: What the endpoint has; environment values are hidden.
        new: What the spec says.
        how: `in place`, or `new fleet`: other instances, whose caches begin cold, take over.
    """

    field: str
    old: Any
    new: Any
    how: How = "new fleet"

    def __str__(self) -> str:
        return f"{self.field}: {self.old!r} → {self.new!r} ({self.how})"


def differences(live: Live, spec: EndpointSpec) -> tuple[Change, ...]:
    """Every change that would make an endpoint match a spec; autoscaling that a spec does not name is left alone."""
    try:
        now = live.spec()
    except InvalidInputError as error:
        return (Change(field="spec", old=f"not readable: {error.message}", new=spec.name),)
    found = [*_counts_and_weights(live, now, spec), *_autoscaling(live, spec), *_tags(live, spec)]
    if not _same_fleet(live, spec):
        old, new = dict(_flat(now)), dict(_flat(spec))
        foreign = not is_derived_name(spec.name, live.description.config_name or "")
        for field in (*old, *(one for one in new if one not in old)):
            before, after = old.get(field), new.get(field)
            if before == after or (foreign and after is None and field.rpartition(".")[2] in _FILLED_IN):
                continue
            if ".environment." in field:
                before, after = (None if one is None else "(hidden)" for one in (before, after))
            found.append(Change(field=field, old=before, new=after))
    return tuple(found)


def _same_fleet(live: Live, spec: EndpointSpec) -> bool:
    """Whether nothing differs but what can be changed in place, told by the derived name."""
    configured = {one.get("VariantName"): one for one in live.config.get("ProductionVariants", [])}

    def as_configured(variant: Variant) -> Variant:
        raw = configured.get(variant.name, {})
        return attrs.evolve(
            variant,
            autoscaling=None,
            instance_count=raw.get("InitialInstanceCount", variant.instance_count),
            weight=raw.get("InitialVariantWeight", variant.weight),
        )

    same = attrs.evolve(spec, variants=tuple(as_configured(one) for one in spec.variants))
    return same.to_requests().config_name == live.description.config_name


def _counts_and_weights(live: Live, now: EndpointSpec, spec: EndpointSpec) -> Iterator[Change]:
    running = {one.name: one for one in now.variants}
    for variant in spec.variants:
        old = running.get(variant.name)
        if old is None:
            continue
        where = f"variants.{variant.name}"
        scales_itself = variant.autoscaling is not None or variant.name in {**(live.attached or {}), **live.parked}
        if old.instance_count != variant.instance_count and not scales_itself and variant.serverless is None:
            yield Change(
                field=f"{where}.instance_count", old=old.instance_count, new=variant.instance_count, how="in place"
            )
        if old.weight != variant.weight:
            yield Change(field=f"{where}.weight", old=old.weight, new=variant.weight, how="in place")


def _autoscaling(live: Live, spec: EndpointSpec) -> Iterator[Change]:
    for variant in spec.variants:
        wanted, kind, where = variant.autoscaling, variant.instance_type, f"variants.{variant.name}.autoscaling"
        if kind is None or live.attached is None:
            continue
        attached = live.attached.get(variant.name)
        if wanted is None:
            taken_off = live.parked.get(variant.name)
            if taken_off is not None:
                left = attached and attached.described()
                yield Change(field=where, old=left, new=taken_off.described(), how="in place")
            continue
        if autoscaling.matches(spec.name, variant.name, kind, wanted, attached):
            continue
        # A policy counts cores: it is read with the type that it was made for.
        runs_on = next((one.instance_type for one in live.description.variants if one.name == variant.name), None)
        old = None if attached is None else autoscaling.read_back(spec.name, runs_on or kind, attached)
        if old is None:
            yield Change(field=where, old=attached and attached.described(), new=wanted, how="in place")
            continue
        differing = [
            one.name for one in attrs.fields(Autoscaling) if getattr(old, one.name) != getattr(wanted, one.name)
        ]
        for name in differing or ["target"]:
            yield Change(field=f"{where}.{name}", old=getattr(old, name), new=getattr(wanted, name), how="in place")


def _tags(live: Live, spec: EndpointSpec) -> Iterator[Change]:
    if live.tags is None:
        return
    for key in sorted({*live.tags, *spec.tags}):
        if live.tags.get(key) != spec.tags.get(key):
            yield Change(field=f"tags.{key}", old=live.tags.get(key), new=spec.tags.get(key), how="in place")


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a spec with its path; counts, weights, autoscaling and tags are compared by themselves."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if field.name not in ("autoscaling", "tags", "instance_count", "weight"):
                yield from _flat(getattr(value, field.name), f"{where}.{field.name}" if where else field.name)
    elif isinstance(value, tuple) and value and attrs.has(type(value[0])):
        for position, one in enumerate(value):
            key = getattr(one, "name", position)
            yield from _flat(one, f"{where}.{key}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{where}.{key}")
    elif value is not None:
        yield where, value
