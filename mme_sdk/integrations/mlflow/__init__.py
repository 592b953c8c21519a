"""MLflow: its registered models as versions of a registry, and a plugin for `mlflow deployments`.

Names are imported on first use. MLflow loads `plugin` by an entry point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.integrations.mlflow.sync import MlflowSyncReport, sync_registry

__all__ = ["MlflowSyncReport", "sync_registry"]

_MODULES = {
    "MlflowSyncReport": "integrations.mlflow.sync",
    "sync_registry": "integrations.mlflow.sync",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
