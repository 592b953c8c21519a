"""How long the control plane takes."""

from __future__ import annotations

import attrs

__all__ = ["ControlSettings"]


@attrs.frozen(kw_only=True)
class ControlSettings:
    """Times of the control plane, in seconds. AWS takes minutes; the defaults show every status and are over soon.

    Attributes:
        provisioning: From CreateEndpoint or UpdateEndpoint until instances exist; containers start after that, and take
            the time that they take.
        scaling: The same for UpdateEndpointWeightsAndCapacities and autoscaling.
        deletion: From DeleteEndpoint until the endpoint is gone.
        wait_scale: Factor on the waits of a DeploymentConfig (up to an hour), so that a canary shows on a laptop.
        minute: How many seconds a minute lasts for metrics, alarms, autoscaling and its cooldowns: 60, or less to see
            scaling happen at once.
    """

    provisioning: float = 0.5
    scaling: float = 0.2
    deletion: float = 0.1
    wait_scale: float = 1.0
    minute: float = 60.0
