"""Models in S3 under one prefix: immutable versions that a multi-model endpoint can serve, and aliases to them."""

from mme_sdk.registry.aliases import Alias, AliasChange
from mme_sdk.registry.async_registry import AsyncModelRegistry
from mme_sdk.registry.registry import ModelRegistry
from mme_sdk.registry.results import Copied, Deletion, Progress, Registration, SyncReport, Tidied
from mme_sdk.registry.store import ObjectOptions

__all__ = [
    "Alias",
    "AliasChange",
    "AsyncModelRegistry",
    "Copied",
    "Deletion",
    "ModelRegistry",
    "ObjectOptions",
    "Progress",
    "Registration",
    "SyncReport",
    "Tidied",
]
