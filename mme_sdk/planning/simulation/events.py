"""Events on the timeline of a simulation: failures, deployments and scaling."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from mme_sdk._validation import number, optional
from mme_sdk.errors import InvalidInputError

__all__ = ["Autoscale", "Crash", "Deploy", "Event", "LoseInstance", "ScaleIn", "ScaleOut"]

_time, _count = number(at_least=0), number(at_least=1, integer=True)
_position = number(at_least=0, integer=True)


@attrs.frozen(kw_only=True)
class Crash:
    """The container's process exits and starts again: its memory is empty, its volume is unchanged.

    Attributes:
        at: Time of the crash, seconds.
        restart: Time until the container can load models again, seconds. Default 10.
        instance: Position of the instance among those in service, oldest first. Default 0.
    """

    at: float = attrs.field(validator=_time)
    restart: float = attrs.field(default=10.0, validator=_time)
    instance: int = attrs.field(default=0, validator=_position)


@attrs.frozen(kw_only=True)
class LoseInstance:
    """An instance fails, and an empty one replaces it.

    Attributes:
        at: Time of the failure, seconds.
        replaced_after: Time until the new instance is in service, seconds; None for no replacement. Default 240.
        instance: Position of the instance among those in service, oldest first. Default 0.
    """

    at: float = attrs.field(validator=_time)
    replaced_after: float | None = attrs.field(default=240.0, validator=optional(_time))
    instance: int = attrs.field(default=0, validator=_position)


@attrs.frozen(kw_only=True)
class ScaleOut:
    """Empty instances come into service.

    Attributes:
        at: Time at which they are in service, seconds.
        count: Number of instances. Default 1.
    """

    at: float = attrs.field(validator=_time)
    count: int = attrs.field(default=1, validator=_count)


@attrs.frozen(kw_only=True)
class ScaleIn:
    """The youngest instances accept no new requests, and stop when their requests have finished.

    Attributes:
        at: Time, seconds.
        count: Number of instances; one instance stays in service. Default 1.
    """

    at: float = attrs.field(validator=_time)
    count: int = attrs.field(default=1, validator=_count)


@attrs.frozen(kw_only=True)
class Deploy:
    """`UpdateEndpoint`: a new, empty fleet gets all new requests.

    Attributes:
        at: Time at which the traffic shifts, seconds.
    """

    at: float = attrs.field(validator=_time)


@attrs.frozen(kw_only=True)
class Autoscale:
    """Target tracking of `SageMakerVariantInvocationsPerInstance`, evaluated every 60 seconds.

    Attributes:
        target: Invocations per instance and minute.
        minimum: Smallest number of instances. Default 1.
        maximum: Largest number of instances. Default 10.
        out_cooldown: Time after a scale-out until the next one, seconds. Default 300.
        in_cooldown: Time after every change until a scale-in, seconds. Default 300.
        provisioning: Time until a new instance is in service, seconds. Default 240.
    """

    target: float = attrs.field(validator=number(over=0))
    minimum: int = attrs.field(default=1, validator=_count)
    maximum: int = attrs.field(default=10, validator=_count)
    out_cooldown: float = attrs.field(default=300.0, validator=_time)
    in_cooldown: float = attrs.field(default=300.0, validator=_time)
    provisioning: float = attrs.field(default=240.0, validator=_time)

    def __attrs_post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise InvalidInputError(f"Autoscale.minimum is {self.minimum}, more than its maximum of {self.maximum}")


Event: TypeAlias = Crash | LoseInstance | ScaleOut | ScaleIn | Deploy | Autoscale
