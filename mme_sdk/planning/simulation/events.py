"""What may happen to a fleet on the time line of a simulation."""

from __future__ import annotations

from typing import TypeAlias

import attrs

__all__ = ["Autoscale", "Crash", "Deploy", "Event", "LoseInstance", "ScaleIn", "ScaleOut"]


@attrs.frozen(kw_only=True)
class Crash:
    """A container's process dies and starts again: its memory is empty, its volume is not.

    Attributes:
        at: When, seconds.
        restart: Seconds until it loads again.
        instance: Which one, in order of coming; among those that are there then.
    """

    at: float
    restart: float = 10.0
    instance: int = 0


@attrs.frozen(kw_only=True)
class LoseInstance:
    """An instance goes without warning, and an empty one takes its place.

    Attributes:
        at: When, seconds.
        replaced_after: Seconds until the new one serves; None for never.
        instance: Which one, in order of coming; among those that are there then.
    """

    at: float
    replaced_after: float | None = 240.0
    instance: int = 0


@attrs.frozen(kw_only=True)
class ScaleOut:
    """Empty instances come into service.

    Attributes:
        at: When they serve, seconds.
        count: How many.
    """

    at: float
    count: int = 1


@attrs.frozen(kw_only=True)
class ScaleIn:
    """The youngest instances take no new requests, and go when theirs have ended.

    Attributes:
        at: When, seconds.
        count: How many.
    """

    at: float
    count: int = 1


@attrs.frozen(kw_only=True)
class Deploy:
    """`UpdateEndpoint`: a new fleet, empty, takes all new requests.

    Attributes:
        at: When traffic shifts, seconds.
    """

    at: float


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

    target: float
    minimum: int = 1
    maximum: int = 10
    out_cooldown: float = 300.0
    in_cooldown: float = 300.0
    provisioning: float = 240.0


Event: TypeAlias = Crash | LoseInstance | ScaleOut | ScaleIn | Deploy | Autoscale
