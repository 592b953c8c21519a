"""Durations of the control plane."""

from __future__ import annotations

import attrs

from mme_sdk._validation import number

__all__ = ["ControlSettings"]


@attrs.frozen(kw_only=True)
class ControlSettings:
    """Durations of the control plane. AWS takes minutes; with the defaults an endpoint passes each status in a moment.

    Attributes:
        provisioning: Seconds from CreateEndpoint or UpdateEndpoint until the instances exist, default 0.5. The
            containers start after that.
        scaling: Seconds from UpdateEndpointWeightsAndCapacities or a scaling action until the instances exist, default
            0.2.
        deletion: Seconds from DeleteEndpoint until the endpoint no longer exists, default 0.1.
        wait_scale: Factor on the waits of a DeploymentConfig, which last up to an hour on AWS. Default 1.
        minute: Seconds that a minute lasts for metrics, alarms, scaling policies and cooldowns, default 60. A smaller
            value makes autoscaling act sooner.

    Example:
        >>> ControlSettings(provisioning=30).scaling
        0.2
    """

    provisioning: float = attrs.field(default=0.5, validator=number(at_least=0))
    scaling: float = attrs.field(default=0.2, validator=number(at_least=0))
    deletion: float = attrs.field(default=0.1, validator=number(at_least=0))
    wait_scale: float = attrs.field(default=1.0, validator=number(at_least=0))
    minute: float = attrs.field(default=60.0, validator=number(over=0))
