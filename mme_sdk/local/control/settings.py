"""How long the control plane takes."""

from __future__ import annotations

import attrs

__all__ = ["ControlSettings"]


@attrs.frozen(kw_only=True)
class ControlSettings:
    """Times of the control plane, in seconds. AWS takes minutes; the defaults show every status and are over soon.

    Attributes:
        provisioning: From CreateEndpoint or UpdateEndpoint until instances exist (containers start after that).
        scaling: Until an instance that was added or removed by scaling exists or is gone.
        deletion: From DeleteEndpoint until the endpoint is gone.
        wait_scale: Factor on the waits of a DeploymentConfig (up to an hour), so that a canary shows on a laptop.
        metric_period: Seconds of a CloudWatch point that the host emits, and between two looks of autoscaling.
        cooldown_scale: Factor on autoscaling's cooldowns.
    """

    provisioning: float = 0.5
    scaling: float = 0.2
    deletion: float = 0.1
    wait_scale: float = 1.0
    metric_period: float = 60.0
    cooldown_scale: float = 1.0
