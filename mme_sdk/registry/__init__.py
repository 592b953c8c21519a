"""Models in S3 under one prefix: immutable versions that a multi-model endpoint serves, and aliases to them.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "Alias": "aliases",
    "AliasChange": "aliases",
    "AsyncModelRegistry": "async_registry",
    "ModelRegistry": "registry",
    "ObjectOptions": "store",
    "AsyncVersions": "versions",
    "Versions": "versions",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mme_sdk.registry' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"mme_sdk.registry.{_MODULES.get(name, 'results')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
