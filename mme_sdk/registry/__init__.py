"""Models in S3 under one prefix: immutable versions that a multi-model endpoint can serve."""

from mme_sdk.registry.registry import AsyncModelRegistry, ModelRegistry
from mme_sdk.registry.store import ObjectOptions
from mme_sdk.registry.verbs import Deletion

__all__ = ["AsyncModelRegistry", "Deletion", "ModelRegistry", "ObjectOptions"]
