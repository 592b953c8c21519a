"""The control plane: SageMaker, CloudWatch, Application Auto Scaling, KMS and STS.

The names are imported on first use: `LocalSageMaker` needs the settings before SeaweedFS starts, the rest after that.
"""

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.local.control.account import Account
    from mme_sdk.local.control.metrics import Metrics
    from mme_sdk.local.control.sagemaker.resources import utc_now
    from mme_sdk.local.control.services import ControlPlane, Service
    from mme_sdk.local.control.settings import ControlSettings

__all__ = ["Account", "ControlPlane", "ControlSettings", "Metrics", "Service", "utc_now"]

__getattr__ = lazy_names(
    __name__,
    {
        "Account": "local.control.account",
        "ControlPlane": "local.control.services",
        "ControlSettings": "local.control.settings",
        "Metrics": "local.control.metrics",
        "Service": "local.control.services",
        "utc_now": "local.control.sagemaker.resources",
    },
)
