"""The control plane: SageMaker, CloudWatch, Application Auto Scaling, KMS and STS."""

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.metrics import Metrics
from mme_sdk.local.control.sagemaker.resources import utc_now
from mme_sdk.local.control.services import ControlPlane, Service
from mme_sdk.local.control.settings import ControlSettings

__all__ = ["Account", "ControlPlane", "ControlSettings", "Metrics", "Service", "utc_now"]
