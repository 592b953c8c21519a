"""Models in S3 under one prefix: immutable versions that a multi-model endpoint serves, and aliases to them.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.registry.alias import Alias, AliasChange
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

_MODULES = {
    "AbortedUploads": "registry.results",
    "Alias": "registry.aliases",
    "AliasChange": "registry.aliases",
    "AsyncModelRegistry": "registry.async_registry",
    "AsyncVersions": "registry.versions",
    "CopyReport": "registry.results",
    "ModelDeletion": "registry.results",
    "ModelRegistry": "registry.registry",
    "ObjectOptions": "registry.store",
    "Registration": "registry.results",
    "SyncReport": "registry.results",
    "Versions": "registry.versions",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
