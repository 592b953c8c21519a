"""Which deployment an update uses, and whether it fits the old and the new fleet."""

from __future__ import annotations

from mme_sdk import instance_types
from mme_sdk.endpoints.spec.deployment import Deployment, Rolling
from mme_sdk.endpoints.spec.fields import check_variants_of_deployment
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.errors import InvalidInputError

__all__ = ["check_fits", "pick"]


def check_fits(deployment: Deployment | None, old: EndpointSpec | None, new: EndpointSpec | None) -> None:
    """Raise InvalidInputError for a deployment that SageMaker would refuse or ignore for this update.

    `old` or `new` is None if a spec cannot describe that configuration. SageMaker then checks the rest.
    """
    if deployment is None or new is None:
        return
    check_variants_of_deployment(deployment, new.variants)
    if old is not None and {one.name for one in old.variants} != {one.name for one in new.variants}:
        raise InvalidInputError(
            "deployment: BlueGreen and Rolling need unchanged variant names", hint="omit deployment to change the names"
        )


def pick(old: EndpointSpec | None, new: EndpointSpec | None) -> Deployment | None:
    """Return the deployment of an update for which the caller chose none. None means SageMaker's default, all at once.

    There is often no capacity for a second GPU fleet, so its instances are replaced batch by batch. If the hosting mode
    changes, a rolling deployment would fail half of the requests, because each mode refuses requests for the other one.
    """
    if old is None or new is None or old.mode != new.mode or len(new.variants) != 1 or len(old.variants) != 1:
        return None
    before, after = old.variants[0], new.variants[0]
    if before.name != after.name or before.runs_on is None or after.runs_on is None:
        return None
    scarce = instance_types.accelerator(after.runs_on) == "gpu"
    return Rolling() if scarce and (before.instance_count or 1) > 1 else None
