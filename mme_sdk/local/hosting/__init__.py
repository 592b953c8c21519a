"""The data plane of the embedded SageMaker: fleets of container processes, driven by the pure fleet model."""

from mme_sdk.local.hosting.local_hosting import LocalHosting
from mme_sdk.local.hosting.settings import HostingSettings

__all__ = ["HostingSettings", "LocalHosting"]
