"""The data plane of the embedded SageMaker: container processes whose placement the fleet model decides."""

from mme_sdk.local.hosting.gpus import Gpu
from mme_sdk.local.hosting.local_hosting import LocalHosting
from mme_sdk.local.hosting.settings import HostingSettings

__all__ = ["Gpu", "HostingSettings", "LocalHosting"]
