"""The control plane: SageMaker's resources and their life, and the services beside it."""

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.endpoints import Endpoints
from mme_sdk.local.control.resources import Resources, utc_now
from mme_sdk.local.control.sagemaker import SageMaker
from mme_sdk.local.control.settings import ControlSettings

__all__ = ["Account", "ControlSettings", "Endpoints", "Resources", "SageMaker", "utc_now"]
