"""What may happen to a fleet on the time line of a simulation."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.checks import number, whole

__all__ = ["Autoscale", "Crash", "Deploy", "Event", "LoseInstance", "ScaleIn", "ScaleOut"]


@attrs.frozen(kw_only=True)
class Crash:
    """A container's process dies and starts again: its memory is empty, its volume is not.

    Attributes:
        at: When, seconds.
        restart: Seconds until it loads again.
        instance: Which one, in order of coming; among those that are there then.
    """

    at: float = attrs.field(validator=number())
    restart: float = attrs.field(default=10.0, validator=number())
    instance: int = attrs.field(default=0, validator=whole(least=0))


@attrs.frozen(kw_only=True)
class LoseInstance:
    """An instance goes without warning, and an empty one takes its place.

    Attributes:
        at: When, seconds.
        replaced_after: Seconds until the new one serves; None for never.
        instance: Which one, in order of coming; among those that are there then.
    """

    at: float = attrs.field(validator=number())
    replaced_after: float | None = attrs.field(default=240.0, validator=number(optional=True))
    instance: int = attrs.field(default=0, validator=whole(least=0))


@attrs.frozen(kw_only=True)
class ScaleOut:
    """Empty instances come into service.

    Attributes:
        at: When they serve, seconds.
        count: How many.
    """

    at: float = attrs.field(validator=number())
    count: int = attrs.field(default=1, validator=whole())


@attrs.frozen(kw_only=True)
class ScaleIn:
    """The youngest instances take no new requests, and go when theirs have ended.

    Attributes:
        at: When, seconds.
        count: How many.
    """

    at: float = attrs.field(validator=number())
    count: int = attrs.field(default=1, validator=whole())


@attrs.frozen(kw_only=True)
class Deploy:
    """`UpdateEndpoint`: a new fleet, empty, takes all new requests.

    Attributes:
        at: When traffic shifts, seconds.
    """

    at: float = attrs.field(validator=number())


@attrs.frozen(kw_only=True)
class Autoscale:
    """Target tracking of `SageMakerVariantInvocationsPerInstance`, looked at every minute.

    Attributes:
        target: Invocations per instance and minute.
        minimum: Least instances.
        maximum: Most instances.
        out_cooldown: Seconds after a scale-out without another.
        in_cooldown: Seconds after any change without a scale-in.
        provisioning: Seconds until a new instance serves.
    """

    target: float = attrs.field(validator=number(over=True))
    minimum: int = attrs.field(default=1, validator=whole())
    maximum: int = attrs.field(default=10, validator=whole())
    out_cooldown: float = attrs.field(default=300.0, validator=number())
    in_cooldown: float = attrs.field(default=300.0, validator=number())
    provisioning: float = attrs.field(default=240.0, validator=number())

    def __attrs_post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise InvalidInputError(f"Autoscale.minimum is {self.minimum}, more than its maximum of {self.maximum}")


Event: TypeAlias = Crash | LoseInstance | ScaleOut | ScaleIn | Deploy | Autoscale
