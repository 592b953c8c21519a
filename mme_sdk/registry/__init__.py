"""Models in S3 under one prefix: immutable versions that a multi-model endpoint serves, and aliases to them."""

from mme_sdk.registry.aliases import Alias, AliasChange
from mme_sdk.registry.async_registry import AsyncModelRegistry
from mme_sdk.registry.registry import ModelRegistry
from mme_sdk.registry.results import (
    AbortedUploads,
    CopyReport,
    ModelDeletion,
    Registration,
    SyncReport,
)
from mme_sdk.registry.store import ObjectOptions
from mme_sdk.registry.versions import AsyncVersions, Versions

__all__ = [
    "AbortedUploads",
    "Alias",
    "AliasChange",
    "AsyncModelRegistry",
    "AsyncVersions",
    "CopyReport",
    "ModelDeletion",
    "ModelRegistry",
    "ObjectOptions",
    "Registration",
    "SyncReport",
    "Versions",
]
